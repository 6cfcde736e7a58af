//! Convolution on CUDA. By the shape of weights and window alone: depthwise by kernels of our own, pointwise as a product,
//! the rest through cuDNN; what that does not support is a product over patches.

use candle_core::{DType, Tensor};

use super::geometry::Geometry;
use crate::autograd::{Backward, Tape, Value};
use crate::cuda::{
    self, Chunks, Convolution, Engine, Frame, Grid, Operand, Pass, Product, address, arguments, column_sums,
    kernel, optional,
};
use crate::error::{Error, Result};
use crate::ops::Activation;
use crate::ops::activation::cuda::code;

/// The widest kernel that the depthwise gradient is made for: TAPS of kernels/convolution.cuh.
const TAPS: usize = 8;
/// About how many numbers the patches of a product may be.
const PATCHES: usize = 1 << 26;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Depthwise,
    Product,
    Dnn,
}

impl Method {
    fn of(geometry: &Geometry) -> Self {
        if geometry.is_depthwise() && geometry.window.kernel[1] <= TAPS {
            Self::Depthwise
        } else if geometry.is_pointwise() && geometry.groups == 1 {
            Self::Product
        } else {
            Self::Dnn
        }
    }
}

/// Weights [O, C / groups, kH, kW] in the order and type that kernels want: [O, kH, kW, C / groups], of a depthwise
/// convolution [kH, kW, C].
fn packed(geometry: &Geometry, weight: &Tensor, dtype: DType) -> Result<Tensor> {
    let (outer, a, b) = axes(geometry);
    if (a == 1 || b == 1) && dtype == DType::F32 {
        return Ok(weight.clone());
    }
    let name = if dtype == DType::F32 { "swap_axes_f32" } else { "swap_axes_to_bf16" };
    swapped(name, weight, dtype, [outer, a, b])
}

/// The way back, for gradients; in f32.
fn unpacked(geometry: &Geometry, weight: &Tensor) -> Result<Tensor> {
    let (outer, a, b) = axes(geometry);
    let shape = geometry.weight_shape();
    if (a == 1 || b == 1) && weight.dtype() == DType::F32 {
        return Ok(weight.reshape(shape.as_slice())?);
    }
    let name = if weight.dtype() == DType::F32 { "swap_axes_f32" } else { "swap_axes_to_f32" };
    Ok(swapped(name, weight, DType::F32, [outer, b, a])?.reshape(shape.as_slice())?)
}

/// Weights as [outer, a, b], to become [outer, b, a].
fn axes(geometry: &Geometry) -> (usize, usize, usize) {
    match Method::of(geometry) {
        Method::Depthwise => (1, geometry.channels[1], geometry.taps()),
        _ => (geometry.channels[1], geometry.group_channels()[0], geometry.taps()),
    }
}

fn swapped(name: &str, x: &Tensor, dtype: DType, [outer, a, b]: [usize; 3]) -> Result<Tensor> {
    let engine = Engine::of(x)?;
    let (out, to) = engine.tensor(dtype, (outer, b, a))?;
    let count = out.elem_count();
    engine.numbers(name, count, arguments![count as i64, a as i32, b as i32, address(x)?, to])?;
    Ok(out)
}

/// The convolution with packed weights, nothing added.
fn forward(geometry: &Geometry, x: &Tensor, packed: &Tensor) -> Result<Tensor> {
    let (engine, dtype) = (Engine::of(x)?, x.dtype());
    let (out, to) = engine.tensor(dtype, geometry.output_shape().as_slice())?;
    let weight = address(packed)?;
    match Method::of(geometry) {
        Method::Depthwise => {
            let arguments = arguments![out.elem_count() as i64, grid(geometry), address(x)?, weight, to];
            engine.numbers(&kernel("depthwise", dtype)?, out.elem_count(), arguments)?;
        }
        Method::Product => {
            let [inputs, outputs] = geometry.channels;
            engine.product(&Product {
                dtype,
                dimensions: [geometry.output_pixels(), outputs, inputs],
                left: Operand::plain(address(x)?),
                right: Operand::transposed(weight),
                out: to,
                accumulate: false,
            })?;
        }
        Method::Dnn => {
            let (sizes, frame) = framed(geometry);
            let framed = frame.map(|frame| reframe(x, geometry.images, frame)).transpose()?;
            let from = address(framed.as_ref().unwrap_or(x))?;
            if !engine.convolve(&sizes, dtype, Pass::Forward, [from, weight, to])? {
                by_patches(geometry, dtype, Pass::Forward, [address(x)?, weight, to], &engine)?;
            }
        }
    }
    Ok(out)
}

