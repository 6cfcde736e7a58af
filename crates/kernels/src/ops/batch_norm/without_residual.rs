//! The backward pass without a residual: the activation applies to the normalized x alone.
//!
//! It is memory-bound. Both passes therefore compute the gradient before the activation from the output's
//! gradient and x, instead of writing it in the first pass and reading it in the second. The result overwrites
//! the output's gradient if there is no other reference.

use std::mem::MaybeUninit;

use candle_core::Tensor;
use rayon::prelude::*;

use super::backward::{BatchNorm, InputGradient};
use crate::error::Result;
use crate::ops::buffer::{build, rows_per_task};
use crate::ops::channel_sums::{Sums, padded};
use crate::ops::channels::ArgumentGradient;
use crate::ops::float::{Float, tensor, with_slice, with_slice_mut};
use crate::ops::profile::Profile;
use crate::ops::vector::vectorised;

impl BatchNorm {
    /// The gradients of x, weight and bias.
    pub(super) fn backward_without_residual<T: Float>(
        &self,
        grad: Tensor,
        x: &[T],
        wants_x: bool,
        in_place: bool,
    ) -> Result<(Option<Tensor>, Vec<f64>, Vec<f64>)> {
        let (profile, affine) = (Profile::current(), self.norm.affine::<T>());
        let channels = self.norm.weight.len();
        let chunk = rows_per_task(channels) * channels;
        let mean = &padded(&self.norm.mean);
        let sums = with_slice(&grad, |grad: &[T]| {
            let tasks = grad.par_chunks(chunk).zip(x.par_chunks(chunk));
            let sum = |(grad, x)| self.norm.gradient_sums(grad, x, mean, Some(&affine));
            tasks.map(sum).collect::<Vec<Sums>>()
        })?;
        let (weight, bias) = self.parameter_gradients(sums, channels);
        if !wants_x {
            return Ok((None, weight, bias));
        }
        let towards_x = self.input_gradient::<T>(&weight, &bias, x.len() / channels);
        let turn = |grad: &mut [T], x: &[T]| {
            let (affine, activation) = (&affine, self.norm.activation);
            let statistics = match &towards_x {
                InputGradient::Training { affine: back, slope } => Some((&slope[..], &back.offset[..])),
                InputGradient::Frozen { .. } => None,
            };
            vectorised(profile, ArgumentGradient { grad, x, affine, activation, statistics });
        };
        let gradient = if in_place {
            with_slice_mut(&grad, |grad: &mut [T]| {
                grad.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(grad, x)| turn(grad, x));
            })?;
            grad
        } else {
            let turned = with_slice(&grad, |grad: &[T]| {
                let write = |task: usize, out: &mut [MaybeUninit<T>]| {
                    let rows = task * chunk..task * chunk + out.len();
                    turn(out.write_copy_of_slice(&grad[rows.clone()]), &x[rows]);
                };
                // SAFETY: `write_copy_of_slice` writes every element.
                unsafe { build(grad.len(), chunk, write) }
            })?;
            tensor(turned, grad.shape().clone())?
        };
        Ok((Some(gradient), weight, bias))
    }
}
