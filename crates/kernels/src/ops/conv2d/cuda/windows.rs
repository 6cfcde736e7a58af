//! Windows over images for kernels and cuDNN, and as rows of patches where cuDNN has no algorithm.

use candle_core::{DType, Tensor};

use crate::cuda::{
    self, Convolution, ConvolutionPass, CublasProduct, Engine, ImageFrame, Operand, WindowGrid, address,
    arguments, kernel,
};
use crate::error::{Error, Result};
use crate::ops::conv2d::geometry::ConvGeometry;

/// The approximate maximum number of elements in the patches of one product.
const PATCHES: usize = 1 << 26;

/// The convolution for cuDNN, which needs equal padding on both sides. If they differ, images are first padded
/// with a frame of zeros.
pub fn framed(geometry: &ConvGeometry) -> (Convolution, Option<ImageFrame>) {
    let ConvGeometry { images, input, output, channels, groups, window } = *geometry;
    let [top, left, bottom, right] = window.padding;
    let even = Convolution {
        images,
        input,
        output,
        channels,
        groups,
        kernel: window.kernel,
        stride: window.stride,
        padding: [top, left],
    };
    if top == bottom && left == right {
        return (even, None);
    }
    let to = [input[0] + top + bottom, input[1] + left + right];
    let pair = |[first, second]: [usize; 2]| [first as i32, second as i32];
    let frame = ImageFrame {
        channels: channels[0] as i32,
        from: pair(input),
        to: pair(to),
        offset: pair([top, left]),
    };
    (Convolution { input: to, padding: [0, 0], ..even }, Some(frame))
}

pub fn reframe(x: &Tensor, images: usize, frame: ImageFrame) -> Result<Tensor> {
    let engine = Engine::of(x)?;
    let [height, width] = frame.to.map(|size| size as usize);
    let (out, to) = engine.tensor(x.dtype(), (images, height, width, frame.channels as usize))?;
    let arguments = arguments![out.elem_count() as i64, frame, address(x)?, to];
    engine.numbers(&kernel("reframe", x.dtype())?, out.elem_count(), arguments)?;
    Ok(out)
}

pub fn grid(geometry: &ConvGeometry) -> WindowGrid {
    let pair = |[first, second]: [usize; 2]| [first as i32, second as i32];
    let [top, left, ..] = geometry.window.padding;
    WindowGrid {
        channels: geometry.channels[0] as i32,
        input: pair(geometry.input),
        output: pair(geometry.output),
        kernel: pair(geometry.window.kernel),
        stride: pair(geometry.window.stride),
        padding: pair([top, left]),
    }
}

/// Computes a pass as products over the patches of some images at a time; the shape alone decides the split.
/// Weight gradients, which accumulate over images, are f32 for every type of activations.
pub fn by_patches(
    geometry: &ConvGeometry,
    dtype: DType,
    pass: ConvolutionPass,
    [first, second, out]: [cuda::Address; 3],
    engine: &Engine,
) -> Result<()> {
    if geometry.groups != 1 {
        return Err(Error::failed(format!(
            "this cuDNN has no deterministic algorithm for a convolution with {} groups",
            geometry.groups
        ))
        .hint("set `device = \"cpu\"`"));
    }
    let ([inputs, outputs], depth) = (geometry.channels, geometry.taps() * geometry.channels[0]);
    let pixels = geometry.output[0] * geometry.output[1];
    let at_once = (PATCHES / (pixels * depth).max(1)).clamp(1, geometry.images.max(1));
    let (patches, memory) = engine.tensor(dtype, (at_once * pixels, depth))?;
    let bytes = patches.dtype().size_in_bytes();
    let image = geometry.input[0] * geometry.input[1] * inputs * bytes;
    let result = pixels * outputs * bytes;
    for start in (0..geometry.images).step_by(at_once) {
        let images = at_once.min(geometry.images - start);
        let rows = images * pixels;
        let unfold = |from: cuda::Address| {
            let count = rows * depth;
            let arguments = arguments![count as i64, grid(geometry), from, memory];
            engine.numbers(&kernel("patches", dtype)?, count, arguments)
        };
        let product = |dimensions, left, right, out, accumulate| {
            let sums = if pass == ConvolutionPass::Weight { DType::F32 } else { dtype };
            engine.products(&CublasProduct { dtype, dimensions, left, right, out, accumulate }, 1, sums)
        };
        match pass {
            ConvolutionPass::Forward => {
                unfold(first.plus(start * image))?;
                let (left, right) = (Operand::plain(memory), Operand::transposed(second));
                product([rows, outputs, depth], left, right, out.plus(start * result), false)?;
            }
            ConvolutionPass::Input => {
                let (left, right) = (Operand::plain(second.plus(start * result)), Operand::plain(first));
                product([rows, depth, outputs], left, right, memory, false)?;
                let count = images * geometry.input[0] * geometry.input[1] * inputs;
                let arguments = arguments![count as i64, grid(geometry), memory, out.plus(start * image)];
                engine.numbers(&kernel("gather_patches", dtype)?, count, arguments)?;
            }
            ConvolutionPass::Weight => {
                unfold(first.plus(start * image))?;
                let (left, right) =
                    (Operand::transposed(second.plus(start * result)), Operand::plain(memory));
                product([outputs, depth, rows], left, right, out, start > 0)?;
            }
        }
    }
    Ok(())
}
