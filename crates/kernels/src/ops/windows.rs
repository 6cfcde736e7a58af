//! Maps cut into windows and put together again, and patches merged: Liu et al., *Swin Transformer: Hierarchical Vision
//! Transformer using Shifted Windows* (ICCV 2021), §3.1 and §3.2.
//!
//! Each is a copy of pixels in another order, and its gradient the copy back. On a GPU, the host makes it.

use std::mem::MaybeUninit;

use candle_core::Tensor;

use super::average_pool::image_dims;
use super::buffer::{build, rows_per_task};
use super::float::{Float, by_dtype, tensor, with_slice};
use super::on_host::{gradient_like, on_host};
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};

/// How a map is cut into square windows, line by line. Zeros at the bottom and on the right fill up the last windows.
///
/// A shifted grid begins `shift` pixels down and to the right; what lies before is joined to the end, in the last windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowGrid {
    /// Of the map.
    pub height: usize,
    pub width: usize,
    /// The side of a window.
    pub window: usize,
    /// By axis.
    pub shift: [usize; 2],
}

impl WindowGrid {
    /// Shifted by half a window along each axis that has more than one window, if `shifted`.
    pub fn new([height, width]: [usize; 2], window: usize, shifted: bool) -> Self {
        let shift = |size: usize| if shifted && size > window { window / 2 } else { 0 };
        Self { height, width, window, shift: [shift(height), shift(width)] }
    }

    /// The windows along each axis.
    pub fn windows(&self) -> [usize; 2] {
        [self.height, self.width].map(|size| size.div_ceil(self.window))
    }

    /// Of a map.
    pub fn count(&self) -> usize {
        self.windows().iter().product()
    }

    /// The pixels of a window.
    pub fn tokens(&self) -> usize {
        self.window * self.window
    }

    /// The side lengths with the zeros.
    pub fn padded(&self) -> [usize; 2] {
        self.windows().map(|count| count * self.window)
    }

    /// For each axis, whether the shift joins pixels from both ends of the map in this window.
    pub fn joins(&self, window: usize) -> [bool; 2] {
        let [rows, columns] = self.windows();
        let place = [window / columns, window % columns];
        let last = [rows - 1, columns - 1];
        std::array::from_fn(|axis| self.shift[axis] > 0 && place[axis] == last[axis])
    }

    /// The part of the map that a token of a window is from, in a window that joins several: tokens of different parts do
    /// not belong together.
    pub fn part(&self, joins: [bool; 2], token: usize) -> usize {
        let place = [token / self.window, token % self.window];
        let beyond = |axis: usize| usize::from(joins[axis] && place[axis] >= self.window - self.shift[axis]);
        2 * beyond(0) + beyond(1)
    }

    /// For each token of each window, the pixel that it is, or `None` for zeros.
    fn order(&self) -> Order {
        let (tokens, [_, columns], [height, width]) = (self.tokens(), self.windows(), self.padded());
        let source = |place: usize| {
            let (window, token) = (place / tokens, place % tokens);
            let y = window / columns * self.window + token / self.window;
            let x = window % columns * self.window + token % self.window;
            let (y, x) = ((y + self.shift[0]) % height, (x + self.shift[1]) % width);
            (y < self.height && x < self.width).then_some(y * self.width + x)
        };
        let sources = (0..self.count() * tokens).map(source).collect();
        Order { sources, inputs: self.height * self.width }
    }
}

/// The windows of all maps, one after the other: [N, H, W, C] to [N · windows, tokens, C].
pub fn windows(tape: &mut Tape, x: &Value, grid: WindowGrid) -> Result<Value> {
    let [images, height, width, channels] = image_dims(x)?;
    if [height, width] != [grid.height, grid.width] || grid.window == 0 || height * width * channels == 0 {
        return Err(Error::bug(format!("{grid:?} of maps {:?}", x.tensor().dims())));
    }
    reordered(tape, x, images, grid.order(), &[images * grid.count(), grid.tokens(), channels])
}

