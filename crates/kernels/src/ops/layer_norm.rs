//! Layer normalisation: Ba, Kiros and Hinton, *Layer Normalization* (2016), over the last dimension.

#[cfg(feature = "cuda")]
mod cuda;

use std::mem::MaybeUninit;

use candle_core::Tensor;
use rayon::prelude::*;

use super::buffer::{build_with, rows_per_task};
use super::channel_sums::Sums;
use super::float::{Float, by_dtype, from_f64, tensor, with_slice};
use super::on_cuda::on_cuda;
use super::profile::Profile;
use super::row_sums::{MAX_LANES, RowSums};
use super::vector::{Registers, Vector, Vectorised, load, store, vectorised};
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};

/// y = (x − mean) / √(variance + eps) · weight + bias, with the mean and variance of each row of x [.., C];
/// weight and bias are [C].
///
/// Mean and variance are summed in f64, so that their rounding does not affect the result.
pub fn layer_norm(tape: &mut Tape, x: &Value, weight: &Value, bias: &Value, eps: f64) -> Result<Value> {
    let channels = x.tensor().dims().last().copied().unwrap_or(0);
    if channels == 0 || [weight, bias].iter().any(|value| value.tensor().dims() != [channels]) {
        let dims = [x, weight, bias].map(|value| value.tensor().dims().to_vec());
        return Err(Error::bug(format!("layer normalisation of {dims:?}")));
    }
    on_cuda!(x.tensor(), cuda::forward(tape, x, weight, bias, eps));
    by_dtype!(x.tensor(), T => {
        let (output, moments) = with_slice(x.tensor(), |x: &[T]| {
            with_slice(weight.tensor(), |weight| {
                with_slice(bias.tensor(), |bias| forward::<T>(x, weight, bias, eps))
            })
        })???;
        let output = tensor(output, x.tensor().shape())?;
        Ok(tape.record(&[x, weight, bias], output, || Normalization::<T> {
            x: x.tensor().clone(),
            weight: weight.tensor().clone(),
            moments,
        }))
    })
}

/// The mean of a row, and 1 / deviation.
type Moments<T> = [T; 2];

fn forward<T: Float>(x: &[T], weight: &[T], bias: &[T], eps: f64) -> (Vec<T>, Vec<Moments<T>>) {
    let rows = rows_per_task(weight.len());
    let chunk = rows * weight.len();
    let write = |task: usize, output: &mut [MaybeUninit<T>]| {
        let x = &x[task * chunk..][..output.len()];
        vectorised(Profile::current(), Normalize { x, weight, bias, eps, output })
    };
    // SAFETY: `Normalize` writes every element.
    let (output, moments) = unsafe { build_with(x.len(), chunk, write) };
    (output, moments.concat())
}

/// Normalizes whole rows and returns their moments.
struct Normalize<'a, T> {
    x: &'a [T],
    weight: &'a [T],
    bias: &'a [T],
    eps: f64,
    output: &'a mut [MaybeUninit<T>],
}

impl<T: Float> Vectorised for Normalize<'_, T> {
    type Number = T;
    type Output = Vec<Moments<T>>;

    #[inline(always)]
    fn compute<V: Vector<Number = T>>(self, v: Registers<V>) -> Vec<Moments<T>> {
        let Self { x, weight, bias, eps, output } = self;
        let channels = weight.len();
        assert!(bias.len() == channels && output.len() == x.len());
        let mut all = Vec::with_capacity(x.len() / channels);
        for (x, output) in x.chunks_exact(channels).zip(output.chunks_exact_mut(channels)) {
            // Relative to one element of the row, so that the variance loses no precision to a large mean.
            let shift = x[0].widen();
            let [first, second] = RowSums(x).moments(v, x[0]).map(|sum| sum / channels as f64);
            let variance = (second - first * first).max(0.0);
            let moments = [shift + first, 1.0 / (variance + eps).sqrt()].map(T::from_f64);
            all.push(moments);
            let [mean, scale] = moments.map(
                #[inline(always)]
                |moment| V::splat(v, moment),
            );
            let mut channel = 0;
            while channel < channels {
                let count = V::LANES.min(channels - channel);
                // SAFETY: `count` channels are left in each row.
                unsafe {
                    let x = load(v, x.as_ptr().add(channel), count);
                    let weight = load(v, weight.as_ptr().add(channel), count);
                    let bias = load(v, bias.as_ptr().add(channel), count);
                    let y = x.sub(mean).mul(scale).fused_multiply_add(weight, bias);
                    store(y, output.as_mut_ptr().cast::<T>().add(channel), count);
                }
                channel += count;
            }
        }
        all
    }
}

