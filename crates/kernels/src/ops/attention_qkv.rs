//! Attention over queries, keys and values that are tensors of their own, where values may be wider than queries
//! and keys: Vaswani et al., *Attention Is All You Need* (2017), §3.2.
//!
//! Every pixel of an image attends to every pixel.

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

/// softmax(q · kᵀ / √d) · v for each of `heads` heads, of which queries and keys have d channels. `query` and `key`
/// are [N, H, W, heads · d], `value` and the result [N, H, W, heads · e], with the heads one after the other.
pub fn attention_qkv(
    tape: &mut Tape,
    query: &Value,
    key: &Value,
    value: &Value,
    heads: usize,
) -> Result<Value> {
    let inputs = [query, key, value].map(|value| value.tensor().clone());
    let grid = Grid::new(inputs.each_ref().map(Tensor::dims), heads)?;
    let output = grid.attend(&inputs)?;
    Ok(tape.record(&[query, key, value], output, || AttentionQkv { inputs, grid }))
}

struct AttentionQkv {
    /// Queries, keys, values.
    inputs: [Tensor; 3],
    grid: Grid,
}

impl Backward for AttentionQkv {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        on_cuda!(grad, self.grid.backward_on_cuda(&self.inputs, &grad, wanted));
        let gradients = by_dtype!(grad, T => {
            let [query, key, value] = &self.inputs;
            let gradients = with_slice(&grad, |grad: &[T]| {
                with_slice(query, |query| {
                    with_slice(key, |key| {
                        with_slice(value, |value| self.grid.backward([query, key, value], grad))
                    })
                })
            })????;
            let pairs = gradients.into_iter().zip(&self.inputs);
            pairs.map(|(gradient, input)| tensor(gradient, input.shape())).collect::<Result<Vec<_>>>()
        })?;
        Ok(gradients.into_iter().zip(wanted).map(|(gradient, wanted)| wanted.then_some(gradient)).collect())
    }
}

/// The sizes of the operation.
#[derive(Clone, Copy)]
struct Grid {
    images: usize,
    height: usize,
    width: usize,
    heads: usize,
    /// Channels of a head: of queries and keys, and of values.
    key: usize,
    value: usize,
}

impl Grid {
    fn new(dims: [&[usize]; 3], heads: usize) -> Result<Self> {
        let refused = || Error::bug(format!("attention with {heads} heads over {dims:?}"));
        let [query, key, value] = dims;
        let &[images, height, width, channels] = value else { return Err(refused()) };
        let &[.., keys] = key else { return Err(refused()) };
        let fits = query == key
            && key[..key.len() - 1] == value[..3]
            && heads > 0
            && height * width * channels * keys > 0
            && channels % heads == 0
            && keys % heads == 0;
        let grid =
            Self { images, height, width, heads, key: keys / heads.max(1), value: channels / heads.max(1) };
        if fits { Ok(grid) } else { Err(refused()) }
    }

    fn tokens(&self) -> usize {
        self.height * self.width
    }

    /// The factor of the scores.
    fn scale(&self) -> f64 {
        1.0 / (self.key as f64).sqrt()
    }

    /// The channels of a head.
    fn width(&self, part: Projection) -> usize {
        if part == Projection::Value { self.value } else { self.key }
    }

    fn head<T: Float>(&self) -> HeadSize<T> {
        let (tokens, scale) = (self.tokens(), T::from_f64(self.scale()));
        HeadSize { tokens, key: self.key, value: self.value, scale }
    }

    /// Where the pixels of a head are, in the tensor of a part or of the result, which is laid out as the values.
    fn rows(&self, image: usize, head: usize, part: Projection) -> (usize, usize) {
        let (width, row) = (self.width(part), self.heads * self.width(part));
        (image * self.tokens() * row + head * width, row)
    }