/// The inverse of [`windows`]: [N · windows, tokens, C] to [N, H, W, C]. What was filled up is left out.
pub fn from_windows(tape: &mut Tape, x: &Value, grid: WindowGrid) -> Result<Value> {
    let (rows, tokens, channels) = x.tensor().dims3()?;
    if tokens != grid.tokens() || grid.count() == 0 || rows % grid.count() != 0 || channels == 0 {
        return Err(Error::bug(format!("{grid:?} of windows {:?}", x.tensor().dims())));
    }
    let images = rows / grid.count();
    reordered(tape, x, images, grid.order().inverse(), &[images, grid.height, grid.width, channels])
}

/// Each 2×2 pixels as one with all their channels: [N, H, W, C] to [N, H / 2, W / 2, 4 · C]. The left pixels come first, of
/// each pair the upper one.
pub fn merge_patches(tape: &mut Tape, x: &Value) -> Result<Value> {
    let [images, height, width, channels] = image_dims(x)?;
    if height % 2 + width % 2 != 0 || height * width * channels == 0 {
        return Err(Error::failed(format!("a map of {height}×{width} pixels is not merged by halves"))
            .hint("use an `image_size` that is a multiple of 32"));
    }
    let [rows, columns] = [height / 2, width / 2];
    let source = |place: usize| {
        let (pixel, part) = (place / 4, place % 4);
        let (y, x) = (2 * (pixel / columns) + part % 2, 2 * (pixel % columns) + part / 2);
        Some(y * width + x)
    };
    let order = Order { sources: (0..height * width).map(source).collect(), inputs: height * width };
    reordered(tape, x, images, order, &[images, rows, columns, 4 * channels])
}

/// Where the pixels of each result come from: every pixel of the input goes to one place, or is left out.
struct Order {
    sources: Vec<Option<usize>>,
    /// The pixels of an input.
    inputs: usize,
}

impl Order {
    fn inverse(&self) -> Self {
        let mut sources = vec![None; self.inputs];
        for (place, source) in self.sources.iter().enumerate() {
            source.iter().for_each(|&source| sources[source] = Some(place));
        }
        Self { sources, inputs: self.sources.len() }
    }

    fn apply(&self, x: &Tensor, images: usize, shape: &[usize]) -> Result<Tensor> {
        let host = on_host(x)?;
        let y = by_dtype!(host, T => {
            let y = with_slice(&host, |numbers: &[T]| self.copied(numbers, images))?;
            tensor(y, shape)
        })?;
        gradient_like(&y, x)
    }

    fn copied<T: Float>(&self, x: &[T], images: usize) -> Vec<T> {
        let channels = x.len() / (images * self.inputs).max(1);
        let (places, rows) = (self.sources.len(), rows_per_task(channels));
        let write = |task: usize, out: &mut [MaybeUninit<T>]| {
            for (row, out) in out.chunks_exact_mut(channels).enumerate() {
                let (image, place) = ((task * rows + row) / places, (task * rows + row) % places);
                match self.sources[place] {
                    Some(source) => {
                        out.write_copy_of_slice(&x[(image * self.inputs + source) * channels..][..channels]);
                    }
                    None => out.fill(MaybeUninit::new(T::ZERO)),
                }
            }
        };
        // SAFETY: whole rows are written.
        unsafe { build(images * places * channels, rows * channels, write) }
    }
}

fn reordered(tape: &mut Tape, x: &Value, images: usize, order: Order, shape: &[usize]) -> Result<Value> {
    let y = order.apply(x.tensor(), images, shape)?;
    Ok(tape.record(&[x], y, || Reorder {
        inverse: order.inverse(),
        images,
        shape: x.tensor().dims().to_vec(),
    }))
}

struct Reorder {
    inverse: Order,
    images: usize,
    /// Of the input.
    shape: Vec<usize>,
}

