//! Convolution as a recorded operation.

use candle_core::Tensor;

#[cfg(feature = "cuda")]
use super::cuda;
use super::geometry::{ConvGeometry, expect_shape};
use super::gradient::column_sums;
use super::method::{Prepared, input_gradient, weight_gradient};
use crate::autograd::{Backward, Tape, Value};
use crate::error::Result;
use crate::ops::float::{Float, by_dtype, tensor, with_slice};
use crate::ops::gemm::{Epilogue, written};
use crate::ops::on_cuda::on_cuda;
use crate::ops::profile::Profile;
use crate::ops::{Activation, Window};

/// The convolution of `x` [N, H, W, C] with `weight` [O, C / groups, kH, kW], plus `bias` [O]. As usual in deep
/// learning, the kernel is not flipped. The result is [N, H', W', O].
///
/// # Errors
///
/// The shapes do not match, or the image is smaller than the window.
pub fn conv2d(
    tape: &mut Tape,
    x: &Value,
    weight: &Value,
    bias: Option<&Value>,
    window: Window,
    groups: usize,
) -> Result<Value> {
    let geometry = ConvGeometry::new(x.tensor().dims(), weight.tensor().dims(), window, groups)?;
    if let Some(bias) = bias {
        expect_shape("bias", bias.tensor(), &[geometry.channels[1]])?;
    }
    let mut inputs = vec![x, weight];
    inputs.extend(bias);
    on_cuda!(x.tensor(), cuda::convolution(tape, geometry, &inputs));
    let output = by_dtype!(x.tensor(), T => {
        forward::<T>(&geometry, x.tensor(), weight.tensor(), bias.map(Value::tensor))
    })?;
    Ok(tape.record(&inputs, output, || Conv2dBackward {
        geometry,
        // Only the weight's gradient needs the input: saved only if that is computed.
        x: (!weight.is_constant()).then(|| x.tensor().clone()),
        weight: weight.tensor().clone(),
        bias: bias.is_some(),
    }))
}

fn forward<T: Float>(
    geometry: &ConvGeometry,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let profile = Profile::current();
    let bias: Option<Vec<T>> = bias.map(|bias| with_slice(bias, <[T]>::to_vec)).transpose()?;
    let epilogue = Epilogue { bias: bias.as_deref(), residual: None, activation: Activation::None };
    let output = with_slice(x, |x: &[T]| {
        with_slice(weight, |weight: &[T]| {
            let weights = Prepared::new(profile, geometry, weight);
            // SAFETY: the forward pass writes every pixel of every image, all channels.
            unsafe {
                written(geometry.output_length(), |output| {
                    weights.forward(profile, geometry, x, epilogue, output);
                })
            }
        })
    })??;
    tensor(output, geometry.output_shape().as_slice())
}

struct Conv2dBackward {
    geometry: ConvGeometry,
    x: Option<Tensor>,
    weight: Tensor,
    bias: bool,
}

impl Backward for Conv2dBackward {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        by_dtype!(grad, T => self.gradients::<T>(&grad, wanted))
    }
}

impl Conv2dBackward {
    fn gradients<T: Float>(&self, grad: &Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (profile, geometry) = (Profile::current(), &self.geometry);
        let mut result = vec![None; wanted.len()];
        if wanted[0] {
            let gradient = with_slice(grad, |grad: &[T]| {
                with_slice(&self.weight, |weight: &[T]| {
                    // SAFETY: it writes every pixel of every image, all channels, in the phases of the stride.
                    unsafe {
                        written(geometry.input_length(), |output| {
                            input_gradient(profile, geometry, grad, weight, output);
                        })
                    }
                })
            })??;
            result[0] = Some(tensor(gradient, geometry.input_shape().as_slice())?);
        }
        if let (true, Some(x)) = (wanted[1], &self.x) {
            let compute = |x: &[T], grad: &[T]| weight_gradient(profile, geometry, x, grad);
            let gradient = with_slice(grad, |grad| with_slice(x, |x| compute(x, grad)))??;
            result[1] = Some(tensor(gradient, geometry.weight_shape().as_slice())?);
        }
        if self.bias && wanted[2] {
            let outputs = geometry.channels[1];
            let gradient = with_slice(grad, |grad: &[T]| column_sums(profile, outputs, grad))?;
            result[2] = Some(tensor(gradient, outputs)?);
        }
        Ok(result)
    }
}