struct Normalization<T> {
    x: Tensor,
    weight: Tensor,
    moments: Vec<Moments<T>>,
}

impl<T: Float> Backward for Normalization<T> {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (gradient, sums) = with_slice(&grad, |grad: &[T]| {
            with_slice(&self.x, |x: &[T]| {
                with_slice(&self.weight, |weight: &[T]| self.gradients(grad, x, weight, wanted))
            })
        })???;
        let shape = self.weight.shape();
        Ok(vec![
            gradient.map(|gradient| tensor(gradient, self.x.shape())).transpose()?,
            wanted[1].then(|| tensor::<T>(from_f64(&sums.second), shape)).transpose()?,
            wanted[2].then(|| tensor::<T>(from_f64(&sums.first), shape)).transpose()?,
        ])
    }
}

impl<T: Float> Normalization<T> {
    /// The gradient of x, if needed, and the sums that are the gradients of bias and weight.
    #[allow(clippy::type_complexity)]
    fn gradients(&self, grad: &[T], x: &[T], weight: &[T], wanted: &[bool]) -> (Option<Vec<T>>, Sums) {
        let channels = weight.len();
        let rows = rows_per_task(channels);
        let chunk = rows * channels;
        let profile = Profile::current();
        let part = |task: usize, length: usize, output: Option<&mut [MaybeUninit<T>]>| {
            let range = task * chunk..task * chunk + length;
            let moments = &self.moments[task * rows..][..length / channels];
            let sums = wanted[1] || wanted[2];
            let (grad, x) = (&grad[range.clone()], &x[range]);
            vectorised(profile, RowGradient { grad, x, weight, moments, sums, output })
        };
        if !wanted[0] {
            let tasks: Vec<Sums> =
                grad.par_chunks(chunk).enumerate().map(|(task, grad)| part(task, grad.len(), None)).collect();
            return (None, Sums::total(tasks, channels));
        }
        let write = |task: usize, output: &mut [MaybeUninit<T>]| part(task, output.len(), Some(output));
        // SAFETY: `RowGradient` writes every element of its output.
        let (gradient, tasks) = unsafe { build_with(grad.len(), chunk, write) };
        (Some(gradient), Sums::total(tasks, channels))
    }
}

/// The gradient of whole rows, and for each channel Σ grad and Σ grad · (x − mean) · scale.
struct RowGradient<'a, T> {
    grad: &'a [T],
    x: &'a [T],
    weight: &'a [T],
    moments: &'a [Moments<T>],
    /// Whether the sums are needed.
    sums: bool,
    output: Option<&'a mut [MaybeUninit<T>]>,
}

