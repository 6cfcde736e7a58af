//! The loss scale of training in f16: the gradients of a loss that is multiplied by it do not vanish below 6e-8, the
//! smallest positive number of f16. Micikevicius et al., *Mixed Precision Training* (ICLR 2018).
//!
//! The rule and its numbers are those of PyTorch's `GradScaler`. The scale follows from the gradients alone, so two runs
//! have the same.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::pipeline::Precision;

const START: f64 = 65536.0;
const GROWTH: f64 = 2.0;
const BACKOFF: f64 = 0.5;
/// Finite steps in a row after which the scale grows.
const INTERVAL: u32 = 2000;
/// Below this, it is not the scale that makes gradients too large.
const LEAST: f64 = 1.0 / 1024.0;

/// The scale, and what decides its next change. Part of every checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// A power of two, so that scaling changes no bit of a number within the range of its type.
    scale: f64,
    /// Steps with finite gradients since the last change.
    finite_steps: u32,
    /// Steps that were skipped because their gradients were not finite.
    pub skipped_steps: u64,
}

impl LossScale {
    /// At the start of a stage; `None` if its precision needs none.
    pub fn start(precision: Precision) -> Option<Self> {
        (precision == Precision::F16).then_some(Self { scale: START, finite_steps: 0, skipped_steps: 0 })
    }

    pub fn factor(&self) -> f64 {
        self.scale
    }

    /// Takes note of a step. Returns whether its gradients can be used.
    ///
    /// # Errors
    /// The gradients are not finite, however small the scale is.
    pub fn observe(&mut self, finite: bool) -> Result<bool> {
        if finite {
            self.finite_steps += 1;
            if self.finite_steps == INTERVAL {
                (self.scale, self.finite_steps) = (self.scale * GROWTH, 0);
            }
            return Ok(true);
        }
        self.skipped_steps += 1;
        (self.scale, self.finite_steps) = (self.scale * BACKOFF, 0);
        if self.scale < LEAST {
            let steps = self.skipped_steps;
            return Err(Error::failed(format!(
                "the gradients are not finite at any loss scale down to {LEAST:e}; {steps} steps were skipped"
            ))
            .hint(
                "lower the learning rate, check the normalisation of the data, or use another `precision`",
            ));
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale() -> LossScale {
        LossScale::start(Precision::F16).unwrap()
    }

    fn observe(scale: &mut LossScale, finite: bool, steps: u32) {
        (0..steps).for_each(|_| assert_eq!(scale.observe(finite).unwrap(), finite));
    }

    #[test]
    fn it_halves_after_an_overflow_and_doubles_after_2000_finite_steps_in_a_row() {
        let mut scale = scale();
        assert_eq!(scale.factor(), 65536.0);
        observe(&mut scale, true, 1999);
        assert_eq!(scale.factor(), 65536.0);
        observe(&mut scale, true, 1);
        assert_eq!(scale.factor(), 131_072.0);
        observe(&mut scale, true, 1999);
        observe(&mut scale, false, 1);
        assert_eq!((scale.factor(), scale.skipped_steps), (65536.0, 1));
        observe(&mut scale, true, 1999);
        assert_eq!(scale.factor(), 65536.0, "the count starts again after an overflow");
        observe(&mut scale, true, 1);
        assert_eq!((scale.factor(), scale.skipped_steps), (131_072.0, 1));
    }

    #[test]
    fn gradients_that_are_never_finite_end_the_stage() {
        let mut scale = scale();
        observe(&mut scale, false, 26);
        assert_eq!(scale.factor(), LEAST);
        assert!(scale.observe(false).unwrap_err().message.contains("27 steps were skipped"));
        assert_eq!(LossScale::start(Precision::Bf16), None);
    }
}
