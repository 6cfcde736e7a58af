//! Max pooling: the maximum of each window.

#[cfg(feature = "cuda")]
pub(super) mod cuda;

use std::mem::MaybeUninit;
use std::ops::Range;

use candle_core::Tensor;
use rayon::prelude::*;

use super::Window;
use super::average_pool::image_dims;
use super::buffer::build_with;
use super::float::{Float, by_dtype, tensor, with_slice};
use super::multiversion::multiversion;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};

/// The maximum of each window of x [N, H, W, C]. Padding is never the maximum, a NaN always is. The gradient
/// goes to the first of equal values in row order, as in PyTorch.
pub fn max_pool2d(tape: &mut Tape, x: &Value, window: Window) -> Result<Value> {
    let [images, height, width, channels] = image_dims(x)?;
    let [top, left, bottom, right] = window.padding;
    let [kernel_height, kernel_width] = window.kernel;
    let fits = window.stride.iter().all(|stride| *stride > 0)
        && top.max(bottom) < kernel_height
        && left.max(right) < kernel_width
        && kernel_height <= height + top + bottom
        && kernel_width <= width + left + right
        && kernel_height * kernel_width <= usize::from(u16::MAX);
    if !fits {
        return Err(Error::failed(format!("cannot pool images of {height} × {width} with {window:?}"))
            .hint("use a larger `image_size`"));
    }
    let grid = WindowGrid {
        window,
        input: [height, width],
        output: [
            (height + top + bottom - kernel_height) / window.stride[0] + 1,
            (width + left + right - kernel_width) / window.stride[1] + 1,
        ],
        channels,
    };
    #[cfg(feature = "cuda")]
    if x.tensor().device().is_cuda() {
        return match cuda::forward(&grid, x.tensor(), !x.is_constant())? {
            (output, Some(backward)) => Ok(tape.record(&[x], output, || backward)),
            (output, None) => Ok(Value::constant(output)),
        };
    }
    let shape = (images, grid.output[0], grid.output[1], channels);
    let record = !x.is_constant();
    let (output, chosen) = by_dtype!(x.tensor(), T => {
        let (output, chosen) = with_slice(x.tensor(), |x| grid.pool::<T>(x, images, record))?;
        Ok((tensor(output, shape)?, chosen))
    })?;
    Ok(tape.record(&[x], output, || MaxPool { grid, chosen }))
}

/// The geometry of the windows.
#[derive(Clone, Copy)]
struct WindowGrid {
    window: Window,
    /// height, width
    input: [usize; 2],
    output: [usize; 2],
    channels: usize,
}

impl WindowGrid {
    fn pool<T: Float>(&self, x: &[T], images: usize, record: bool) -> (Vec<T>, Vec<Vec<u16>>) {
        let row = self.output[1] * self.channels;
        let image = self.input[0] * self.input[1] * self.channels;
        let write = |index: usize, out: &mut [MaybeUninit<T>]| {
            let mut chosen = vec![0; if record { out.len() } else { 0 }];
            let (number, y) = (index / self.output[0], index % self.output[0]);
            max_row(&x[number * image..][..image], self, y, out, &mut chosen);
            chosen
        };
        // SAFETY: `max_row` writes every pixel of the row: padding is smaller than the kernel, so each window
        // contains at least one pixel of the image.
        unsafe { build_with(images * self.output[0] * row, row, write) }
    }

    /// The part of the kernel inside the image for the window at `position` of axis `axis`, and the input
    /// position of its start.
    #[inline(always)]
    fn inside(&self, axis: usize, position: usize) -> (Range<usize>, usize) {
        let start = position * self.window.stride[axis];
        let padding = self.window.padding[axis];
        let first = padding.saturating_sub(start);
        let end = self.window.kernel[axis].min(self.input[axis] + padding - start);
        (first..end, start + first - padding)
    }

