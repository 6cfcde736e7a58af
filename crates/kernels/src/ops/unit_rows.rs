//! Rows of a matrix at unit length, in f64, for losses that compare all rows of a batch with one another.

use candle_core::Tensor;
use rayon::prelude::*;

use super::float::{Float, tensor, with_slice};
use super::normalize_rows::dot;
use super::on_host::gradient_like;
use crate::error::Result;

/// Lengths below it count as this, as in PyTorch's `normalize`.
const SHORTEST: f64 = 1e-12;

/// The directions of rows [N, D].
pub struct UnitRows {
    units: Vec<f64>,
    lengths: Vec<f64>,
    width: usize,
}

impl UnitRows {
    /// Of a tensor on the host with numbers of this type.
    pub fn of<T: Float>(host: &Tensor) -> Result<Self> {
        let (_, width) = host.dims2()?;
        let raw: Vec<f64> = with_slice(host, |numbers: &[T]| numbers.iter().map(|x| x.widen()).collect())?;
        let lengths: Vec<f64> =
            raw.chunks_exact(width).map(|row| at_least(dot(row, row).sqrt(), SHORTEST)).collect();
        let units = raw
            .chunks_exact(width)
            .zip(&lengths)
            .flat_map(|(row, length)| row.iter().map(move |x| x / length));
        Ok(Self { units: units.collect(), lengths, width })
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn row(&self, row: usize) -> &[f64] {
        &self.units[row * self.width..][..self.width]
    }

    pub fn rows(&self) -> std::slice::ChunksExact<'_, f64> {
        self.units.chunks_exact(self.width)
    }

    /// The gradient of the rows themselves, like `original` in type and device. `slope_of` gives that of the direction of a
    /// row.
    pub fn gradient<T: Float>(
        &self,
        original: &Tensor,
        slope_of: impl Fn(usize) -> Vec<f64> + Sync,
    ) -> Result<Tensor> {
        let of_row = |row: usize| -> Vec<T> {
            let (slope, unit) = (slope_of(row), self.row(row));
            // A unit vector moves only across its direction.
            let along = if self.lengths[row] > SHORTEST { dot(&slope, unit) } else { 0.0 };
            let across = slope.iter().zip(unit).map(|(slope, x)| (slope - along * x) / self.lengths[row]);
            across.map(T::from_f64).collect()
        };
        let gradient: Vec<Vec<T>> = (0..self.lengths.len()).into_par_iter().map(of_row).collect();
        gradient_like(&tensor(gradient.concat(), (self.lengths.len(), self.width))?, original)
    }
}

/// NaN stays NaN.
fn at_least(x: f64, least: f64) -> f64 {
    if x < least { least } else { x }
}
