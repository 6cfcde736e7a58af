//! Images times one factor per channel, as in squeeze-and-excitation.

#[cfg(feature = "cuda")]
pub(super) mod cuda;

use std::mem::MaybeUninit;

use candle_core::Tensor;
use rayon::prelude::*;

use super::average_pool::image_dims;
use super::buffer::{build, rows_per_task};
use super::float::{Float, by_dtype, tensor, with_slice};
use super::multiversion::multiversion;
use super::on_cuda::on_cuda;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};

/// x [N, H, W, C] times a scale [N, C].
pub fn scale_channels(tape: &mut Tape, x: &Value, scale: &Value) -> Result<Value> {
    let [images, height, width, channels] = image_dims(x)?;
    if scale.tensor().dims() != [images, channels] {
        let (x, scale) = (x.tensor().dims(), scale.tensor().dims());
        return Err(Error::bug(format!("{x:?} scaled by {scale:?}")));
    }
    let pixels = height * width;
    let output = scaled(x.tensor(), scale.tensor(), pixels)?;
    let keep = |needed: bool, value: &Value| needed.then(|| value.tensor().clone());
    Ok(tape.record(&[x, scale], output, || ScaleChannels {
        x: keep(!scale.is_constant(), x),
        scale: keep(!x.is_constant(), scale),
        pixels,
    }))
}

fn scaled(x: &Tensor, scale: &Tensor, pixels: usize) -> Result<Tensor> {
    on_cuda!(x, cuda::product(x, scale, pixels));
    by_dtype!(x, T => product::<T>(x, scale, pixels))
}

/// Saves each operand for the other's gradient, if needed.
struct ScaleChannels {
    x: Option<Tensor>,
    scale: Option<Tensor>,
    pixels: usize,
}

impl Backward for ScaleChannels {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let scale = self.scale.as_ref().filter(|_| wanted[0]);
        let x = self.x.as_ref().filter(|_| wanted[1]);
        on_cuda!(
            grad,
            Ok(vec![
                scale.map(|scale| cuda::product(&grad, scale, self.pixels)).transpose()?,
                x.map(|x| super::average_pool::cuda::pixel_sums(&grad, Some(x), 1.0)).transpose()?,
            ])
        );
        by_dtype!(grad, T => Ok(vec![
            scale.map(|scale| product::<T>(&grad, scale, self.pixels)).transpose()?,
            x.map(|x| scale_gradient::<T>(&grad, x, self.pixels)).transpose()?,
        ]))
    }
}

fn product<T: Float>(x: &Tensor, scale: &Tensor, pixels: usize) -> Result<Tensor> {
    let (_, channels) = scale.dims2()?;
    let rows = rows_per_task(channels);
    let output = with_slice(x, |x: &[T]| {
        with_slice(scale, |scale: &[T]| {
            let write = |task: usize, out: &mut [MaybeUninit<T>]| {
                let x = &x[task * rows * channels..][..out.len()];
                scale_rows(x, scale, channels, task * rows, pixels, out);
            };
            // SAFETY: `scale_rows` writes every row, and chunks are whole rows.
            unsafe { build(x.len(), rows * channels, write) }
        })
    })??;
    tensor(output, x.shape())
}

/// Σ grad · x over the pixels of each image: each task sums pixels of one image, and the sums are added in
/// order.
fn scale_gradient<T: Float>(grad: &Tensor, x: &Tensor, pixels: usize) -> Result<Tensor> {
    let (images, _, _, channels) = grad.dims4()?;
    let (image, task) = (pixels * channels, rows_per_task(channels) * channels);
    let tasks_per_image = image.div_ceil(task.max(1));
    let sums: Vec<Vec<f64>> = with_slice(grad, |grad: &[T]| {
        with_slice(x, |x: &[T]| {
            let tasks = (0..images * tasks_per_image).into_par_iter();
            let sum = |index: usize| {
                let first = index % tasks_per_image * task;
                let start = index / tasks_per_image * image;
                let numbers = start + first..start + image.min(first + task);
                channel_sums(&grad[numbers.clone()], &x[numbers], channels)
            };
            tasks.map(sum).collect()
        })
    })??;
    let mut gradient = Vec::with_capacity(images * channels);
    for image in 0..images {
        let sums = &sums[image * tasks_per_image..][..tasks_per_image];
        gradient.extend((0..channels).map(|c| T::from_f64(sums.iter().map(|sums| sums[c]).sum())));
    }
    tensor(gradient, (images, channels))
}

