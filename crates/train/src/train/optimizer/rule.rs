//! How one parameter changes in a step: a single pass over its numbers, parallel over chunks.

use std::fmt::Debug;

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::pipeline::Optimizer;

/// How one optimizer changes a parameter.
pub trait Rule: Debug + Send + Sync {
    /// The names of the buffers that it keeps for each parameter, as PyTorch calls them.
    fn buffers(&self) -> &'static [&'static str];

    /// The parameter after the step. The gradient and the buffers, as many as there are names, have its shape. The buffers,
    /// which start at zero, change in place; the parameter does not, because its clones share its memory.
    fn step(&self, value: &Tensor, gradient: &Tensor, buffers: &[Tensor], pace: Pace) -> Result<Tensor>;
}

/// What one step does with one parameter.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Counted from 1.
    pub step: u64,
    pub lr: f64,
    pub weight_decay: f64,
}

/// The rule of the optimizer that a file names.
pub fn rule(settings: &Optimizer) -> Box<dyn Rule> {
    match settings.clone() {
        Optimizer::Sgd(settings) => Box::new(settings),
        Optimizer::Adamw(settings) => Box::new(settings),
    }
}

/// As [`Rule::step`], of tensors whose shapes are compared first.
pub fn step(
    rule: &dyn Rule,
    value: &Tensor,
    gradient: &Tensor,
    buffers: &[Tensor],
    pace: Pace,
) -> Result<Tensor> {
    let fits = buffers.len() == rule.buffers().len()
        && buffers.iter().chain([gradient]).all(|tensor| tensor.dims() == value.dims());
    if !fits {
        return Err(Error::bug("a parameter, its gradient and its optimizer state do not fit"));
    }
    rule.step(value, gradient, buffers, pace)
}