    fn matrix<'a, T>(&self, x: &'a [T], image: usize, head: usize, part: Projection) -> Matrix<'a, T> {
        let (start, row_stride) = self.rows(image, head, part);
        Matrix { data: &x[start..], row_stride, column_stride: 1 }
    }

    fn parts<'a, T>(&self, [query, key, value]: [&'a [T]; 3], image: usize, head: usize) -> HeadParts<'a, T> {
        HeadParts {
            query: self.matrix(query, image, head, Projection::Query),
            key: self.matrix(key, image, head, Projection::Key),
            value: self.matrix(value, image, head, Projection::Value),
        }
    }

    fn attend(&self, inputs: &[Tensor; 3]) -> Result<Tensor> {
        let [query, key, value] = inputs;
        on_cuda!(query, self.forward_on_cuda(inputs));
        by_dtype!(query, T => {
            let output = with_slice(query, |query: &[T]| {
                with_slice(key, |key| with_slice(value, |value| self.forward([query, key, value])))
            })???;
            tensor(output, value.shape())
        })
    }

    fn forward<T: Float>(&self, inputs: [&[T]; 3]) -> Vec<T> {
        let write = |output: &mut [MaybeUninit<T>]| {
            let output = Output::uninitialized(output, RowOffsets::Even { start: 0, stride: 0 });
            each_head(self.images, self.heads, |image, head| {
                let (start, stride) = self.rows(image, head, Projection::Value);
                // SAFETY: each head of each image writes its own numbers.
                let output = unsafe { output.with_rows(RowOffsets::Even { start, stride }) };
                self.head().forward(self.parts(inputs, image, head), None, output);
            });
        };
        // SAFETY: the heads of all images cover the whole output.
        unsafe { written(inputs[2].len(), write) }
    }

    fn backward<T: Float>(&self, inputs: [&[T]; 3], grad: &[T]) -> [Vec<T>; 3] {
        let mut gradients = inputs.map(|input| Box::new_uninit_slice(input.len()));
        let outputs = gradients.each_mut().map(|gradient| {
            super::buffer::poison(gradient);
            Output::uninitialized(gradient, RowOffsets::Even { start: 0, stride: 0 })
        });
        each_head(self.images, self.heads, |image, head| {
            let grad = self.matrix(grad, image, head, Projection::Value);
            let part = |part| {
                let (start, stride) = self.rows(image, head, part);
                // SAFETY: each head of each image writes its own numbers of each part.
                unsafe { outputs[part as usize].with_rows(RowOffsets::Even { start, stride }) }
            };
            self.head().backward(self.parts(inputs, image, head), None, grad, part, |_| {});
        });
        // SAFETY: the heads of all images cover all three.
        gradients.map(|gradient| unsafe { gradient.assume_init() }.into_vec())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::testing::{
        Fixture, assert_same_on_any_threads, check_gradients, gradients, normal, numbers,
    };

    fn run(heads: usize) -> impl Fn(&mut Tape, &[Value]) -> Result<Value> + Sync {
        move |tape, inputs| attention_qkv(tape, &inputs[0], &inputs[1], &inputs[2], heads)
    }

    fn inputs(images: usize, [height, width]: [usize; 2], [key, value]: [usize; 2]) -> Vec<Tensor> {
        let tensor = |name, channels| normal(name, &[images, height, width, channels]);
        vec![tensor("q", key), tensor("k", key), tensor("v", value)]
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        check_gradients(&inputs(2, [2, 3], [4, 6]), run(2));
    }

    #[test]
    fn pytorch_agrees() {
        let fixture = Fixture::open("attention_qkv");
        for dtype in [DType::F32, DType::F64] {
            let inputs = ["query", "key", "value"].map(|name| fixture.input(name, dtype));
            let (y, grads) = gradients(&inputs, &fixture.input("weights", dtype), run(2));
            fixture.assert("all.y", &y);
            for (name, grad) in ["query", "key", "value"].iter().zip(&grads) {
                fixture.assert(&format!("all.{name}"), grad);
            }
        }
    }

    #[test]
    fn an_image_depends_on_no_other_and_threads_do_not_matter() {
        let single = |tensor: &Tensor| tensor.to_dtype(DType::F32).unwrap();
        let inputs: Vec<Tensor> = inputs(3, [5, 9], [64, 128]).iter().map(single).collect();
        let values =
            |inputs: &[Tensor]| -> Vec<Value> { inputs.iter().cloned().map(Value::constant).collect() };
        let whole = run(2)(&mut Tape::new(), &values(&inputs)).unwrap().into_tensor();
        let last: Vec<Tensor> = inputs.iter().map(|input| input.narrow(0, 2, 1).unwrap()).collect();
        let alone = run(2)(&mut Tape::new(), &values(&last)).unwrap();
        assert_eq!(numbers(&whole.narrow(0, 2, 1).unwrap()), numbers(alone.tensor()));
        assert_same_on_any_threads(|| gradients(&inputs, &whole, run(2)).1);
    }

    #[test]
    fn shapes_that_do_not_fit_are_an_error() {
        let refused = |inputs: Vec<Tensor>, heads| {
            let values: Vec<Value> = inputs.into_iter().map(Value::constant).collect();
            run(heads)(&mut Tape::new(), &values).is_err()
        };
        assert!(refused(inputs(1, [2, 2], [4, 6]), 0) && refused(inputs(1, [2, 2], [4, 6]), 4));
        let mut mixed = inputs(1, [2, 2], [4, 6]);
        mixed[0] = normal("q", &[1, 2, 3, 4]);
        assert!(refused(mixed, 2));
        assert!(refused(vec![normal("q", &[4, 4]), normal("k", &[4, 4]), normal("v", &[4, 4])], 2));
    }
}
