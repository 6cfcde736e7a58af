//! Optimizer steps on CUDA, to the bits of those on the CPU.

use candle_core::{DType, Tensor};

use super::{AdamW, Pace, Rule};
use crate::cuda::{Engine, address, argument, arguments, optional};
use crate::error::{Error, Result};

argument!(AdamW<f32> => "AdamW");

impl Rule {
    /// As [`Rule::update`], which has checked that all fits.
    pub(super) fn update_on_cuda(
        &self,
        value: &Tensor,
        gradient: &Tensor,
        buffers: &[Tensor],
        pace: Pace,
    ) -> Result<Tensor> {
        let engine = Engine::of(value)?;
        let count = value.elem_count();
        let (out, to) = engine.tensor(DType::F32, value.shape())?;
        let (from, slope) = (address(value)?, address(gradient)?);
        match (*self, buffers) {
            (Self::AdamW { betas, eps }, [mean, square]) => {
                let factors = AdamW::new(betas, eps, pace).map(|factor| factor as f32);
                let (mean, square) = (address(mean)?, address(square)?);
                let arguments = arguments![count as i64, from, slope, mean, square, factors, to];
                engine.numbers("adamw", count, arguments)?;
            }
            (Self::Sgd { momentum, nesterov }, [] | [_]) => {
                let velocity = optional(buffers.first())?;
                let [momentum, weight_decay, lr] =
                    [momentum, pace.weight_decay, pace.lr].map(|factor| factor as f32);
                let nesterov = i32::from(nesterov);
                let arguments =
                    arguments![count as i64, from, slope, velocity, momentum, weight_decay, lr, nesterov, to];
                engine.numbers("sgd", count, arguments)?;
            }
            _ => return Err(Error::bug("an optimizer without its state")),
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::ops::testing::{normal, numbers};

    #[test]
    #[ignore = "asks for a GPU, or tests/cuda/emulated"]
    fn cuda_steps_have_the_bits_of_the_cpus() {
        let rules = [
            Rule::Sgd { momentum: 0.0, nesterov: false },
            Rule::Sgd { momentum: 0.9, nesterov: false },
            Rule::Sgd { momentum: 0.9, nesterov: true },
            Rule::AdamW { betas: [0.8, 0.99], eps: 1e-6 },
        ];
        let run = |rule: &Rule, device: &Device| {
            let place =
                |name: &str| normal(name, &[1031]).to_dtype(DType::F32).unwrap().to_device(device).unwrap();
            let mut value = place("value");
            let buffers: Vec<Tensor> = rule.buffers().iter().map(|_| value.zeros_like().unwrap()).collect();
            for step in 1..4 {
                let gradient = place(&format!("gradient {step}"));
                let pace = Pace { step, lr: 0.1, weight_decay: 0.05 };
                value = rule.update(&value, &gradient, &buffers, pace).unwrap();
            }
            let all = buffers.into_iter().chain([value]);
            all.map(|tensor| numbers(&tensor.to_device(&Device::Cpu).unwrap())).collect::<Vec<_>>()
        };
        let gpu = crate::device::choose("cuda:0").unwrap().device;
        for rule in rules {
            assert_eq!(run(&rule, &gpu), run(&rule, &Device::Cpu), "{rule:?}");
        }
    }
}
