//! The backward pass: two passes over the gradient, fused with the activation's gradient. Without a residual,
//! `alone` does it. With one, the first pass writes the gradient before the activation, because the residual
//! needs it too.

use std::mem::MaybeUninit;
use std::ops::Range;

use candle_core::Tensor;
use rayon::prelude::*;

use super::forward::Norm;
use crate::autograd::Backward;
use crate::error::Result;
use crate::ops::Activation;
use crate::ops::activation_fn::dispatch_activation;
use crate::ops::buffer::{build, build_with, rows_per_task};
use crate::ops::channel_sums::{Sums, padded};
use crate::ops::channels::{self, Affine};
use crate::ops::float::{Float, by_dtype, from_f64, tensor, with_optional_slice, with_slice};

pub struct BatchNorm {
    pub norm: Norm,
    /// Saved if sums over it are needed (for weight and bias, and for x through the batch statistics), or if the
    /// activation's argument is recomputed.
    pub x: Option<Tensor>,
    /// Saved if a clamp cuts gradients and its argument cannot be recomputed. The next convolution saves it too,
    /// so it costs nothing.
    pub output: Option<Tensor>,
    /// Saved if the activation's argument is recomputed.
    pub residual: Option<Tensor>,
    /// A residual was added before the activation.
    pub through_residual: bool,
}

impl Backward for BatchNorm {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        by_dtype!(grad, T => self.gradients::<T>(grad, wanted, false))
    }

    fn backward_in_place(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        by_dtype!(grad, T => self.gradients::<T>(grad, wanted, true))
    }
}

impl BatchNorm {
    fn gradients<T: Float>(
        &self,
        grad: Tensor,
        wanted: &[bool],
        in_place: bool,
    ) -> Result<Vec<Option<Tensor>>> {
        let wants_residual = wanted.get(3).copied().unwrap_or(false);
        if let (Some(x), false, false) = (&self.x, self.through_residual, wants_residual) {
            let (x, weight, bias) =
                with_slice(x, |x| self.backward_without_residual::<T>(grad, x, wanted[0], in_place))??;
            let mut gradients =
                vec![x, per_channel::<T>(wanted[1], weight)?, per_channel::<T>(wanted[2], bias)?];
            gradients.resize(wanted.len(), None);
            return Ok(gradients);
        }
        let parts = with_slice(&grad, |grad: &[T]| {
            with_optional_slice(self.x.as_ref(), |x| {
                with_optional_slice(self.output.as_ref(), |output| {
                    with_optional_slice(self.residual.as_ref(), |residual| {
                        self.backward_rows(
                            grad,
                            SavedTensors { x, output, residual },
                            wanted[0],
                            wants_residual,
                        )
                    })
                })
            })
        })????;
        let shape = grad.shape().clone();
        let mut gradients = vec![
            parts.x.map(|x| tensor(x, shape.clone())).transpose()?,
            per_channel::<T>(wanted[1], parts.weight)?,
            per_channel::<T>(wanted[2], parts.bias)?,
        ];
        if wanted.len() == 4 {
            // Without an activation, the residual's gradient is the output's.
            let cut = parts.cut.map(|cut| tensor(cut, shape)).transpose()?;
            gradients.push(wants_residual.then(|| cut.unwrap_or(grad)));
        }
        Ok(gradients)
    }

    fn backward_rows<T: Float>(
        &self,
        grad: &[T],
        kept: SavedTensors<T>,
        wants_x: bool,
        wants_residual: bool,
    ) -> RowGradients<T> {
        let channels = self.norm.weight.len();
        let chunk = rows_per_task(channels) * channels;
        let rows = |task: usize, length: usize| task * chunk..task * chunk + length;

        // First pass: the gradient before the activation, if there is one, and its sums.
        let x = kept.x;
        let mean = &padded(&self.norm.mean);
        let sum = |grad: &[T], x: &[T]| self.norm.gradient_sums(grad, x, mean, None);
        let (mut cut, sums) = if self.norm.activation == Activation::None {
            let tasks = grad.par_chunks(chunk).enumerate();
            let sums = tasks.map(|(task, grad)| Some(sum(grad, &x?[rows(task, grad.len())]))).collect();
            (None, sums)
        } else {
            let affine = self.norm.affine();
            let write = |task: usize, out: &mut [MaybeUninit<T>]| {
                let rows = rows(task, out.len());
                self.before_activation(&grad[rows.clone()], kept.rows(rows.clone()), &affine, out);
                // SAFETY: the line above wrote every number.
                let cut = unsafe { out.assume_init_ref() };
                x.map(|x| sum(cut, &x[rows]))
            };
            // SAFETY: `before_activation` writes every element.
            let (cut, sums) = unsafe { build_with(grad.len(), chunk, write) };
            (Some(cut), sums)
        };
        let (weight, bias) = self.parameter_gradients(sums.into_iter().flatten(), channels);

        // Second pass, in place if the first result is not needed elsewhere.
        let x_gradient = wants_x.then(|| {
            let towards_x = self.input_gradient(&weight, &bias, grad.len() / channels);
            match cut.take_if(|_| !wants_residual) {
                Some(mut cut) => {
                    let tasks = cut.par_chunks_mut(chunk).enumerate();
                    tasks.for_each(|(task, cut)| towards_x.apply(x, rows(task, cut.len()), cut));
                    cut
                }
                None => {
                    let from = cut.as_deref().unwrap_or(grad);
                    let write = |task: usize, out: &mut [MaybeUninit<T>]| {
                        let rows = rows(task, out.len());
                        towards_x.apply(x, rows.clone(), out.write_copy_of_slice(&from[rows]));
                    };
                    // SAFETY: `write_copy_of_slice` writes every element.
                    unsafe { build(grad.len(), chunk, write) }
                }
            }
        });
        RowGradients { x: x_gradient, weight, bias, cut }
    }

