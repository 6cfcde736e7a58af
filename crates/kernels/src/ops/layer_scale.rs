//! A residual branch scaled per channel: Touvron et al., *Going deeper with Image Transformers* (ICCV 2021), §2.

#[cfg(feature = "cuda")]
pub(super) mod cuda;

use std::mem::MaybeUninit;

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use super::buffer::{build, rows_per_task};
use super::channel_sums::Sums;
use super::float::{Float, by_dtype, from_f64, tensor, with_slice};
use super::multiversion::multiversion;
use super::on_cuda::on_cuda;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};

/// residual + gain · x, of the same shape [.., C]; the gain is [C].
pub fn layer_scale(tape: &mut Tape, x: &Value, gain: &Value, residual: &Value) -> Result<Value> {
    let dims = [x, gain, residual].map(|value| value.tensor().dims());
    let channels = gain.tensor().elem_count();
    if channels == 0 || dims[0].last() != Some(&channels) || dims[0] != dims[2] {
        return Err(Error::bug(format!("a layer scale of x, gain and residual of {dims:?}")));
    }
    let output = scaled(x.tensor(), gain.tensor(), residual.tensor())?;
    let keep = |needed: bool, value: &Value| needed.then(|| value.tensor().clone());
    Ok(tape.record(&[x, gain, residual], output, || LayerScale {
        x: keep(!gain.is_constant(), x),
        gain: keep(!x.is_constant(), gain),
        shape: gain.tensor().shape().clone(),
    }))
}

fn scaled(x: &Tensor, gain: &Tensor, residual: &Tensor) -> Result<Tensor> {
    on_cuda!(x, cuda::scaled(x, gain, Some(residual)));
    by_dtype!(x, T => forward::<T>(x, gain, residual))
}

fn forward<T: Float>(x: &Tensor, gain: &Tensor, residual: &Tensor) -> Result<Tensor> {
    let output = with_slice(x, |x: &[T]| {
        with_slice(gain, |gain: &[T]| {
            with_slice(residual, |residual: &[T]| {
                let chunk = rows_per_task(gain.len()) * gain.len();
                let write = |task: usize, out: &mut [MaybeUninit<T>]| {
                    let range = task * chunk..task * chunk + out.len();
                    weigh(&x[range.clone()], gain, &residual[range], out);
                };
                // SAFETY: `weigh` writes every element.
                unsafe { build(x.len(), chunk, write) }
            })
        })
    })???;
    tensor(output, x.shape())
}

/// Saves each operand for the other's gradient, if needed.
struct LayerScale {
    x: Option<Tensor>,
    gain: Option<Tensor>,
    shape: Shape,
}

impl Backward for LayerScale {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        on_cuda!(grad, self.gradients_on_cuda(grad, wanted));
        by_dtype!(grad, T => {
            Ok(vec![
                self.gain.as_ref().filter(|_| wanted[0]).map(|gain| input_gradient::<T>(&grad, gain)).transpose()?,
                self.x.as_ref().filter(|_| wanted[1]).map(|x| self.gain_gradient::<T>(&grad, x)).transpose()?,
                wanted[2].then_some(grad),
            ])
        })
    }
}

fn input_gradient<T: Float>(grad: &Tensor, gain: &Tensor) -> Result<Tensor> {
    let gradient = with_slice(grad, |grad: &[T]| {
        with_slice(gain, |gain: &[T]| {
            let chunk = rows_per_task(gain.len()) * gain.len();
            let write = |task: usize, out: &mut [MaybeUninit<T>]| {
                product(&grad[task * chunk..][..out.len()], gain, out);
            };
            // SAFETY: `product` writes every element.
            unsafe { build(grad.len(), chunk, write) }
        })
    })??;
    tensor(gradient, grad.shape())
}

impl LayerScale {
    fn gain_gradient<T: Float>(&self, grad: &Tensor, x: &Tensor) -> Result<Tensor> {
        let channels = self.shape.elem_count();
        let sums = with_slice(grad, |grad: &[T]| {
            with_slice(x, |x: &[T]| {
                let chunk = rows_per_task(channels) * channels;
                let tasks: Vec<Sums> = grad
                    .par_chunks(chunk)
                    .zip(x.par_chunks(chunk))
                    .map(|(grad, x)| {
                        let mut sums = Sums::zero(channels);
                        products(grad, x, &mut sums.first);
                        sums
                    })
                    .collect();
                Sums::total(tasks, channels)
            })
        })??;
        tensor::<T>(from_f64(&sums.first), self.shape.clone())
    }
}

multiversion! {
    /// out = residual + gain · x, row by row.
    fn weigh<T: Float>(x: &[T], gain: &[T], residual: &[T], out: &mut [MaybeUninit<T>]) {
        let channels = gain.len();
        assert!(out.len().is_multiple_of(channels) && [x.len(), residual.len()] == [out.len(); 2]);
        let rows = x.chunks_exact(channels).zip(residual.chunks_exact(channels)).zip(out.chunks_exact_mut(channels));
        for ((x, residual), out) in rows {
            for channel in 0..channels {
                out[channel].write(residual[channel] + gain[channel] * x[channel]);
            }
        }
    }
}

multiversion! {
    /// out = gain · grad, row by row.
    fn product<T: Float>(grad: &[T], gain: &[T], out: &mut [MaybeUninit<T>]) {
        let channels = gain.len();
        assert!(out.len().is_multiple_of(channels) && grad.len() == out.len());
        for (grad, out) in grad.chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
            for channel in 0..channels {
                out[channel].write(gain[channel] * grad[channel]);
            }
        }
    }
}

multiversion! {
    /// sums += grad · x, row by row.
    fn products<T: Float>(grad: &[T], x: &[T], sums: &mut [f64]) {
        let channels = sums.len();
        for (grad, x) in grad.chunks_exact(channels).zip(x.chunks_exact(channels)) {
            for channel in 0..channels {
                sums[channel] += (grad[channel] * x[channel]).widen();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::testing::{assert_same_on_any_threads, check_gradients, gradients, normal};

    fn run(tape: &mut Tape, inputs: &[Value]) -> Result<Value> {
        layer_scale(tape, &inputs[0], &inputs[1], &inputs[2])
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        check_gradients(
            &[normal("x", &[2, 3, 2, 5]), normal("gain", &[5, 1, 1]), normal("r", &[2, 3, 2, 5])],
            run,
        );
    }

    #[test]
    fn threads_do_not_matter() {
        let inputs = [normal("x", &[2, 31, 29, 37]), normal("gain", &[37]), normal("r", &[2, 31, 29, 37])]
            .map(|input| input.to_dtype(DType::F32).unwrap());
        assert_same_on_any_threads(|| gradients(&inputs, &inputs[0], run).1);
    }

    #[test]
    fn shapes_must_agree() {
        let values = [normal("x", &[2, 5]), normal("gain", &[4]), normal("r", &[2, 5])].map(Value::constant);
        assert!(run(&mut Tape::new(), &values).is_err());
    }
}
