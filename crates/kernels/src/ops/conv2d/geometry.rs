//! The sizes of one convolution, and which pixels each kernel tap reads.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::ops::Window;

/// All sizes of one convolution, checked for consistency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConvGeometry {
    pub images: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Channels of the input and of the output, all groups together.
    pub channels: [usize; 2],
    pub groups: usize,
    pub window: Window,
}

impl ConvGeometry {
    /// `x` is [N, H, W, C], `weight` [O, C / groups, kH, kW].
    pub fn new(x: &[usize], weight: &[usize], window: Window, groups: usize) -> Result<Self> {
        let (&[images, height, width, channels], &[outputs, inputs, kernel_height, kernel_width]) =
            (x, weight)
        else {
            return Err(Error::bug(format!("convolution of {x:?} with {weight:?}")));
        };
        let fits = groups > 0
            && inputs * groups == channels
            && outputs % groups == 0
            && window.kernel == [kernel_height, kernel_width]
            && window.stride.iter().all(|&stride| stride > 0);
        if !fits {
            return Err(Error::bug(format!(
                "convolution of {x:?} with {weight:?} in {groups} groups, {window:?}"
            )));
        }
        let [top, left, bottom, right] = window.padding;
        let padded = [height + top + bottom, width + left + right];
        let mut output = [0; 2];
        for axis in 0..2 {
            let Some(room) =
                padded[axis].checked_sub(window.kernel[axis]).filter(|_| window.kernel[axis] > 0)
            else {
                return Err(Error::failed(format!(
                    "an image of {height}×{width} is too small for a convolution of {kernel_height}×{kernel_width}"
                ))
                .hint("use a larger `image_size`"));
            };
            output[axis] = room / window.stride[axis] + 1;
        }
        let (input, channels) = ([height, width], [channels, outputs]);
        Ok(Self { images, input, output, channels, groups, window })
    }

    /// One weight per channel and tap, without a sum over channels.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.channels == [self.groups; 2]
    }

    /// Each output pixel depends only on the input pixel at the same position.
    pub fn is_pointwise(&self) -> bool {
        (self.window.kernel, self.window.stride, self.window.padding) == ([1; 2], [1; 2], [0; 4])
    }

    pub fn taps(&self) -> usize {
        self.window.kernel[0] * self.window.kernel[1]
    }

    /// Channels of the input and of the output within a group.
    pub fn group_channels(&self) -> [usize; 2] {
        self.channels.map(|channels| channels / self.groups)
    }

    pub fn output_pixels(&self) -> usize {
        self.images * self.output[0] * self.output[1]
    }

    pub fn input_length(&self) -> usize {
        self.images * self.input[0] * self.input[1] * self.channels[0]
    }

    pub fn output_length(&self) -> usize {
        self.output_pixels() * self.channels[1]
    }

    pub fn weight_length(&self) -> usize {
        self.channels[1] * self.group_channels()[0] * self.taps()
    }

    pub fn output_shape(&self) -> [usize; 4] {
        [self.images, self.output[0], self.output[1], self.channels[1]]
    }

    pub fn input_shape(&self) -> [usize; 4] {
        [self.images, self.input[0], self.input[1], self.channels[0]]
    }

    pub fn weight_shape(&self) -> [usize; 4] {
        let [height, width] = self.window.kernel;
        [self.channels[1], self.group_channels()[0], height, width]
    }

    /// The phases of an axis (0: height, 1: width): the input positions r, r + stride, … use the same taps.
    pub fn phases(&self, axis: usize) -> impl Iterator<Item = StridePhase> {
        let (size, kernel) = (self.input[axis], self.window.kernel[axis]);
        let (stride, padding) = (self.window.stride[axis], self.window.padding[axis]);
        (0..stride.min(size)).map(move |first| {
            let lowest = (first + padding) % stride;
            let taps: Vec<usize> =
                (lowest..kernel).step_by(stride).collect::<Vec<_>>().into_iter().rev().collect();
            // Input position first + stride · i contributes to output i + (first + padding − tap) / stride.
            let origin = match taps.first() {
                Some(&highest) => (first + padding) as isize - highest as isize,
                None => 0,
            } / stride as isize;
            StridePhase { first, count: (size - first).div_ceil(stride), taps, origin }
        })
    }
}

/// The input positions of one axis whose gradients use the same taps.
pub(super) struct StridePhase {
    pub first: usize,
    pub count: usize,
    /// The taps in descending order, so that they use ascending output positions.
    pub taps: Vec<usize>,
    /// The output position of the first tap at the first input position.
    pub origin: isize,
}

/// Fails unless `tensor` has this shape.
pub(super) fn expect_shape(what: &str, tensor: &Tensor, shape: &[usize]) -> Result<()> {
    if tensor.dims() == shape {
        return Ok(());
    }
    Err(Error::bug(format!("a convolution's {what} is {:?}, not {shape:?}", tensor.dims())))
}
