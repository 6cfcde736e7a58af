//! Multi-head attention: Vaswani et al., *Attention Is All You Need* (2017), §3.2.

#[cfg(feature = "cuda")]
mod cuda;

use std::mem::MaybeUninit;

use candle_core::Tensor;

use super::attention_heads::{HeadParts, HeadSize, Projection, each_head};
use super::float::{Float, by_dtype, tensor, with_slice};
use super::gemm::{Matrix, Output, RowOffsets, written};
use super::on_cuda::on_cuda;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};

/// softmax(q · kᵀ / √d) · v for each of `heads` heads of size d. q, k and v are concatenated in x [N, T, 3 · C];
/// the result is [N, T, C], with the heads concatenated.
pub fn attention(tape: &mut Tape, x: &Value, heads: usize) -> Result<Value> {
    let shape = Heads::new(x.tensor().dims(), heads)?;
    let output = shape.attend(x.tensor())?;
    Ok(tape.record(&[x], output, || Attention { x: x.tensor().clone(), shape }))
}

struct Attention {
    x: Tensor,
    shape: Heads,
}

impl Backward for Attention {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        on_cuda!(grad, Ok(vec![Some(self.shape.backward_on_cuda(&self.x, &grad)?)]));
        by_dtype!(grad, T => {
            let gradient = with_slice(&grad, |grad: &[T]| with_slice(&self.x, |x| self.shape.backward(x, grad)))??;
            Ok(vec![Some(tensor(gradient, self.x.shape())?)])
        })
    }
}

/// The sizes of an attention operation, and how to compute it.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub images: usize,
    pub tokens: usize,
    /// Of all heads together.
    pub channels: usize,
    pub heads: usize,
}

impl Heads {
    pub fn new(dims: &[usize], heads: usize) -> Result<Self> {
        match *dims {
            [images, tokens, width] if heads > 0 && width > 0 && width % (3 * heads) == 0 && tokens > 0 => {
                Ok(Self { images, tokens, channels: width / 3, heads })
            }
            _ => Err(Error::bug(format!("attention with {heads} heads over {dims:?}"))),
        }
    }

    /// The size of a head.
    fn width(&self) -> usize {
        self.channels / self.heads
    }

    /// The factor of the scores.
    pub fn scale<T: Float>(&self) -> T {
        T::from_f64(1.0 / (self.width() as f64).sqrt())
    }

    pub fn head<T: Float>(&self) -> HeadSize<T> {
        let width = self.width();
        HeadSize { tokens: self.tokens, key: width, value: width, scale: self.scale() }
    }

    fn attend(&self, x: &Tensor) -> Result<Tensor> {
        on_cuda!(x, self.forward_on_cuda(x));
        by_dtype!(x, T => {
            let output = with_slice(x, |x: &[T]| self.forward(x))?;
            tensor(output, (self.images, self.tokens, self.channels))
        })
    }

    fn forward<T: Float>(&self, x: &[T]) -> Vec<T> {
        let write = |output: &mut [MaybeUninit<T>]| {
            let output = Output::uninitialized(output, RowOffsets::Even { start: 0, stride: 0 });
            each_head(self.images, self.heads, |image, head| {
                let rows = RowOffsets::Even { start: self.result(image, head), stride: self.channels };
                // SAFETY: each head of each image writes its own numbers.
                let output = unsafe { output.with_rows(rows) };
                self.head().forward(self.parts(x, image, head), None, output);
            });
        };
        // SAFETY: the heads of all images cover the whole output.
        unsafe { written(self.images * self.tokens * self.channels, write) }
    }

