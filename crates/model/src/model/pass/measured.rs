//! Statistics of convolutions whose normalisation is merged into them, for putting it back.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::{Pass, get_or_make};
use crate::autograd::Value;
use crate::error::{Error, Result};
use crate::model::StateDict;
use crate::model::layers::{BatchNorm, Conv2d};
use crate::ops::{self, Activation, FoldedConv, Window};

/// The convolutions to measure, and their statistics so far.
pub(super) struct Measurement {
    /// For each normalisation of the description, whether the convolution before it is measured.
    wanted: Vec<bool>,
    found: BTreeMap<usize, Measured>,
}

/// The statistics of a convolution's output without bias.
#[derive(Clone, Debug)]
pub(in crate::model) struct Measured {
    /// Of the normalisation behind it.
    pub eps: f64,
    pub moments: ChannelMoments,
}

/// Mean and sum of squared deviations of each channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::model) struct ChannelMoments {
    pub count: f64,
    pub mean: Vec<f64>,
    pub squares: Vec<f64>,
}

impl<'a> Pass<'a> {
    /// Inference that measures the convolutions before some normalisations. Of these, the state has the bias of the
    /// convolution as `bias`; their other tensors are not read.
    pub(in crate::model) fn measuring(state: &'a StateDict, wanted: Vec<bool>) -> Self {
        let measurement = Measurement { wanted, found: BTreeMap::new() };
        Self { measurement: Some(measurement), ..Self::inference(state) }
    }

    /// The statistics by the index of the normalisation.
    pub(in crate::model) fn into_measured(self) -> BTreeMap<usize, Measured> {
        self.measurement.map(|measurement| measurement.found).unwrap_or_default()
    }

    pub(super) fn measures(&self, norm: &BatchNorm) -> bool {
        let wanted = self.measurement.as_ref().and_then(|measurement| measurement.wanted.get(norm.index));
        wanted.is_some_and(|&wanted| wanted)
    }

    /// activation(conv(x) + bias + residual).
    pub(super) fn measured(
        &mut self,
        conv: &Conv2d,
        norm: &BatchNorm,
        window: Window,
        activation: Activation,
        x: &Value,
        residual: Option<&Value>,
    ) -> Result<Value> {
        let weight = &self.state.tensors[conv.weight];
        let key = (conv.weight, window.padding);
        let plain = || FoldedConv::new(weight, None, None, window, conv.groups);
        let plain = get_or_make(&mut self.folded, key, plain)?;
        let y = plain.forward(x.tensor(), Activation::None, None)?;
        if let Some(measurement) = &mut self.measurement {
            let found = measurement
                .found
                .entry(norm.index)
                .or_insert_with(|| Measured { eps: norm.eps, moments: ChannelMoments::default() });
            found.moments.add(&y)?;
        }
        let bias = &self.state.tensors[norm.spec.bias];
        let (one, zero) = (bias.ones_like()?, bias.zeros_like()?);
        let (y, scale, shift) =
            (Value::constant(y), Value::constant(one.clone()), Value::constant(bias.clone()));
        // Without statistics it adds the bias.
        ops::batch_norm_frozen(&mut self.tape, &y, &scale, &shift, &zero, &one, 0.0, activation, residual)
    }
}

impl ChannelMoments {
    /// Adds the values of a map [.., C].
    fn add(&mut self, map: &Tensor) -> Result<()> {
        let map = map.to_device(&Device::Cpu)?;
        let channels = map.dims().last().copied().unwrap_or(0);
        let flat = map.flatten_all()?;
        match map.dtype() {
            DType::F32 => self.add_rows(&flat.to_vec1::<f32>()?, channels),
            DType::F64 => self.add_rows(&flat.to_vec1::<f64>()?, channels),
            other => return Err(Error::bug(format!("statistics of {other:?} maps"))),
        }
        Ok(())
    }

    /// In pieces of a fixed number of rows, which are joined in order: the result does not depend on threads.
    fn add_rows<T: Copy + Sync + Into<f64>>(&mut self, numbers: &[T], channels: usize) {
        const ROWS: usize = 2048;
        let pieces: Vec<Self> = numbers
            .par_chunks((ROWS * channels).max(1))
            .map(|piece| Self::of_rows(piece, channels))
            .collect();
        pieces.iter().for_each(|piece| self.join(piece));
    }

    fn of_rows<T: Copy + Into<f64>>(numbers: &[T], channels: usize) -> Self {
        let rows = numbers.chunks_exact(channels.max(1));
        let count = rows.len() as f64;
        let mut mean = vec![0.0; channels];
        let each = |row: &[T], sums: &mut [f64], value: &dyn Fn(f64, usize) -> f64| {
            for (channel, (sum, &number)) in sums.iter_mut().zip(row).enumerate() {
                *sum += value(number.into(), channel);
            }
        };
        rows.clone().for_each(|row| each(row, &mut mean, &|number, _| number));
        mean.iter_mut().for_each(|sum| *sum /= count);
        let mut squares = vec![0.0; channels];
        let deviation = |number: f64, channel: usize| (number - mean[channel]) * (number - mean[channel]);
        rows.for_each(|row| each(row, &mut squares, &deviation));
        Self { count, mean, squares }
    }

    /// Joins two sets of values (Chan, Golub and LeVeque, *Updating Formulae and a Pairwise Algorithm for Computing
    /// Sample Variances*, 1979).
    fn join(&mut self, other: &Self) {
        if self.count == 0.0 {
            self.clone_from(other);
            return;
        }
        let count = self.count + other.count;
        for (channel, mean) in self.mean.iter_mut().enumerate() {
            let distance = other.mean[channel] - *mean;
            let share = other.count / count;
            self.squares[channel] += other.squares[channel] + distance * distance * self.count * share;
            *mean += distance * share;
        }
        self.count = count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_pieces_are_those_of_the_whole() {
        const CHANNELS: usize = 3;
        let numbers: Vec<f64> =
            (0..5000 * CHANNELS).map(|n| 1000.0 + f64::from((n * 7919 % 1009) as u32)).collect();
        let mut joined = ChannelMoments::default();
        for piece in [&numbers[..CHANNELS], &numbers[CHANNELS..4500 * CHANNELS], &numbers[4500 * CHANNELS..]]
        {
            joined.add_rows(piece, CHANNELS);
        }
        assert_eq!(joined.count, 5000.0);
        for channel in 0..CHANNELS {
            let own: Vec<f64> = numbers.iter().skip(channel).step_by(CHANNELS).copied().collect();
            let mean = own.iter().sum::<f64>() / 5000.0;
            let squares: f64 = own.iter().map(|number| (number - mean).powi(2)).sum();
            assert!((joined.mean[channel] - mean).abs() < 1e-9, "{} for {mean}", joined.mean[channel]);
            assert!((joined.squares[channel] / squares - 1.0).abs() < 1e-12);
        }
    }
}
