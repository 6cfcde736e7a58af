//! What meters take from a batch, as columns of numbers: for other ranks, with all bits.

use crate::error::{Error, Result};
use crate::train::Readings;

/// The columns, of which there are as many as were packed.
pub fn columns<const N: usize>(readings: Readings) -> Result<[Vec<f64>; N]> {
    readings.try_into().map_err(|_| Error::bug("readings of another task"))
}

/// Exactly: every `f32`, `u32` and `bool` is an `f64`.
pub fn widened<T: Into<f64>>(numbers: impl IntoIterator<Item = T>) -> Vec<f64> {
    numbers.into_iter().map(Into::into).collect()
}

pub fn floats(column: Vec<f64>) -> Vec<f32> {
    column.into_iter().map(|number| number as f32).collect()
}

pub fn indices(column: Vec<f64>) -> Vec<u32> {
    column.into_iter().map(|number| number as u32).collect()
}

pub fn flags(column: Vec<f64>) -> Vec<bool> {
    column.into_iter().map(|number| number != 0.0).collect()
}

/// A column that is empty if there is none. A batch has at least one row.
pub fn optional(column: Vec<f64>) -> Option<Vec<f64>> {
    (!column.is_empty()).then_some(column)
}
