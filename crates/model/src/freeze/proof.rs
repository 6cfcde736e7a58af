//! The proof that frozen tensors did not change: bit for bit, after exact widening.

use std::fmt;

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use crate::error::Result;
use crate::weights::WeightsFile;

/// A frozen tensor that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedTensor {
    pub name: String,
    pub change: TensorChange,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TensorChange {
    /// One of the files lacks it.
    Missing {
        before: bool,
        after: bool,
    },
    Shape {
        before: Vec<usize>,
        after: Vec<usize>,
    },
    /// The first element, in row-major order, whose bits differ.
    Value {
        index: usize,
        before: String,
        after: String,
    },
}

/// Compares the tensors `frozen` of two weight files, and returns each that changed, in the given order.
///
/// # Errors
/// A tensor of an unsupported type.
pub fn changed_tensors(
    before: &WeightsFile,
    after: &WeightsFile,
    frozen: &[String],
) -> Result<Vec<ChangedTensor>> {
    let compare = |name: &String| -> Result<Option<ChangedTensor>> {
        let held = |source: &WeightsFile| source.entries().contains_key(name);
        let change = if held(before) && held(after) {
            difference(&before.tensor(name)?, &after.tensor(name)?)?
        } else {
            Some(TensorChange::Missing { before: held(before), after: held(after) })
        };
        Ok(change.map(|change| ChangedTensor { name: name.clone(), change }))
    };
    let found: Vec<Option<ChangedTensor>> = frozen.par_iter().map(compare).collect::<Result<_>>()?;
    Ok(found.into_iter().flatten().collect())
}

fn difference(before: &Tensor, after: &Tensor) -> Result<Option<TensorChange>> {
    if before.dims() != after.dims() {
        let (before, after) = (before.dims().to_vec(), after.dims().to_vec());
        return Ok(Some(TensorChange::Shape { before, after }));
    }
    let (before, after) = (before.flatten_all()?, after.flatten_all()?);
    let value = |index, before: String, after: String| TensorChange::Value { index, before, after };
    Ok(match (before.dtype(), after.dtype()) {
        (DType::F32, DType::F32) => {
            let (before, after) = (before.to_vec1::<f32>()?, after.to_vec1::<f32>()?);
            let differs = |(before, after): (&f32, &f32)| before.to_bits() != after.to_bits();
            before.iter().zip(&after).position(differs).map(|index| {
                // Comparing bits distinguishes NaNs and signed zeros.
                let show = |x: f32| format!("{x:?} ({:#010x})", x.to_bits());
                value(index, show(before[index]), show(after[index]))
            })
        }
        (DType::I64, DType::I64) => {
            let (before, after) = (before.to_vec1::<i64>()?, after.to_vec1::<i64>()?);
            let index = before.iter().zip(&after).position(|(before, after)| before != after);
            index.map(|index| value(index, before[index].to_string(), after[index].to_string()))
        }
        (before, after) => Some(value(0, format!("{before:?}"), format!("{after:?}"))),
    })
}

impl fmt::Display for ChangedTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.change {
            TensorChange::Missing { before: false, .. } => write!(f, "`{name}` is missing from the source"),
            TensorChange::Missing { .. } => write!(f, "`{name}` is missing from the result"),
            TensorChange::Shape { before, after } => {
                write!(f, "`{name}` changed shape from {before:?} to {after:?}")
            }
            TensorChange::Value { index, before, after } => {
                write!(f, "`{name}` changed: element {index} was {before} and is {after}")
            }
        }
    }
}