/// out ← activation(out + bias + residual), in place: `out` was made here and is held by nobody else.
fn finish(
    out: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<()> {
    if bias.is_none() && residual.is_none() && activation == Activation::None {
        return Ok(());
    }
    let engine = Engine::of(out)?;
    let columns = out.dims().last().copied().unwrap_or(1) as i32;
    let (count, activation) = (out.elem_count(), code(activation));
    let [bias, residual] = [optional(bias)?, optional(residual)?];
    let arguments = arguments![count as i64, columns, address(out)?, bias, residual, activation];
    engine.numbers(&kernel("finish", out.dtype())?, count, arguments)
}

fn input_gradient(geometry: &Geometry, grad: &Tensor, packed: &Tensor) -> Result<Tensor> {
    let (engine, dtype) = (Engine::of(grad)?, grad.dtype());
    let weight = address(packed)?;
    let whole = || engine.tensor(dtype, geometry.input_shape().as_slice());
    match Method::of(geometry) {
        Method::Depthwise => {
            let (out, to) = whole()?;
            let arguments = arguments![out.elem_count() as i64, grid(geometry), address(grad)?, weight, to];
            engine.numbers(&kernel("depthwise_input", dtype)?, out.elem_count(), arguments)?;
            Ok(out)
        }
        Method::Product => {
            let ((out, to), [inputs, outputs]) = (whole()?, geometry.channels);
            engine.product(&Product {
                dtype,
                dimensions: [geometry.output_pixels(), inputs, outputs],
                left: Operand::plain(address(grad)?),
                right: Operand::plain(weight),
                out: to,
                accumulate: false,
            })?;
            Ok(out)
        }
        Method::Dnn => {
            let (sizes, frame) = framed(geometry);
            let [height, width] = sizes.input;
            let (out, to) = engine.tensor(dtype, (geometry.images, height, width, geometry.channels[0]))?;
            if !engine.convolve(&sizes, dtype, Pass::Input, [weight, address(grad)?, to])? {
                let (out, to) = whole()?;
                by_patches(geometry, dtype, Pass::Input, [weight, address(grad)?, to], &engine)?;
                return Ok(out);
            }
            match frame {
                None => Ok(out),
                Some(frame) => reframe(&out, geometry.images, frame.back()),
            }
        }
    }
}

/// In f32 and in the order of files, whatever activations are in.
fn weight_gradient(geometry: &Geometry, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let (engine, dtype) = (Engine::of(x)?, x.dtype());
    match Method::of(geometry) {
        Method::Depthwise => {
            let (channels, taps) = (geometry.channels[0], geometry.taps());
            let pixels = geometry.output_pixels();
            let Chunks { rows: chunk, count } = Chunks::of(pixels, channels);
            let partial = engine.buffer::<f64>(count as usize * taps * channels)?;
            let sums = engine.address(&partial);
            let (out, to) = engine.tensor(DType::F32, (taps, channels))?;
            let lines = geometry.window.kernel[0];
            let arguments =
                arguments![pixels as i64, grid(geometry), chunk, address(x)?, address(grad)?, sums];
            engine.columns(
                &kernel("depthwise_weight", dtype)?,
                channels,
                [count as usize, lines],
                arguments,
            )?;
            let numbers = taps * channels;
            engine.columns("total", numbers, [1, 1], arguments![numbers as i64, count, sums, to])?;
            unpacked(geometry, &out)
        }
        Method::Product => {
            let [inputs, outputs] = geometry.channels;
            let (out, to) = engine.tensor(DType::F32, (outputs, 1, inputs))?;
            let product = Product {
                dtype,
                dimensions: [outputs, inputs, geometry.output_pixels()],
                left: Operand::transposed(address(grad)?),
                right: Operand::plain(address(x)?),
                out: to,
                accumulate: false,
            };
            engine.products(&product, 1, DType::F32)?;
            unpacked(geometry, &out)
        }
        Method::Dnn => {
            let [outputs, inputs] = [geometry.channels[1], geometry.group_channels()[0]];
            let (out, to) = engine.tensor(dtype, (outputs, geometry.taps(), inputs))?;
            let (sizes, frame) = framed(geometry);
            let framed = frame.map(|frame| reframe(x, geometry.images, frame)).transpose()?;
            let from = address(framed.as_ref().unwrap_or(x))?;
            if engine.convolve(&sizes, dtype, Pass::Weight, [from, address(grad)?, to])? {
                return unpacked(geometry, &out);
            }
            let (sums, to) = engine.tensor(DType::F32, out.shape())?;
            by_patches(geometry, dtype, Pass::Weight, [address(x)?, address(grad)?, to], &engine)?;
            unpacked(geometry, &sums)
        }
    }
}

/// As cuDNN has it: the same padding on both sides. Where it differs, images are framed in zeros first.
fn framed(geometry: &Geometry) -> (Convolution, Option<Frame>) {
    let Geometry { images, input, output, channels, groups, window } = *geometry;
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
    let frame =
        Frame { channels: channels[0] as i32, from: pair(input), to: pair(to), offset: pair([top, left]) };
    (Convolution { input: to, padding: [0, 0], ..even }, Some(frame))
}

fn reframe(x: &Tensor, images: usize, frame: Frame) -> Result<Tensor> {
    let engine = Engine::of(x)?;
    let [height, width] = frame.to.map(|size| size as usize);
    let (out, to) = engine.tensor(x.dtype(), (images, height, width, frame.channels as usize))?;
    let arguments = arguments![out.elem_count() as i64, frame, address(x)?, to];
    engine.numbers(&kernel("reframe", x.dtype())?, out.elem_count(), arguments)?;
    Ok(out)
}

fn grid(geometry: &Geometry) -> Grid {
    let pair = |[first, second]: [usize; 2]| [first as i32, second as i32];
    let [top, left, ..] = geometry.window.padding;
    Grid {
        channels: geometry.channels[0] as i32,
        input: pair(geometry.input),
        output: pair(geometry.output),
        kernel: pair(geometry.window.kernel),
        stride: pair(geometry.window.stride),
        padding: pair([top, left]),
    }
}

/// A pass as products over the patches of some images at a time, cut by shape alone. Weights' gradients, which grow from some
/// images to the next, are f32 whatever activations are.
fn by_patches(
    geometry: &Geometry,
    dtype: DType,
    pass: Pass,
    [first, second, out]: [cuda::Address; 3],
    engine: &Engine,
) -> Result<()> {
    if geometry.groups != 1 {
        return Err(Error::failed(format!(
            "cuDNN here has no deterministic algorithm for a convolution in {} groups",
            geometry.groups
        ))
        .hint("set `device = \"cpu\"`"));
    }
    let ([inputs, outputs], depth) = (geometry.channels, geometry.taps() * geometry.channels[0]);
    let pixels = geometry.output[0] * geometry.output[1];
    let at_once = (PATCHES / (pixels * depth).max(1)).clamp(1, geometry.images.max(1));
    let (patches, memory) = engine.tensor(dtype, (at_once * pixels, depth))?;
    let bytes = patches.dtype().size_in_bytes();
    let image = (geometry.input[0] * geometry.input[1] * inputs * bytes) as cuda::Address;
    let result = (pixels * outputs * bytes) as cuda::Address;
    for start in (0..geometry.images).step_by(at_once) {
        let images = at_once.min(geometry.images - start);
        let (rows, start) = (images * pixels, start as cuda::Address);
        let unfold = |from: cuda::Address| {
            let count = rows * depth;
            let arguments = arguments![count as i64, grid(geometry), from, memory];
            engine.numbers(&kernel("patches", dtype)?, count, arguments)
        };
        let product = |dimensions, left, right, out, accumulate| {
            let sums = if pass == Pass::Weight { DType::F32 } else { dtype };
            engine.products(&Product { dtype, dimensions, left, right, out, accumulate }, 1, sums)
        };
        match pass {
            Pass::Forward => {
                unfold(first + start * image)?;
                let (left, right) = (Operand::plain(memory), Operand::transposed(second));
                product([rows, outputs, depth], left, right, out + start * result, false)?;
            }
            Pass::Input => {
                let (left, right) = (Operand::plain(second + start * result), Operand::plain(first));
                product([rows, depth, outputs], left, right, memory, false)?;
                let count = images * geometry.input[0] * geometry.input[1] * inputs;
                let arguments = arguments![count as i64, grid(geometry), memory, out + start * image];
                engine.numbers(&kernel("gather_patches", dtype)?, count, arguments)?;
            }
            Pass::Weight => {
                unfold(first + start * image)?;
                let (left, right) = (Operand::transposed(second + start * result), Operand::plain(memory));
                product([outputs, depth, rows], left, right, out, start > 0)?;
            }
        }
    }
    Ok(())
}

/// A convolution on the tape, of x, weight and maybe a bias.
pub(in crate::ops::conv2d) fn convolution(
    tape: &mut Tape,
    geometry: Geometry,
    inputs: &[&Value],
) -> Result<Value> {
    let (x, weight) = (inputs[0], inputs[1]);
    let packed = packed(&geometry, weight.tensor(), x.tensor().dtype())?;
    let output = forward(&geometry, x.tensor(), &packed)?;
    finish(&output, inputs.get(2).map(|bias| bias.tensor()), None, Activation::None)?;
    let x = (!weight.is_constant()).then(|| x.tensor().clone());
    Ok(tape.record(inputs, output, || Conv2dBackward { geometry, x, packed }))
}

struct Conv2dBackward {
    geometry: Geometry,
    /// Kept where the weight has a gradient.
    x: Option<Tensor>,
    packed: Tensor,
}

impl Backward for Conv2dBackward {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut gradients = vec![None; wanted.len()];
        if wanted[0] {
            gradients[0] = Some(input_gradient(&self.geometry, &grad, &self.packed)?);
        }
        if let (true, Some(x)) = (wanted[1], &self.x) {
            gradients[1] = Some(weight_gradient(&self.geometry, x, &grad)?);
        }
        if wanted.get(2) == Some(&true) {
            gradients[2] = Some(column_sums(&grad)?);
        }
        Ok(gradients)
    }
}

