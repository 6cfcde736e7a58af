//! The forward pass: one pass over the data for statistics, a second for everything else.

use std::mem::MaybeUninit;

use candle_core::Tensor;
use rayon::prelude::*;

use super::backward::BatchNorm;
#[cfg(feature = "cuda")]
use super::cuda;
use crate::autograd::{Tape, Value};
use crate::error::{Error, Result};
use crate::ops::Activation;
use crate::ops::buffer::{build, rows_per_task};
use crate::ops::channel_sums::{GradientSums, Moments, Sums, padded};
use crate::ops::channels::{Affine, Normalize};
use crate::ops::float::{Float, by_dtype, from_f64, tensor, to_f64, with_optional_slice, with_slice};
use crate::ops::on_cuda::on_cuda;
use crate::ops::profile::Profile;
use crate::ops::vector::vectorised;

/// The statistics of one batch, [C] each, for updating running statistics.
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    pub mean: Tensor,
    /// Unbiased, as in PyTorch's `running_var`. The batch itself is normalized with the biased variance.
    pub variance: Tensor,
}

/// Normalizes x [.., C] with the mean and variance of each channel.
///
/// Fails if a channel has fewer than two values, because its variance is undefined.
pub fn batch_norm_training(
    tape: &mut Tape,
    x: &Value,
    weight: &Value,
    bias: &Value,
    eps: f64,
    activation: Activation,
    residual: Option<&Value>,
) -> Result<(Value, BatchStatistics)> {
    let channels = check_shapes(x, &[weight.tensor(), bias.tensor()], residual)?;
    let rows = x.tensor().elem_count() / channels;
    if rows < 2 {
        return Err(Error::failed("batch normalisation in training needs more than one value per channel")
            .hint(
                "a batch had one image, perhaps the last of an epoch: use another `batch_size`, larger images, or \
                 `batch_norm = \"eval\"`",
            ));
    }
    on_cuda!(x.tensor(), cuda::training(tape, [x, weight, bias], eps, activation, residual));
    let (mean, square) = by_dtype!(x.tensor(), T => moments::<T>(x.tensor(), channels))?;
    let count = rows as f64;
    let statistics = by_dtype!(x.tensor(), T => Ok(BatchStatistics {
        mean: tensor::<T>(from_f64(&mean), channels)?,
        variance: tensor::<T>(from_f64(&square.iter().map(|square| square / (count - 1.0)).collect::<Vec<_>>()), channels)?,
    }))?;
    let inverse_deviation = square.iter().map(|square| 1.0 / (square / count + eps).sqrt()).collect();
    let (weights, biases) = (to_f64(weight.tensor())?, to_f64(bias.tensor())?);
    let norm = Norm { mean, inverse_deviation, weight: weights, bias: biases, activation, of_batch: true };
    Ok((norm.apply(tape, x, weight, bias, residual)?, statistics))
}

/// Normalizes x [.., C] with constant statistics.
#[allow(clippy::too_many_arguments)]
pub fn batch_norm_frozen(
    tape: &mut Tape,
    x: &Value,
    weight: &Value,
    bias: &Value,
    running_mean: &Tensor,
    running_var: &Tensor,
    eps: f64,
    activation: Activation,
    residual: Option<&Value>,
) -> Result<Value> {
    check_shapes(x, &[weight.tensor(), bias.tensor(), running_mean, running_var], residual)?;
    on_cuda!(
        x.tensor(),
        cuda::frozen(tape, [x, weight, bias], [running_mean, running_var], eps, activation, residual)
    );
    let norm = Norm {
        mean: to_f64(running_mean)?,
        inverse_deviation: to_f64(running_var)?.iter().map(|var| 1.0 / (var + eps).sqrt()).collect(),
        weight: to_f64(weight.tensor())?,
        bias: to_f64(bias.tensor())?,
        activation,
        of_batch: false,
    };
    norm.apply(tape, x, weight, bias, residual)
}

/// Updates a running statistic with a batch's statistic, as PyTorch does.
pub fn update_running_statistic(running: &Tensor, batch: &Tensor, momentum: f64) -> Result<Tensor> {
    on_cuda!(running, cuda::update_running_statistic(running, batch, momentum));
    let kept = running.affine(1.0 - momentum, 0.0)?;
    Ok((kept + batch.affine(momentum, 0.0)?)?)
}

/// Checks the shapes and returns the number of channels.
fn check_shapes(x: &Value, per_channel: &[&Tensor], residual: Option<&Value>) -> Result<usize> {
    let shape = x.tensor().dims();
    let channels = shape.last().copied().unwrap_or(0);
    let fits = channels > 0
        && per_channel.iter().all(|tensor| tensor.dims() == [channels])
        && residual.is_none_or(|residual| residual.tensor().dims() == shape);
    if !fits {
        let residual = residual.map(|residual| residual.tensor().dims());
        let per_channel: Vec<_> = per_channel.iter().map(|tensor| tensor.dims()).collect();
        return Err(Error::bug(format!(
            "batch normalisation of {shape:?} with {per_channel:?} and residual {residual:?}"
        )));
    }
    Ok(channels)
}

