//! Maps of twice the height and width: each pixel becomes four.

#[cfg(feature = "cuda")]
mod cuda;

use std::mem::MaybeUninit;

use candle_core::Tensor;

use super::average_pool::image_dims;
use super::buffer::build;
use super::float::{Float, by_dtype, tensor, with_slice};
use super::multiversion::multiversion;
use super::on_cuda::on_cuda;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};

/// The nearest pixel of x [N, H, W, C] at twice the size: [N, 2 · H, 2 · W, C].
pub fn upsample_nearest(tape: &mut Tape, x: &Value) -> Result<Value> {
    let [images, height, width, channels] = image_dims(x)?;
    if height * width * channels == 0 {
        return Err(Error::bug(format!("{:?} at twice the size", x.tensor().shape())));
    }
    let output = enlarged(x.tensor(), [images, height, width, channels])?;
    Ok(tape.record(&[x], output, || Upsample { input: [images, height, width, channels] }))
}

struct Upsample {
    input: [usize; 4],
}

impl Backward for Upsample {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(gathered(&grad, self.input)?)])
    }
}

fn enlarged(x: &Tensor, [images, height, width, channels]: [usize; 4]) -> Result<Tensor> {
    let shape = [images, 2 * height, 2 * width, channels];
    on_cuda!(x, cuda::resized(x, "upsample", shape));
    let line = width * channels;
    by_dtype!(x, T => {
        let output = with_slice(x, |x: &[T]| {
            let write = |index: usize, out: &mut [MaybeUninit<T>]| {
                let (upper, lower) = out.split_at_mut(2 * line);
                for out in [upper, lower] {
                    let pixels = x[index * line..][..line].chunks_exact(channels);
                    for (out, pixel) in out.chunks_exact_mut(2 * channels).zip(pixels) {
                        let (left, right) = out.split_at_mut(channels);
                        left.write_copy_of_slice(pixel);
                        right.write_copy_of_slice(pixel);
                    }
                }
            };
            // SAFETY: both lines that a line becomes are written.
            unsafe { build(4 * images * height * line, 4 * line, write) }
        })?;
        tensor(output, shape.as_slice())
    })
}

/// The gradient of the input: the sum of the four pixels that each has become.
fn gathered(grad: &Tensor, input: [usize; 4]) -> Result<Tensor> {
    on_cuda!(grad, cuda::resized(grad, "upsample_backward", input));
    let [images, height, width, channels] = input;
    let line = width * channels;
    by_dtype!(grad, T => {
        let output = with_slice(grad, |grad: &[T]| {
            let write = |index: usize, out: &mut [MaybeUninit<T>]| {
                let (upper, lower) = grad[4 * index * line..][..4 * line].split_at(2 * line);
                sum_of_four(upper, lower, channels, out);
            };
            // SAFETY: `sum_of_four` writes every element.
            unsafe { build(images * height * line, line, write) }
        })?;
        tensor(output, input.as_slice())
    })
}

multiversion! {
    /// One line of sums over two lines of twice its length.
    fn sum_of_four<T: Float>(upper: &[T], lower: &[T], channels: usize, out: &mut [MaybeUninit<T>]) {
        assert!(upper.len() == 2 * out.len() && lower.len() == 2 * out.len());
        let lines = upper.chunks_exact(2 * channels).zip(lower.chunks_exact(2 * channels));
        for (out, (upper, lower)) in out.chunks_exact_mut(channels).zip(lines) {
            let ((a, b), (c, d)) = (upper.split_at(channels), lower.split_at(channels));
            let (b, c, d) = (&b[..channels], &c[..channels], &d[..channels]);
            for channel in 0..channels {
                out[channel].write((a[channel] + b[channel]) + (c[channel] + d[channel]));
            }
        }
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
        upsample_nearest(tape, &inputs[0])
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        check_gradients(&[normal("x", &[2, 3, 2, 3])], run);
    }

    #[test]
    fn pytorch_agrees() {
        let fixture = Fixture::open("upsample");
        for dtype in [DType::F32, DType::F64] {
            let (y, grads) = gradients(&[fixture.input("x", dtype)], &fixture.input("weights", dtype), run);
            fixture.assert("all.y", &y);
            fixture.assert("all.x", &grads[0]);
        }
    }

    #[test]
    fn threads_do_not_matter() {
        let x = normal("x", &[2, 20, 21, 33]).to_dtype(DType::F32).unwrap();
        let weights = normal("w", &[2, 40, 42, 33]).to_dtype(DType::F32).unwrap();
        assert_same_on_any_threads(|| {
            let (y, grads) = gradients(std::slice::from_ref(&x), &weights, run);
            vec![y, grads[0].clone()]
        });
    }

    #[test]
    fn only_images_have_a_size() {
        let refused =
            |shape: &[usize]| run(&mut Tape::new(), &[Value::constant(normal("x", shape))]).is_err();
        assert!(refused(&[2, 3]) && refused(&[1, 0, 2, 3]));
        let one = run(&mut Tape::new(), &[Value::constant(normal("x", &[1, 1, 1, 1]))]).unwrap();
        assert_eq!((one.tensor().dims(), numbers(one.tensor()).len()), (&[1, 2, 2, 1][..], 4));
    }
}
