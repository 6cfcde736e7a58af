//! Checks that gradients, weights and losses are finite.

use candle_core::Tensor;

use crate::device::to_host;
use crate::error::{Error, Result};
use crate::freeze::ParameterTable;
use crate::model::{Model, StateDict, TensorId};

/// When gradients are checked to be finite: here, or in each step, where a loss scale depends on it.
#[derive(Clone, Copy, PartialEq)]
pub enum FiniteCheck {
    Now,
    Later,
}

/// On its first step every trainable parameter must receive a finite gradient; otherwise it would silently not
/// train.
pub fn require_gradients(
    model: &Model,
    gradients: &[(TensorId, Option<Tensor>)],
    finite: FiniteCheck,
) -> Result<()> {
    for (id, gradient) in gradients {
        let name = &model.description.tensors[*id].name;
        let Some(gradient) = gradient else {
            return Err(Error::failed(format!(
                "trainable parameter `{name}` receives no gradient: the loss does not depend on it"
            ))
            .hint("freeze it, or train something that uses it"));
        };
        if finite == FiniteCheck::Later {
            continue;
        }
        let sum = to_host(gradient)?.abs()?.sum_all()?.to_scalar::<f64>()?;
        if !sum.is_finite() {
            return Err(Error::failed(format!("the first gradient of `{name}` is not finite")).hint(
                "lower the learning rate, check the normalisation of the data, or look for broken images",
            ));
        }
    }
    Ok(())
}

/// The next step's loss reveals damaged weights; after the last step this check does.
pub fn require_finite(table: &ParameterTable, state: &StateDict) -> Result<()> {
    for row in table.rows.iter().filter(|row| row.trainable) {
        let sum = to_host(&state.tensors[row.id])?.abs()?.sum_all()?;
        if !sum.to_scalar::<f64>()?.is_finite() {
            return Err(Error::failed(format!("`{}` is not finite after the last step", row.name))
                .hint("lower the learning rate or add a warmup"));
        }
    }
    Ok(())
}

/// No samples do not mean a loss of 0.
pub fn unreadable(split: &str) -> Error {
    Error::failed(format!("none of the {split} images can be decoded"))
        .hint("open some of them in an image viewer: the files may be damaged, or of another type than their extension")
}