    fn backward<T: Float>(&self, x: &[T], grad: &[T]) -> Vec<T> {
        let write = |output: &mut [MaybeUninit<T>]| {
            let output = Output::uninitialized(output, RowOffsets::Even { start: 0, stride: 0 });
            each_head(self.images, self.heads, |image, head| {
                let grad = &grad[self.result(image, head)..];
                let grad = Matrix { data: grad, row_stride: self.channels, column_stride: 1 };
                let part = |part| {
                    let start = self.start(image, head, part);
                    // SAFETY: each head of each image writes its own numbers, part by part.
                    unsafe { output.with_rows(RowOffsets::Even { start, stride: 3 * self.channels }) }
                };
                self.head().backward(self.parts(x, image, head), None, grad, part, |_| {});
            });
        };
        // SAFETY: the three parts of all heads of all images cover the whole output.
        unsafe { written(3 * self.images * self.tokens * self.channels, write) }
    }

    /// The offset of a part of a head in x: a third of each row for each part.
    pub fn start(&self, image: usize, head: usize, part: Projection) -> usize {
        (3 * image * self.tokens + part as usize) * self.channels + head * self.width()
    }

    /// The offset of a head in the result.
    pub fn result(&self, image: usize, head: usize) -> usize {
        image * self.tokens * self.channels + head * self.width()
    }

    pub fn parts<'a, T>(&self, x: &'a [T], image: usize, head: usize) -> HeadParts<'a, T> {
        let part = |part| {
            let data = &x[self.start(image, head, part)..];
            Matrix { data, row_stride: 3 * self.channels, column_stride: 1 }
        };
        HeadParts {
            query: part(Projection::Query),
            key: part(Projection::Key),
            value: part(Projection::Value),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::attention_rows::Softmax;
    use crate::ops::profile::Profile;
    use crate::ops::testing::{
        Fixture, assert_same_on_any_threads, check_gradients, gradients, normal, numbers,
    };
    use crate::ops::vector::vectorised;

    #[test]
    fn gradients_agree_with_finite_differences() {
        check_gradients(&[normal("x", &[2, 5, 3 * 2 * 3])], |tape, inputs| attention(tape, &inputs[0], 2));
    }

    #[test]
    fn pytorch_agrees() {
        let fixture = Fixture::open("attention");
        for dtype in [DType::F32, DType::F64] {
            let x = fixture.input("x", dtype);
            let (y, grads) = gradients(&[x], &fixture.input("weights", dtype), |tape, inputs| {
                attention(tape, &inputs[0], 3)
            });
            fixture.assert("all.y", &y);
            fixture.assert("all.x", &grads[0]);
        }
    }

    #[test]
    fn an_image_depends_on_no_other_and_threads_do_not_matter() {
        let x = normal("x", &[3, 50, 3 * 4 * 16]).to_dtype(DType::F32).unwrap();
        let run = |tape: &mut Tape, inputs: &[Value]| attention(tape, &inputs[0], 4);
        let whole = run(&mut Tape::new(), &[Value::constant(x.clone())]).unwrap().into_tensor();
        let alone = run(&mut Tape::new(), &[Value::constant(x.narrow(0, 2, 1).unwrap())]).unwrap();
        assert_eq!(numbers(&whole.narrow(0, 2, 1).unwrap()), numbers(alone.tensor()));
        assert_same_on_any_threads(|| gradients(std::slice::from_ref(&x), &whole, run).1);
    }

    #[test]
    fn scores_of_any_size_are_stable_and_every_width_of_vectors_has_the_same_bits() {
        let scores: Vec<f32> = numbers(&normal("s", &[4 * 32])).into_iter().map(|x| 1e4 * x as f32).collect();
        let results = Profile::supported().map(|profile| {
            let mut scores = scores.clone();
            vectorised(profile, Softmax { scores: &mut scores, tokens: 19, columns: 32, scale: 0.3 });
            scores
        });
        let results: Vec<_> = results.collect();
        assert!(results.iter().all(|result| *result == results[0]));
        let sums = results[0].chunks(32).map(|row| row[..19].iter().sum::<f32>());
        assert!(sums.into_iter().all(|sum| (sum - 1.0).abs() < 1e-6));
    }

    #[test]
    fn heads_must_divide_the_channels() {
        let x = Value::constant(normal("x", &[1, 4, 30]));
        assert!(attention(&mut Tape::new(), &x, 3).is_err());
        assert!(attention(&mut Tape::new(), &x, 0).is_err());
    }
}