/// Mean and Σ (x − mean)² of each channel.
fn moments<T: Float>(x: &Tensor, channels: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    with_slice(x, |x: &[T]| {
        let rows = (x.len() / channels) as f64;
        let profile = Profile::current();
        let shift: Vec<f64> = x[..channels].iter().map(|x| x.widen()).collect();
        let shifts = &padded(&shift);
        let tasks = x.par_chunks(rows_per_task(channels) * channels);
        let tasks: Vec<_> =
            tasks.map(|x| vectorised(profile, Moments { x, channels, shift: shifts })).collect();
        let Sums { first, second } = Sums::total(tasks, channels);
        let mean = first.iter().zip(&shift).map(|(sum, shift)| shift + sum / rows).collect();
        // Rounding may make a constant channel slightly negative; a NaN must stay NaN.
        let square = first.iter().zip(&second).map(|(sum, square)| square - sum * sum / rows);
        let square = square.map(|square| if square < 0.0 { 0.0 } else { square }).collect();
        (mean, square)
    })
}

/// A normalization with known statistics, per channel in f64: there are few channels.
pub struct Norm {
    pub mean: Vec<f64>,
    pub inverse_deviation: Vec<f64>,
    pub weight: Vec<f64>,
    pub bias: Vec<f64>,
    pub activation: Activation,
    /// The statistics are the batch's own, so gradients flow through them.
    pub of_batch: bool,
}

impl Norm {
    fn apply(
        self,
        tape: &mut Tape,
        x: &Value,
        weight: &Value,
        bias: &Value,
        residual: Option<&Value>,
    ) -> Result<Value> {
        let residual_tensor = residual.map(Value::tensor);
        let output = by_dtype!(x.tensor(), T => self.forward::<T>(x.tensor(), residual_tensor))?;
        let through_residual = residual.is_some() && self.activation != Activation::None;
        let keep_x = !self.activation.is_clamp()
            || !weight.is_constant()
            || !bias.is_constant()
            || (self.of_batch && !x.is_constant());
        let mut inputs = vec![x, weight, bias];
        inputs.extend(residual);
        Ok(tape.record(&inputs, output.clone(), || BatchNorm {
            x: keep_x.then(|| x.tensor().clone()),
            output: (self.activation.is_clamp() && (through_residual || !keep_x)).then_some(output),
            through_residual,
            residual: residual_tensor.filter(|_| !self.activation.is_clamp()).cloned(),
            norm: self,
        }))
    }

    /// The mean rounded to the working type. The offsets compensate for the rounding, so a channel with a mean
    /// that is large relative to its deviation loses no digits.
    pub fn centre<T: Float>(&self) -> (Vec<T>, Vec<f64>) {
        let centre: Vec<T> = from_f64(&self.mean);
        let lost = centre.iter().zip(&self.mean).map(|(centre, mean)| centre.widen() - mean).collect();
        (centre, lost)
    }

    pub fn scale(&self) -> Vec<f64> {
        self.weight.iter().zip(&self.inverse_deviation).map(|(weight, inverse)| weight * inverse).collect()
    }

    /// The sums over some rows that gradients need, see [`GradientSums`]. `mean` is this normalization's,
    /// padded.
    pub fn gradient_sums<T: Float>(
        &self,
        grad: &[T],
        x: &[T],
        mean: &[f64],
        affine: Option<&Affine<T>>,
    ) -> Sums {
        let (channels, activation) = (self.mean.len(), self.activation);
        vectorised(Profile::current(), GradientSums { grad, x, channels, mean, activation, affine })
    }

    /// The normalization as an affine function, without the activation.
    pub fn affine<T: Float>(&self) -> Affine<T> {
        let (centre, lost) = self.centre::<T>();
        let scale = self.scale();
        let offset: Vec<f64> = (0..scale.len()).map(|c| self.bias[c] + scale[c] * lost[c]).collect();
        Affine { centre, scale: from_f64(&scale), offset: from_f64(&offset) }
    }

    fn forward<T: Float>(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let (profile, affine) = (Profile::current(), self.affine::<T>());
        let chunk = rows_per_task(affine.scale.len()) * affine.scale.len();
        let output = with_slice(x, |x: &[T]| {
            with_optional_slice(residual, |residual: Option<&[T]>| {
                let write = |task: usize, out: &mut [MaybeUninit<T>]| {
                    let rows = task * chunk..task * chunk + out.len();
                    let (x, residual) = (&x[rows.clone()], residual.map(|residual| &residual[rows]));
                    let (affine, activation) = (&affine, self.activation);
                    vectorised(profile, Normalize { x, residual, affine, activation, out });
                };
                // SAFETY: `Normalize` writes every row, and chunks are whole rows.
                unsafe { build(x.len(), chunk, write) }
            })
        })??;
        tensor(output, x.shape().clone())
    }
}