impl<T: Float> Vectorised for RowGradient<'_, T> {
    type Number = T;
    type Output = Sums;

    #[inline(always)]
    fn compute<V: Vector<Number = T>>(mut self, v: Registers<V>) -> Sums {
        let channels = self.weight.len();
        let mut sums = Sums::zero(channels.next_multiple_of(MAX_LANES));
        assert!(self.grad.len() == self.x.len() && self.moments.len() * channels == self.x.len());
        let rows = self.grad.chunks_exact(channels).zip(self.x.chunks_exact(channels));
        for (index, ((grad, x), moments)) in rows.zip(self.moments).enumerate() {
            let [mean, scale] = moments.map(
                #[inline(always)]
                |moment| V::splat(v, moment),
            );
            if self.sums {
                let mut channel = 0;
                while channel < channels {
                    let count = V::LANES.min(channels - channel);
                    // SAFETY: `count` channels are left in each row; the sums are padded to whole vectors, and
                    // missing lanes add zeros.
                    unsafe {
                        let grad = load(v, grad.as_ptr().add(channel), count);
                        let normal = load(v, x.as_ptr().add(channel), count).sub(mean).mul(scale);
                        grad.add_to(sums.first.as_mut_ptr().add(channel));
                        grad.mul(normal).add_to(sums.second.as_mut_ptr().add(channel));
                    }
                    channel += count;
                }
            }
            let Some(output) = &mut self.output else { continue };
            let output = &mut output[index * channels..][..channels];
            let [first, second] = RowSums(x).weighted_sums(v, grad, self.weight, *moments);
            let [first, second] = [first, second].map(|sum| V::splat(v, T::from_f64(sum / channels as f64)));
            let mut channel = 0;
            while channel < channels {
                let count = V::LANES.min(channels - channel);
                // SAFETY: `count` channels are left in each row.
                unsafe {
                    let grad = load(v, grad.as_ptr().add(channel), count);
                    let weight = load(v, self.weight.as_ptr().add(channel), count);
                    let normal = load(v, x.as_ptr().add(channel), count).sub(mean).mul(scale);
                    let gradient = grad.mul(weight).sub(first).sub(normal.mul(second)).mul(scale);
                    store(gradient, output.as_mut_ptr().cast::<T>().add(channel), count);
                }
                channel += count;
            }
        }
        sums.of(channels)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::testing::{
        Fixture, assert_same_on_any_threads, check_gradients, gradients, normal, numbers,
    };

    fn run(tape: &mut Tape, inputs: &[Value]) -> Result<Value> {
        layer_norm(tape, &inputs[0], &inputs[1], &inputs[2], 1e-6)
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        check_gradients(&[normal("x", &[2, 3, 19]), normal("weight", &[19]), normal("bias", &[19])], run);
    }

    #[test]
    fn pytorch_agrees() {
        let fixture = Fixture::open("layer_norm");
        for dtype in [DType::F32, DType::F64] {
            let inputs = ["x", "weight", "bias"].map(|name| fixture.input(name, dtype));
            let (y, grads) = gradients(&inputs, &fixture.input("weights", dtype), run);
            fixture.assert("all.y", &y);
            for (grad, name) in grads.iter().zip(["x", "weight", "bias"]) {
                fixture.assert(&format!("all.{name}"), grad);
            }
        }
    }

    #[test]
    fn a_row_depends_on_no_other_and_threads_do_not_matter() {
        let inputs = [normal("x", &[301, 150]), normal("weight", &[150]), normal("bias", &[150])]
            .map(|input| input.to_dtype(DType::F32).unwrap());
        let mut values = inputs.clone().map(Value::constant);
        let whole = run(&mut Tape::new(), &values).unwrap().into_tensor();
        values[0] = Value::constant(inputs[0].narrow(0, 300, 1).unwrap());
        let alone = run(&mut Tape::new(), &values).unwrap();
        assert_eq!(numbers(&whole.narrow(0, 300, 1).unwrap()), numbers(alone.tensor()));
        assert_same_on_any_threads(|| gradients(&inputs, &whole, run).1);
    }

    #[test]
    fn every_width_of_vectors_has_the_same_bits() {
        let x: Vec<f32> = numbers(&normal("x", &[5 * 37])).into_iter().map(|x| x as f32).collect();
        let (weight, bias) = (vec![1.5f32; 37], vec![0.25f32; 37]);
        let results = Profile::supported().map(|profile| {
            let mut output = vec![MaybeUninit::new(0f32); x.len()];
            let kernel = Normalize { x: &x, weight: &weight, bias: &bias, eps: 1e-6, output: &mut output };
            let moments = vectorised(profile, kernel);
            let grad = &x[..];
            let (x, sums, output) = (&x[..], true, None);
            let sums = vectorised(
                profile,
                RowGradient { grad, x, weight: &weight, moments: &moments, sums, output },
            );
            (moments, sums.first, sums.second)
        });
        let results: Vec<_> = results.collect();
        assert!(results.iter().all(|result| *result == results[0]));
    }

    #[test]
    fn shapes_must_agree() {
        let values =
            [normal("x", &[2, 5]), normal("weight", &[4]), normal("bias", &[5])].map(Value::constant);
        assert!(run(&mut Tape::new(), &values).is_err());
    }
}