/// A convolution for inference, its normalisation folded in: weights in f32 and in the order of files.
pub struct Folded {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Folded {
    pub fn new(weight: &Tensor, norm: Option<super::FoldedNorm<'_>>, bias: Option<&Tensor>) -> Result<Self> {
        let Some(norm) = norm else { return Ok(Self { weight: weight.clone(), bias: bias.cloned() }) };
        let engine = Engine::of(weight)?;
        let outputs = weight.dim(0)?;
        let (folded, to) = engine.tensor(DType::F32, weight.shape())?;
        let (count, per_output) = (weight.elem_count(), (weight.elem_count() / outputs) as i32);
        let [scale, variance] = [address(norm.weight)?, address(norm.variance)?];
        let arguments = arguments![count as i64, per_output, address(weight)?, scale, variance, norm.eps, to];
        engine.numbers("fold_weights", count, arguments)?;
        let (shift, to) = engine.tensor(DType::F32, outputs)?;
        let [before, offset, mean] = [optional(bias)?, address(norm.bias)?, address(norm.mean)?];
        let arguments = arguments![outputs as i32, before, scale, offset, mean, variance, norm.eps, to];
        engine.numbers("fold_bias", outputs, arguments)?;
        Ok(Self { weight: folded, bias: Some(shift) })
    }

    pub(in crate::ops::conv2d) fn forward(
        &self,
        geometry: &Geometry,
        x: &Tensor,
        activation: Activation,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let out = forward(geometry, x, &packed(geometry, &self.weight, x.dtype())?)?;
        finish(&out, self.bias.as_ref(), residual, activation)?;
        Ok(out)
    }
}
