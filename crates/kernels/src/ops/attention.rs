//! Multi-head attention: Vaswani et al., *Attention Is All You Need* (2017), §3.2.
//!
//! Each head of each image is one task. It computes its [T, T] probabilities in a buffer that stays in the
//! cache. The backward pass computes them again instead of saving them: they would be by far the largest saved
//! tensor, and recomputing costs a fiftieth of a transformer's step.

#[cfg(feature = "cuda")]
mod cuda;

use std::mem::MaybeUninit;

use candle_core::Tensor;
use rayon::prelude::*;

use super::attention_rows::{ScoreGradient, Softmax, padded};
use super::float::{Float, by_dtype, tensor, with_slice};
use super::gemm::{Epilogue, Matrix, Output, Product, Right, RowOffsets, written};
use super::on_cuda::on_cuda;
use super::profile::Profile;
use super::vector::vectorised;
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
struct Heads {
    images: usize,
    tokens: usize,
    /// Of all heads together.
    channels: usize,
    heads: usize,
}

/// Which third of x: queries, keys or values.
#[derive(Clone, Copy)]
enum Projection {
    Query,
    Key,
    Value,
}

impl Heads {
    fn new(dims: &[usize], heads: usize) -> Result<Self> {
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
    fn scale<T: Float>(&self) -> T {
        T::from_f64(1.0 / (self.width() as f64).sqrt())
    }

    /// Runs `work` for every head of every image.
    fn each(&self, work: impl Fn(HeadSlice) + Sync) {
        (0..self.images * self.heads).into_par_iter().with_max_len(1).for_each(|task| {
            work(HeadSlice { of: *self, image: task / self.heads, head: task % self.heads });
        });
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
            self.each(|head| {
                let probabilities = head.probabilities(x);
                let values = head.part(x, Projection::Value);
                // SAFETY: each head of each image writes its own numbers.
                let output = unsafe { output.with_rows(head.result()) };
                head.product(head.scores(&probabilities), values, self.width(), output);
            });
        };
        // SAFETY: the heads of all images cover the whole output.
        unsafe { written(self.images * self.tokens * self.channels, write) }
    }

    /// With probabilities P and output gradient G: V̇ = Pᵀ · G; with the gradient Ṡ of the scores: Q̇ = Ṡ · K
    /// and K̇ = Ṡᵀ · Q.
    fn backward<T: Float>(&self, x: &[T], grad: &[T]) -> Vec<T> {
        let write = |output: &mut [MaybeUninit<T>]| {
            let output = Output::uninitialized(output, RowOffsets::Even { start: 0, stride: 0 });
            self.each(|head| {
                let to = |part, left, right| {
                    // SAFETY: each head of each image writes its own numbers, part by part.
                    let output = unsafe { output.with_rows(head.place(part)) };
                    head.product(left, right, self.width(), output);
                };
                let probabilities = head.probabilities(x);
                let grad = head.of_result(grad);
                to(Projection::Value, head.scores(&probabilities).transposed(), grad);
                let mut scores = head.empty_scores();
                head.score_product(grad, head.part(x, Projection::Value).transposed(), &mut scores);
                let rows = padded(self.tokens);
                let kernel = ScoreGradient {
                    probabilities: &probabilities,
                    gradients: &mut scores,
                    columns: rows,
                    scale: self.scale(),
                };
                vectorised(Profile::current(), kernel);
                to(Projection::Query, head.scores(&scores), head.part(x, Projection::Key));
                to(Projection::Key, head.scores(&scores).transposed(), head.part(x, Projection::Query));
            });
        };
        // SAFETY: the three parts of all heads of all images cover the whole output.
        unsafe { written(3 * self.images * self.tokens * self.channels, write) }
    }
}

/// One head of one image.
#[derive(Clone, Copy)]
struct HeadSlice {
    of: Heads,
    image: usize,
    head: usize,
}

impl HeadSlice {
    /// The offset of a part in x, per row.
    fn start(&self, part: Projection) -> usize {
        let Heads { tokens, channels, .. } = self.of;
        (3 * self.image * tokens + part as usize) * channels + self.head * self.of.width()
    }

    fn place(&self, part: Projection) -> RowOffsets {
        RowOffsets::Even { start: self.start(part), stride: 3 * self.of.channels }
    }

    /// [T, d] of q, k or v.
    fn part<'a, T>(&self, x: &'a [T], part: Projection) -> Matrix<'a, T> {
        Matrix { data: &x[self.start(part)..], row_stride: 3 * self.of.channels, column_stride: 1 }
    }

    fn result(&self) -> RowOffsets {
        let Heads { tokens, channels, .. } = self.of;
        let start = self.image * tokens * channels + self.head * self.of.width();
        RowOffsets::Even { start, stride: channels }
    }

    /// [T, d] of a tensor with the result's shape.
    fn of_result<'a, T>(&self, grad: &'a [T]) -> Matrix<'a, T> {
        let Heads { tokens, channels, .. } = self.of;
        let start = self.image * tokens * channels + self.head * self.of.width();
        Matrix { data: &grad[start..], row_stride: channels, column_stride: 1 }
    }

    /// [T, T], padded as in [`Self::empty_scores`].
    fn scores<'a, T>(&self, scores: &'a [T]) -> Matrix<'a, T> {
        Matrix::row_major(scores, padded(self.of.tokens))
    }

    /// Rows of scores, padded to whole vectors. Padding after the last token does not affect the softmax.
    fn empty_scores<T: Float>(&self) -> Vec<T> {
        vec![T::ZERO; self.of.tokens * padded(self.of.tokens)]
    }

    /// The probabilities of this head: a distribution over keys for each query.
    fn probabilities<T: Float>(&self, x: &[T]) -> Vec<T> {
        let mut scores = self.empty_scores();
        let (queries, keys) = (self.part(x, Projection::Query), self.part(x, Projection::Key));
        self.score_product(queries, keys.transposed(), &mut scores);
        let kernel = Softmax {
            scores: &mut scores,
            tokens: self.of.tokens,
            columns: padded(self.of.tokens),
            scale: self.of.scale(),
        };
        vectorised(Profile::current(), kernel);
        scores
    }

    /// scores = left [T, d] · right [d, T]
    fn score_product<T: Float>(&self, left: Matrix<T>, right: Matrix<T>, scores: &mut [T]) {
        let Heads { tokens, .. } = self.of;
        Product {
            profile: Profile::current(),
            rows: tokens,
            columns: tokens,
            depth: self.of.width(),
            left: &left,
            right: Right::Source(&right),
            epilogue: Epilogue::NONE,
        }
        .compute(Output::existing(
            scores,
            RowOffsets::Even { start: 0, stride: padded(tokens) },
            false,
        ));
    }

    /// output = left [T, T] · right [T, d]
    fn product<T: Float>(&self, left: Matrix<T>, right: Matrix<T>, columns: usize, output: Output<'_, T>) {
        let Heads { tokens, .. } = self.of;
        Product {
            profile: Profile::current(),
            rows: tokens,
            columns,
            depth: tokens,
            left: &left,
            right: Right::Source(&right),
            epilogue: Epilogue::NONE,
        }
        .compute(output);
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::testing::{
        Fixture, assert_same_on_any_threads, check_gradients, gradients, normal, numbers,
    };

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