    /// The vertical window positions that contain input row `y`.
    fn covering(&self, y: usize) -> Range<usize> {
        let (kernel, stride) = (self.window.kernel[0], self.window.stride[0]);
        let y = y + self.window.padding[0];
        (y + 1).saturating_sub(kernel).div_ceil(stride)..self.output[0].min(y / stride + 1)
    }
}

multiversion! {
    /// Computes one output row. `chosen` (unless empty) records the kernel tap of each maximum, which the
    /// backward pass needs to find the pixel without comparing again.
    fn max_row<T: Float>(image: &[T], grid: &WindowGrid, y: usize, out: &mut [MaybeUninit<T>], chosen: &mut [u16]) {
        let channels = grid.channels;
        let (rows, top) = grid.inside(0, y);
        for (x, out) in out.chunks_exact_mut(channels).enumerate() {
            let (columns, left) = grid.inside(1, x);
            let pixel = |row: usize, column: usize| {
                let at = (top + row - rows.start) * grid.input[1] + left + column - columns.start;
                &image[at * channels..][..channels]
            };
            let out = out.write_copy_of_slice(pixel(rows.start, columns.start));
            let first = rows.start * grid.window.kernel[1] + columns.start;
            let mut none = [];
            let chosen = match &mut *chosen {
                [] => &mut none[..],
                chosen => &mut chosen[x * channels..][..channels],
            };
            chosen.fill(first as u16);
            for row in rows.clone() {
                for column in columns.clone() {
                    let place = (row * grid.window.kernel[1] + column) as u16;
                    let pixel = pixel(row, column);
                    if chosen.is_empty() {
                        for (out, x) in out.iter_mut().zip(pixel) {
                            *out = if wins(*x, *out) { *x } else { *out };
                        }
                    } else {
                        for ((out, x), chosen) in out.iter_mut().zip(pixel).zip(chosen.iter_mut()) {
                            let wins = wins(*x, *out);
                            *out = if wins { *x } else { *out };
                            *chosen = if wins { place } else { *chosen };
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::eq_op)]
fn wins<T: Float>(x: T, best: T) -> bool {
    (x > best) | (x != x)
}

struct MaxPool {
    grid: WindowGrid,
    /// For each output row, the kernel tap of each maximum.
    chosen: Vec<Vec<u16>>,
}

impl Backward for MaxPool {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let [height, width] = self.grid.input;
        let shape = (grad.dim(0)?, height, width, self.grid.channels);
        by_dtype!(grad, T => {
            let gradient = with_slice(&grad, |grad| self.gradient::<T>(grad, shape.0))?;
            Ok(vec![Some(tensor(gradient, shape)?)])
        })
    }
}

impl MaxPool {
    /// Each input row gathers from the windows that contain it, so that different threads can process different
    /// rows.
    fn gradient<T: Float>(&self, grad: &[T], images: usize) -> Vec<T> {
        let grid = &self.grid;
        let [height, width] = grid.input;
        let mut gradient = vec![T::ZERO; images * height * width * grid.channels];
        let row = grid.output[1] * grid.channels;
        gradient.par_chunks_mut((width * grid.channels).max(1)).enumerate().for_each(|(index, out)| {
            let (image, y) = (index / height, index % height);
            for window in grid.covering(y) {
                let from = image * grid.output[0] + window;
                let kernel_row = y + grid.window.padding[0] - window * grid.window.stride[0];
                scatter_row(&grad[from * row..][..row], &self.chosen[from], grid, kernel_row, out);
            }
        });
        gradient
    }
}

multiversion! {
    /// Adds to one row of the input's gradient the gradients of one row of windows whose maximum is in
    /// `kernel_row`.
    fn scatter_row<T: Float>(grad: &[T], chosen: &[u16], grid: &WindowGrid, kernel_row: usize, out: &mut [T]) {
        let channels = grid.channels;
        let windows = grad.chunks_exact(channels).zip(chosen.chunks_exact(channels));
        for (x, (grad, chosen)) in windows.enumerate() {
            let (columns, left) = grid.inside(1, x);
            for column in columns.clone() {
                let place = (kernel_row * grid.window.kernel[1] + column) as u16;
                let out = &mut out[(left + column - columns.start) * channels..][..channels];
                for ((out, grad), chosen) in out.iter_mut().zip(grad).zip(chosen) {
                    *out += if *chosen == place { *grad } else { T::ZERO };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::testing::{
        Fixture, assert_same_on_any_threads, check_gradients, gradients, normal, numbers,
    };

    fn window(kernel: [usize; 2], stride: [usize; 2], padding: [usize; 4]) -> Window {
        Window { kernel, stride, padding }
    }

    fn windows() -> [(&'static str, Window); 4] {
        [
            ("stem", window([3, 3], [2, 2], [1; 4])),
            ("plain", window([2, 2], [2, 2], [0; 4])),
            ("same", window([5, 5], [1, 1], [2; 4])),
            ("oblong", window([2, 3], [1, 2], [1, 0, 1, 0])),
        ]
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let x = normal("x", &[2, 5, 4, 3]);
        for (_, window) in windows() {
            check_gradients(std::slice::from_ref(&x), |tape, inputs| max_pool2d(tape, &inputs[0], window));
        }
        // TensorFlow's padding: none at the top and left.
        let uneven = window([3, 2], [2, 1], [0, 0, 2, 1]);
        check_gradients(&[x], |tape, inputs| max_pool2d(tape, &inputs[0], uneven));
    }

    #[test]
    fn pytorch_agrees_also_on_ties() {
        let fixture = Fixture::open("pooling");
        for dtype in [DType::F32, DType::F64] {
            let x = fixture.input("x", dtype);
            for (name, window) in windows() {
                let weights = fixture.input(&format!("{name}.weights"), dtype);
                let (y, grads) = gradients(std::slice::from_ref(&x), &weights, |tape, inputs| {
                    max_pool2d(tape, &inputs[0], window)
                });
                fixture.assert(&format!("{name}.y"), &y);
                fixture.assert(&format!("{name}.x"), &grads[0]);
            }
        }
    }

    #[test]
    fn padding_loses_and_a_nan_shows() {
        let pool = |data: [f32; 4]| {
            let x = Value::constant(Tensor::from_slice(&data, (1, 2, 2, 1), &Device::Cpu).unwrap());
            let y = max_pool2d(&mut Tape::new(), &x, window([3, 3], [1, 1], [1; 4])).unwrap();
            numbers(y.tensor())
        };
        assert_eq!(pool([-3.0, -2.0, -4.0, -9.0]), [-2.0; 4]);
        assert!(pool([1.0, f32::NAN, 3.0, 2.0]).iter().all(|y| y.is_nan()));
    }

    #[test]
    fn threads_do_not_matter() {
        let x = normal("x", &[3, 15, 14, 37]).to_dtype(DType::F32).unwrap();
        assert_same_on_any_threads(|| {
            let ones = Tensor::ones((3, 8, 7, 37), DType::F32, &Device::Cpu).unwrap();
            let run = |tape: &mut Tape, inputs: &[Value]| max_pool2d(tape, &inputs[0], windows()[0].1);
            let (y, mut all) = gradients(std::slice::from_ref(&x), &ones, run);
            all.push(y);
            all
        });
    }

    #[test]
    fn windows_that_do_not_fit_are_an_error() {
        let x = Value::constant(normal("x", &[1, 2, 2, 1]));
        assert!(max_pool2d(&mut Tape::new(), &x, window([3, 3], [1, 1], [0; 4])).is_err());
        assert!(max_pool2d(&mut Tape::new(), &x, window([2, 2], [1, 1], [2, 0, 0, 0])).is_err());
        assert!(max_pool2d(&mut Tape::new(), &x, window([2, 2], [0, 1], [0; 4])).is_err());
    }
}
