//! Adam, in the order of operations of PyTorch's `torch/optim/adam.py`: weight decay joins the gradient, and the rest is
//! AdamW without decay.
//!
//! Kingma and Ba, *Adam: A Method for Stochastic Optimization* (ICLR 2015), algorithm 1.

use candle_core::Tensor;

use super::adamw::Factors;
use super::{StepHyper, UpdateRule};
use crate::error::Result;
use crate::pipeline::Adam;

impl UpdateRule for Adam {
    fn buffers(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }

    fn step(&self, value: &Tensor, gradient: &Tensor, buffers: &[Tensor], pace: StepHyper) -> Result<Tensor> {
        let factors = Factors::new(self.betas, self.eps, StepHyper { weight_decay: 0.0, ..pace });
        if pace.weight_decay == 0.0 {
            return factors.step(value, gradient, buffers);
        }
        let decayed = (gradient + value.affine(pace.weight_decay, 0.0)?)?;
        factors.step(value, &decayed, buffers)
    }
}
