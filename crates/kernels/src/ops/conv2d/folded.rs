//! Convolution for inference: batch normalization is folded in, the weights are packed once, and the rest is
//! fused.

use candle_core::{DType, Tensor, WithDType};

#[cfg(feature = "cuda")]
use super::cuda;
use super::geometry::{ConvGeometry, expect_shape};
use super::method::Prepared;
use crate::error::Result;
use crate::ops::float::{Float, by_dtype, tensor, unsupported, with_slice};
use crate::ops::gemm::{Epilogue, written};
use crate::ops::on_cuda::on_cuda;
use crate::ops::profile::Profile;
use crate::ops::{Activation, Window};

/// A batch normalization with running statistics; each tensor is [O].
#[derive(Clone, Copy)]
pub struct FoldedNorm<'a> {
    pub weight: &'a Tensor,
    pub bias: &'a Tensor,
    pub mean: &'a Tensor,
    pub variance: &'a Tensor,
    pub eps: f64,
}

/// A convolution with constant weights.
///
/// The result of an image depends neither on its batch nor on threads.
pub struct FoldedConv {
    /// The shape of the weight [O, C / groups, kH, kW].
    shape: Vec<usize>,
    window: Window,
    groups: usize,
    numbers: FoldedWeights,
}

enum FoldedWeights {
    #[cfg(feature = "cuda")]
    Cuda(cuda::Folded),
    F32(Folded<f32>),
    F64(Folded<f64>),
}

impl FoldedWeights {
    fn new(
        weight: &Tensor,
        norm: Option<FoldedNorm<'_>>,
        bias: Option<&Tensor>,
        window: Window,
        groups: usize,
    ) -> Result<Self> {
        on_cuda!(weight, Ok(Self::Cuda(cuda::Folded::new(weight, norm, bias)?)));
        let profile = Profile::current();
        match weight.dtype() {
            DType::F32 => Ok(Self::F32(Folded::new(profile, weight, norm, bias, window, groups)?)),
            DType::F64 => Ok(Self::F64(Folded::new(profile, weight, norm, bias, window, groups)?)),
            other => Err(unsupported(other)),
        }
    }
}

struct Folded<T> {
    profile: Profile,
    weights: Prepared<T>,
    bias: Option<Vec<T>>,
}

impl FoldedConv {
    /// Folds `norm` into the convolution with `weight` [O, C / groups, kH, kW] and `bias` [O]. Computed in f64
    /// and rounded once.
    pub fn new(
        weight: &Tensor,
        norm: Option<FoldedNorm<'_>>,
        bias: Option<&Tensor>,
        window: Window,
        groups: usize,
    ) -> Result<Self> {
        let numbers = FoldedWeights::new(weight, norm, bias, window, groups)?;
        Ok(Self { shape: weight.dims().to_vec(), window, groups, numbers })
    }

    /// `activation(convolution of x + residual)`, for `x` [N, H, W, C] and a residual of the result's shape.
    pub fn forward(&self, x: &Tensor, activation: Activation, residual: Option<&Tensor>) -> Result<Tensor> {
        let geometry = ConvGeometry::new(x.dims(), &self.shape, self.window, self.groups)?;
        if let Some(residual) = residual {
            expect_shape("residual", residual, &geometry.output_shape())?;
        }
        match &self.numbers {
            #[cfg(feature = "cuda")]
            FoldedWeights::Cuda(folded) => folded.forward(&geometry, x, activation, residual),
            FoldedWeights::F32(folded) => folded.forward(&geometry, x, activation, residual),
            FoldedWeights::F64(folded) => folded.forward(&geometry, x, activation, residual),
        }
    }
}

impl<T: Float> Folded<T> {
    fn new(
        profile: Profile,
        weight: &Tensor,
        norm: Option<FoldedNorm<'_>>,
        bias: Option<&Tensor>,
        window: Window,
        groups: usize,
    ) -> Result<Self> {
        let outputs = weight.dims().first().copied().unwrap_or(0);
        let vectors = norm.map(|norm| [norm.weight, norm.bias, norm.mean, norm.variance]);
        for vector in vectors.into_iter().flatten().chain(bias) {
            expect_shape("norm or bias", vector, &[outputs])?;
        }
        let mut numbers: Vec<T> = with_slice(weight, <[T]>::to_vec)?;
        let mut shift: Option<Vec<f64>> = bias.map(widened).transpose()?;
        if let Some(norm) = norm {
            let (scale, offset) = (widened(norm.weight)?, widened(norm.bias)?);
            let (mean, variance) = (widened(norm.mean)?, widened(norm.variance)?);
            let bias = shift.unwrap_or_else(|| vec![0.0; outputs]);
            let scale: Vec<f64> = scale
                .iter()
                .zip(&variance)
                .map(|(scale, variance)| scale / (variance + norm.eps).sqrt())
                .collect();
            for (numbers, scale) in numbers.chunks_exact_mut(weight.elem_count() / outputs.max(1)).zip(&scale)
            {
                numbers.iter_mut().for_each(|number| *number = T::from_f64(number.to_f64() * scale));
            }
            let folded = offset.iter().zip(&scale).zip(bias.iter().zip(&mean));
            shift =
                Some(folded.map(|((offset, scale), (bias, mean))| offset + (bias - mean) * scale).collect());
        }
        // The smallest image is enough: preparation depends on the weights alone.
        let [_, inputs, height, width] = weight.dims4().map(|(o, i, h, w)| [o, i, h, w])?;
        let geometry =
            ConvGeometry::new(&[1, height, width, inputs * groups], weight.dims(), window, groups)?;
        let weights = Prepared::new(profile, &geometry, &numbers);
        let bias = shift.map(|shift| shift.into_iter().map(T::from_f64).collect());
        Ok(Self { profile, weights, bias })
    }

    fn forward(
        &self,
        geometry: &ConvGeometry,
        x: &Tensor,
        activation: Activation,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let compute = |x: &[T], residual: Option<&[T]>| {
            let epilogue = Epilogue { bias: self.bias.as_deref(), residual, activation };
            // SAFETY: the forward pass writes every pixel of every image, all channels.
            unsafe {
                written(geometry.output_length(), |output| {
                    self.weights.forward(self.profile, geometry, x, epilogue, output);
                })
            }
        };
        let output = match residual {
            None => with_slice(x, |x| compute(x, None))?,
            Some(residual) => {
                with_slice(x, |x| with_slice(residual, |residual| compute(x, Some(residual))))??
            }
        };
        tensor(output, geometry.output_shape().as_slice())
    }
}

/// The exact values of a tensor.
fn widened(tensor: &Tensor) -> Result<Vec<f64>> {
    by_dtype!(tensor, T => with_slice(tensor, |numbers: &[T]| numbers.iter().map(|x| x.to_f64()).collect()))
}