    /// Writes the gradient before the activation for some rows. A clamp's output tells what it cut; the argument
    /// of other activations is recomputed from x.
    fn before_activation<T: Float>(
        &self,
        grad: &[T],
        kept: SavedTensors<T>,
        affine: &Affine<T>,
        out: &mut [MaybeUninit<T>],
    ) {
        dispatch_activation!(self.norm.activation, T, activation_fn => match kept {
            SavedTensors { output: Some(output), .. } => channels::activation_gradient(grad, output, activation_fn, out),
            SavedTensors { x: Some(x), residual, .. } => {
                channels::normalized_gradient(grad, x, residual, affine, activation_fn, out);
            }
            SavedTensors { .. } => unreachable!("what the activation asks for is kept"),
        });
    }

    /// Adds the sums of all tasks: the gradients of weight and bias.
    pub(super) fn parameter_gradients(
        &self,
        sums: impl IntoIterator<Item = Sums>,
        channels: usize,
    ) -> (Vec<f64>, Vec<f64>) {
        let Sums { first: bias, second: mut weight } = Sums::total(sums, channels);
        for (weight, inverse_deviation) in weight.iter_mut().zip(&self.norm.inverse_deviation) {
            *weight *= inverse_deviation;
        }
        (weight, bias)
    }

    /// Ioffe and Szegedy, §3: with the gradient g of norm(x) · weight and m rows, weight / deviation · (g − Σg /
    /// m − norm(x) · Σ(g · norm(x)) / m); without the sums if the statistics are constants.
    pub(super) fn input_gradient<T: Float>(
        &self,
        weight_gradient: &[f64],
        bias_gradient: &[f64],
        rows: usize,
    ) -> InputGradient<T> {
        let (centre, lost) = self.norm.centre::<T>();
        let scale = self.norm.scale();
        if !self.norm.of_batch {
            return InputGradient::Frozen { scale: from_f64(&scale) };
        }
        let share = |channel: usize| -scale[channel] / rows as f64;
        let channels = 0..scale.len();
        let slope: Vec<f64> = channels
            .clone()
            .map(|channel| share(channel) * weight_gradient[channel] * self.norm.inverse_deviation[channel])
            .collect();
        let offset: Vec<f64> = channels
            .map(|channel| share(channel) * bias_gradient[channel] + slope[channel] * lost[channel])
            .collect();
        InputGradient::Training {
            affine: Affine { centre, scale: from_f64(&scale), offset: from_f64(&offset) },
            slope: from_f64(&slope),
        }
    }
}

/// The elements of the saved tensors.
#[derive(Clone, Copy)]
struct SavedTensors<'a, T> {
    x: Option<&'a [T]>,
    output: Option<&'a [T]>,
    residual: Option<&'a [T]>,
}

impl<T> SavedTensors<'_, T> {
    fn rows(self, rows: Range<usize>) -> Self {
        let part = |numbers: Option<_>| numbers.map(|numbers: &[T]| &numbers[rows.clone()]);
        Self { x: part(self.x), output: part(self.output), residual: part(self.residual) }
    }
}

/// The results of a pass over rows. `cut` is the gradient before the activation, if there is one.
struct RowGradients<T> {
    x: Option<Vec<T>>,
    weight: Vec<f64>,
    bias: Vec<f64>,
    cut: Option<Vec<T>>,
}

/// Computes the gradient of x from the gradient before the activation.
pub(super) enum InputGradient<T> {
    Frozen { scale: Vec<T> },
    Training { affine: Affine<T>, slope: Vec<T> },
}

impl<T: Float> InputGradient<T> {
    fn apply(&self, x: Option<&[T]>, rows: Range<usize>, grad: &mut [T]) {
        match (self, x) {
            (Self::Training { affine, slope }, Some(x)) => {
                channels::training_gradient(grad, &x[rows], affine, slope);
            }
            (Self::Frozen { scale }, _) => channels::frozen_gradient(grad, scale),
            (Self::Training { .. }, None) => unreachable!("x is kept where the statistics are the batch's"),
        }
    }
}

fn per_channel<T: Float>(wanted: bool, numbers: Vec<f64>) -> Result<Option<Tensor>> {
    if !wanted {
        return Ok(None);
    }
    let channels = numbers.len();
    tensor::<T>(from_f64(&numbers), channels).map(Some)
}
