//! Global average pooling, from feature maps to one vector per image.

#[cfg(feature = "cuda")]
pub(super) mod cuda;

use std::mem::MaybeUninit;

use candle_core::Tensor;

use super::buffer::build;
use super::float::{Float, by_dtype, tensor, with_slice};
use super::multiversion::multiversion;
use super::on_cuda::on_cuda;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};

/// The average of each channel over the image: [N, H, W, C] to [N, C].
pub fn global_average_pool(tape: &mut Tape, x: &Value) -> Result<Value> {
    let [images, height, width, channels] = image_dims(x)?;
    if height * width * channels == 0 {
        return Err(Error::bug(format!("an average over {:?}", x.tensor().shape())));
    }
    let output = averages(x.tensor(), [images, height * width, channels])?;
    Ok(tape.record(&[x], output, || AveragePool { height, width }))
}

fn averages(x: &Tensor, [images, pixels, channels]: [usize; 3]) -> Result<Tensor> {
    on_cuda!(x, cuda::pixel_sums(x, None, 1.0 / pixels as f64));
    let size = pixels * channels;
    by_dtype!(x, T => {
        let output = with_slice(x, |x: &[T]| {
            let write = |image: usize, out: &mut [MaybeUninit<T>]| average(&x[image * size..][..size], out);
            // SAFETY: `average` writes every channel.
            unsafe { build(images * channels, channels, write) }
        })?;
        tensor(output, (images, channels))
    })
}

/// The four dimensions of an image batch.
pub fn image_dims(x: &Value) -> Result<[usize; 4]> {
    x.tensor()
        .dims()
        .try_into()
        .map_err(|_| Error::bug(format!("{:?} is not a batch of images", x.tensor().shape())))
}

multiversion! {
    /// The average of each channel of one image, summed in f64.
    fn average<T: Float>(image: &[T], out: &mut [MaybeUninit<T>]) {
        let channels = out.len();
        let mut sums = vec![0.0; channels];
        for pixel in image.chunks_exact(channels) {
            for (sum, x) in sums.iter_mut().zip(pixel) {
                *sum += x.widen();
            }
        }
        let pixels = (image.len() / channels) as f64;
        for (out, sum) in out.iter_mut().zip(&sums) {
            out.write(T::from_f64(sum / pixels));
        }
    }
}

struct AveragePool {
    height: usize,
    width: usize,
}

impl Backward for AveragePool {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        on_cuda!(grad, Ok(vec![Some(cuda::spread(&grad, self.height, self.width)?)]));
        by_dtype!(grad, T => Ok(vec![Some(self.spread::<T>(&grad)?)]))
    }
}

impl AveragePool {
    fn spread<T: Float>(&self, grad: &Tensor) -> Result<Tensor> {
        let (images, channels) = grad.dims2()?;
        let pixels = self.height * self.width;
        let share = T::from_f64(1.0 / pixels as f64);
        let gradient = with_slice(grad, |grad: &[T]| {
            let write = |pixel: usize, out: &mut [MaybeUninit<T>]| {
                let grad = &grad[pixel / pixels * channels..][..channels];
                for (out, grad) in out.iter_mut().zip(grad) {
                    out.write(*grad * share);
                }
            };
            // SAFETY: each pixel has as many channels as the gradient.
            unsafe { build(images * pixels * channels, channels, write) }
        })?;
        tensor(gradient, (images, self.height, self.width, channels))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::testing::{Fixture, assert_same_on_any_threads, check_gradients, gradients, normal};

    fn run(tape: &mut Tape, inputs: &[Value]) -> Result<Value> {
        global_average_pool(tape, &inputs[0])
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        check_gradients(&[normal("x", &[2, 5, 4, 3])], run);
    }

    #[test]
    fn pytorch_agrees() {
        let fixture = Fixture::open("pooling");
        for dtype in [DType::F32, DType::F64] {
            let weights = fixture.input("average.weights", dtype);
            let (y, grads) = gradients(&[fixture.input("x", dtype)], &weights, run);
            fixture.assert("average.y", &y);
            fixture.assert("average.x", &grads[0]);
        }
    }

    #[test]
    fn threads_do_not_matter() {
        let x = normal("x", &[3, 15, 14, 37]).to_dtype(DType::F32).unwrap();
        let weights = normal("weights", &[3, 37]).to_dtype(DType::F32).unwrap();
        assert_same_on_any_threads(|| {
            let (y, mut all) = gradients(std::slice::from_ref(&x), &weights, run);
            all.push(y);
            all
        });
    }

    #[test]
    fn an_image_without_pixels_is_an_error() {
        let x = Value::constant(normal("x", &[1, 0, 2, 3]));
        assert!(global_average_pool(&mut Tape::new(), &x).is_err());
    }
}
