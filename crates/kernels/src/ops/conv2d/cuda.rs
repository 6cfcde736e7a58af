//! Convolution on CUDA. The shapes of weights and window select the method: own kernels for depthwise, a matrix
//! product for pointwise, cuDNN for the rest, and a product over patches where cuDNN has no algorithm.

mod packing;
mod windows;

use std::sync::OnceLock;

use candle_core::{DType, Tensor};

use self::packing::{packed, unpacked};
use self::windows::{by_patches, framed, grid, reframe};
use super::geometry::ConvGeometry;
use crate::autograd::{Backward, Tape, Value};
use crate::cuda::{
    ConvolutionPass, CublasProduct, Engine, Operand, RowChunks, address, arguments, column_sums, kernel,
    optional,
};
use crate::error::Result;
use crate::ops::Activation;
use crate::ops::activation::cuda::code;

/// The maximum kernel size of the depthwise gradient: TAPS of kernels/convolution.cuh.
const TAPS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Depthwise,
    Product,
    Dnn,
}

impl Method {
    fn of(geometry: &ConvGeometry) -> Self {
        if geometry.is_depthwise() && geometry.window.kernel[1] <= TAPS {
            Self::Depthwise
        } else if geometry.is_pointwise() && geometry.groups == 1 {
            Self::Product
        } else {
            Self::Dnn
        }
    }
}

/// The convolution with packed weights, without bias or activation.
fn forward(geometry: &ConvGeometry, x: &Tensor, packed: &Tensor) -> Result<Tensor> {
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
            engine.product(&CublasProduct {
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
            if !engine.convolve(&sizes, dtype, ConvolutionPass::Forward, [from, weight, to])? {
                by_patches(geometry, dtype, ConvolutionPass::Forward, [address(x)?, weight, to], &engine)?;
            }
        }
    }
    Ok(out)
}

/// out ← activation(out + bias + residual), in place: `out` was created here, so there is no other reference.
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

fn input_gradient(geometry: &ConvGeometry, grad: &Tensor, packed: &Tensor) -> Result<Tensor> {
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
            engine.product(&CublasProduct {
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
            if !engine.convolve(&sizes, dtype, ConvolutionPass::Input, [weight, address(grad)?, to])? {
                let (out, to) = whole()?;
                by_patches(geometry, dtype, ConvolutionPass::Input, [weight, address(grad)?, to], &engine)?;
                return Ok(out);
            }
            match frame {
                None => Ok(out),
                Some(frame) => reframe(&out, geometry.images, frame.inverse()),
            }
        }
    }
}

/// In f32 and in file order, for every type of activations.
fn weight_gradient(geometry: &ConvGeometry, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let (engine, dtype) = (Engine::of(x)?, x.dtype());
    match Method::of(geometry) {
        Method::Depthwise => {
            let (channels, taps) = (geometry.channels[0], geometry.taps());
            let pixels = geometry.output_pixels();
            let RowChunks { rows: chunk, count } = RowChunks::of(pixels, channels);
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
            let product = CublasProduct {
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
            if engine.convolve(&sizes, dtype, ConvolutionPass::Weight, [from, address(grad)?, to])? {
                return unpacked(geometry, &out);
            }
            let (sums, to) = engine.tensor(DType::F32, out.shape())?;
            by_patches(geometry, dtype, ConvolutionPass::Weight, [address(x)?, address(grad)?, to], &engine)?;
            unpacked(geometry, &sums)
        }
    }
}

/// A recorded convolution of x, a weight and an optional bias.
pub(in crate::ops::conv2d) fn convolution(
    tape: &mut Tape,
    geometry: ConvGeometry,
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
    geometry: ConvGeometry,
    /// Saved if the weight needs a gradient.
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

/// A convolution for inference with folded normalization: weights in f32 and in file order.
pub struct Folded {
    weight: Tensor,
    /// In the kernels' layout, after the first batch.
    packed: OnceLock<Tensor>,
    bias: Option<Tensor>,
}

impl Folded {
    pub fn new(weight: &Tensor, norm: Option<super::FoldedNorm<'_>>, bias: Option<&Tensor>) -> Result<Self> {
        let Some(norm) = norm else { return Ok(Self::of(weight.clone(), bias.cloned())) };
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
        Ok(Self::of(folded, Some(shift)))
    }

    fn of(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, packed: OnceLock::new(), bias }
    }

    pub(in crate::ops::conv2d) fn forward(
        &self,
        geometry: &ConvGeometry,
        x: &Tensor,
        activation: Activation,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let packed = match self.packed.get() {
            Some(packed) => packed,
            None => {
                let packed = packed(geometry, &self.weight, x.dtype())?;
                self.packed.get_or_init(|| packed)
            }
        };
        let out = forward(geometry, x, packed)?;
        finish(&out, self.bias.as_ref(), residual, activation)?;
        Ok(out)
    }
}