impl Backward for Reorder {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.inverse.apply(&grad, self.images, &self.shape)?)])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::testing::{assert_same_on_any_threads, check_gradients, gradients, normal, numbers};

    #[test]
    fn gradients_agree_with_finite_differences() {
        let x = normal("x", &[2, 4, 6, 2]);
        for shifted in [false, true] {
            let grid = WindowGrid::new([4, 6], 3, shifted);
            check_gradients(std::slice::from_ref(&x), |tape, inputs| windows(tape, &inputs[0], grid));
            let cut = normal("windows", &[2 * grid.count(), 9, 2]);
            check_gradients(&[cut], |tape, inputs| from_windows(tape, &inputs[0], grid));
        }
        check_gradients(&[x], |tape, inputs| merge_patches(tape, &inputs[0]));
    }

    #[test]
    fn windows_are_line_by_line_shifted_ones_wrap_and_all_come_back() {
        let pixels: Vec<f32> = (0..4 * 4).map(|pixel| pixel as f32 + 1.0).collect();
        let x = Value::constant(
            Tensor::from_vec(pixels.clone(), (1, 4, 4, 1), &candle_core::Device::Cpu).unwrap(),
        );
        let mut tape = Tape::new();
        let cut = |tape: &mut Tape, grid| windows(tape, &x, grid).unwrap();
        let plain = cut(&mut tape, WindowGrid::new([4, 4], 2, false));
        assert_eq!(numbers(plain.tensor())[..8], [1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 7.0, 8.0]);
        let grid = WindowGrid::new([4, 4], 2, true);
        let shifted = cut(&mut tape, grid);
        assert_eq!(numbers(shifted.tensor())[..4], [6.0, 7.0, 10.0, 11.0]);
        assert_eq!(numbers(shifted.tensor())[12..], [16.0, 13.0, 4.0, 1.0]);
        let parts = |window| (0..4).map(|token| grid.part(grid.joins(window), token)).collect::<Vec<_>>();
        assert_eq!([parts(0), parts(1), parts(3)], [vec![0; 4], vec![0, 1, 0, 1], vec![0, 1, 2, 3]]);
        let padded = WindowGrid::new([4, 4], 3, true);
        let wide = cut(&mut tape, padded);
        assert_eq!(numbers(wide.tensor()).iter().filter(|number| **number == 0.0).count(), 36 - 16);
        for (cut, grid) in [(shifted, grid), (wide, padded)] {
            let back = from_windows(&mut tape, &cut, grid).unwrap();
            assert_eq!(numbers(back.tensor()), numbers(x.tensor()));
        }
        assert_eq!(WindowGrid::new([2, 4], 2, true).shift, [0, 1]);
        let merged = merge_patches(&mut tape, &x).unwrap();
        assert_eq!(numbers(merged.tensor())[..4], [1.0, 5.0, 2.0, 6.0]);
    }

    #[test]
    fn threads_do_not_matter() {
        let x = normal("x", &[2, 30, 40, 96]).to_dtype(DType::F32).unwrap();
        let grid = WindowGrid::new([30, 40], 7, true);
        let shape = [2 * grid.count(), 49, 96];
        let weights = normal("weights", &shape).to_dtype(DType::F32).unwrap();
        assert_same_on_any_threads(|| {
            let (y, mut grads) =
                gradients(std::slice::from_ref(&x), &weights, |tape, inputs| windows(tape, &inputs[0], grid));
            vec![y, grads.remove(0)]
        });
    }

    #[test]
    fn shapes_that_do_not_fit_are_an_error() {
        let x = Value::constant(normal("x", &[1, 5, 4, 2]));
        let mut tape = Tape::new();
        assert!(windows(&mut tape, &x, WindowGrid::new([4, 4], 2, false)).is_err());
        assert!(from_windows(&mut tape, &x, WindowGrid::new([5, 4], 2, false)).is_err());
        assert!(merge_patches(&mut tape, &x).unwrap_err().to_string().contains("5×4"));
    }
}
