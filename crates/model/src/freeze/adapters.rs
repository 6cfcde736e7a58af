//! Adapters train in the stage that adds them, and the weights that they change do not.

use super::trainable::TrainableSet;
use crate::model::{Description, RuleError, TensorId};
use crate::pipeline::{Pattern, PatternAlias, Train};

/// The rule of adapters that no pattern selects.
const RULE: &str = "adapter";

/// Makes the adapters trainable that the stage adds; `freeze` has no effect on them.
pub(super) fn train_added(
    description: &Description,
    stage: &Train,
    trainable: &mut TrainableSet,
) -> Result<(), Vec<RuleError>> {
    if stage.adapter.is_none() {
        return Ok(());
    }
    let aimed = |text: &String| {
        let pattern = Pattern::parse(text).ok()?;
        (pattern.alias() == Some(PatternAlias::Adapter) && !pattern.is_negated()).then_some(())
    };
    if let Some(index) = stage.freeze.iter().flatten().position(|text| aimed(text).is_some()) {
        let message = "this would freeze the adapters that the stage adds, which change nothing yet";
        let error = RuleError::new(format!("freeze[{index}]"), "conflict", message);
        return Err(vec![error.help("remove the pattern, or `adapter`")]);
    }
    for id in description.adapter_tensors() {
        if !trainable.flags[id] {
            trainable.unfreeze(id, RULE.to_owned());
        }
    }
    Ok(())
}

/// An adapted weight that trains at any time, in the stage that adds its adapter, is an error.
pub(super) fn require_frozen_weights(
    description: &Description,
    stage: &Train,
    phases: &[TrainableSet],
) -> Option<RuleError> {
    let last = phases.last().filter(|_| stage.adapter.is_some())?;
    let training: Vec<TensorId> =
        description.adapters.layers.keys().copied().filter(|&weight| last.flags[weight]).collect();
    let first = *training.first()?;
    let (name, place) = (&description.tensors[first].name, last.rule_path(first));
    let message = match training.len() - 1 {
        0 => format!("`{name}` has an adapter and would train too"),
        others => format!("`{name}` and {others} more have adapters and would train too"),
    };
    let error = RuleError::new(place, "adapter-trains", message);
    Some(
        error
            .help("exclude them with a `!` pattern, here or in `adapter.match`: adapted weights stay frozen"),
    )
}
