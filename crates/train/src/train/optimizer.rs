//! Optimizers: one file for each one's step, and the state of the parameters that train.
//!
//! A step is a single pass over the numbers of a parameter, parallel over chunks. An optimizer knows no schedule and no
//! freezing rule: the table of parameters has the learning rate of each.

mod adam;
mod adamw;
#[cfg(all(test, feature = "cuda"))]
mod cuda_tests;
mod sgd;
mod state;
#[cfg(test)]
mod tests;

use std::fmt::Debug;

use candle_core::Tensor;

pub use state::{Optimizer, OptimizerParameter, StepRates, WarmupRates};

use crate::error::{Error, Result};
use crate::pipeline;

/// How one optimizer changes a parameter.
trait UpdateRule: Debug + Send + Sync {
    /// The names of the buffers that it keeps for each parameter, as PyTorch calls them.
    fn buffers(&self) -> &'static [&'static str];

    /// The parameter after the step. The gradient and the buffers, as many as there are names, have its shape. The buffers,
    /// which start at zero, change in place; the parameter does not, because its clones share its memory.
    fn step(&self, value: &Tensor, gradient: &Tensor, buffers: &[Tensor], pace: StepHyper) -> Result<Tensor>;
}

/// What one step does with one parameter.
#[derive(Clone, Copy, Debug)]
struct StepHyper {
    /// Counted from 1.
    step: u64,
    lr: f64,
    weight_decay: f64,
    /// In place of the optimizer's own, in a warmup of the momentum.
    momentum: Option<f64>,
}

/// The rule of the optimizer that a file names.
fn rule(settings: &pipeline::Optimizer) -> Box<dyn UpdateRule> {
    match settings.clone() {
        pipeline::Optimizer::Sgd(settings) => Box::new(settings),
        pipeline::Optimizer::Adam(settings) => Box::new(settings),
        pipeline::Optimizer::Adamw(settings) => Box::new(settings),
    }
}

/// As [`UpdateRule::step`], of tensors whose shapes are compared first.
fn step(
    rule: &dyn UpdateRule,
    value: &Tensor,
    gradient: &Tensor,
    buffers: &[Tensor],
    pace: StepHyper,
) -> Result<Tensor> {
    let fits = buffers.len() == rule.buffers().len()
        && buffers.iter().chain([gradient]).all(|tensor| tensor.dims() == value.dims());
    if !fits {
        return Err(Error::bug("a parameter, its gradient and its optimizer state do not fit"));
    }
    rule.step(value, gradient, buffers, pace)
}