multiversion! {
    /// `x` holds some pixels of a batch, starting at pixel `first`; each image has `pixels` pixels.
    fn scale_rows<T: Float>(
        x: &[T],
        scale: &[T],
        channels: usize,
        first: usize,
        pixels: usize,
        out: &mut [MaybeUninit<T>],
    ) {
        assert!(out.len().is_multiple_of(channels) && x.len() == out.len());
        for (row, (x, out)) in x.chunks_exact(channels).zip(out.chunks_exact_mut(channels)).enumerate() {
            let scale = &scale[(first + row) / pixels * channels..][..channels];
            for ((out, x), scale) in out.iter_mut().zip(x).zip(scale) {
                out.write(*x * *scale);
            }
        }
    }
}

multiversion! {
    /// Σ grad · x of each channel, in f64.
    fn channel_sums<T: Float>(grad: &[T], x: &[T], channels: usize) -> Vec<f64> {
        let mut sums = vec![0.0; channels];
        for (grad, x) in grad.chunks_exact(channels).zip(x.chunks_exact(channels)) {
            for ((sum, grad), x) in sums.iter_mut().zip(grad).zip(x) {
                *sum += grad.widen() * x.widen();
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::testing::{assert_close, assert_same_on_any_threads, check_gradients, gradients, normal};

    fn run(tape: &mut Tape, inputs: &[Value]) -> Result<Value> {
        scale_channels(tape, &inputs[0], &inputs[1])
    }

    #[test]
    fn a_product_and_its_gradients() {
        let (x, scale) = (normal("x", &[3, 4, 5, 7]), normal("scale", &[3, 7]));
        check_gradients(&[x.clone(), scale.clone()], run);
        let y = run(&mut Tape::new(), &[x.clone(), scale.clone()].map(Value::constant)).unwrap();
        let expected = x.broadcast_mul(&scale.reshape((3, 1, 1, 7)).unwrap()).unwrap();
        assert_close("y", y.tensor(), &expected, 0.0);
    }

    /// Images of several tasks each, with borders inside rows of pixels.
    #[test]
    fn threads_do_not_matter_nor_where_images_are_cut() {
        let shape = [2, 31, 29, 37];
        let inputs = [normal("x", &shape), normal("scale", &[2, 37])];
        let weights = normal("weights", &shape);
        let narrow = |tensor: &Tensor| tensor.to_dtype(DType::F32).unwrap();
        let (narrow_inputs, narrow_weights) = ([narrow(&inputs[0]), narrow(&inputs[1])], narrow(&weights));
        assert_same_on_any_threads(|| gradients(&narrow_inputs, &narrow_weights, run).1);

        let (_, grads) = gradients(&inputs, &weights, run);
        let expected = (&weights * &inputs[0]).unwrap().sum((1, 2)).unwrap();
        assert_close("gradient of the scale", &grads[1], &expected, 1e-13);
    }

    #[test]
    fn shapes_must_agree() {
        let x = Value::constant(normal("x", &[2, 3, 3, 4]));
        for shape in [vec![2, 3], vec![1, 4], vec![2, 1, 1, 4]] {
            let scale = Value::constant(normal("scale", &shape));
            assert!(scale_channels(&mut Tape::new(), &x, &scale).is_err(), "{shape:?}");
        }
    }
}
