//! The mode of each batch normalization layer in a stage. A half-frozen layer without an explicit policy is an
//! error.

use super::trainable::TrainableSet;
use crate::model::{Description, NormMode, NormSpec, RuleError};
use crate::pipeline::BatchNormPolicy;

/// The mode of each norm of the description.
pub(super) fn modes(
    description: &Description,
    trainable: &TrainableSet,
    policy: BatchNormPolicy,
) -> Result<Vec<NormMode>, RuleError> {
    let mode = |norm: &NormSpec| match policy {
        BatchNormPolicy::Eval => NormMode::Frozen,
        BatchNormPolicy::Train => NormMode::Training,
        BatchNormPolicy::Follow if trainable.flags[norm.weight] => NormMode::Training,
        BatchNormPolicy::Follow => NormMode::Frozen,
    };
    if policy == BatchNormPolicy::Follow {
        let is_split = |norm: &&NormSpec| trainable.flags[norm.weight] != trainable.flags[norm.bias];
        let split: Vec<&NormSpec> = description.norms.iter().filter(is_split).collect();
        if let Some(first) = split.first() {
            return Err(half_frozen(first, split.len(), trainable));
        }
    }
    Ok(description.norms.iter().map(mode).collect())
}

fn half_frozen(norm: &NormSpec, count: usize, trainable: &TrainableSet) -> RuleError {
    let name = &norm.name;
    let (frozen, training) = if trainable.flags[norm.weight] {
        ((norm.bias, "bias"), (norm.weight, "weight"))
    } else {
        ((norm.weight, "weight"), (norm.bias, "bias"))
    };
    let also = match count - 1 {
        0 => String::new(),
        1 => ", and so is one more layer".to_owned(),
        more => format!(", and so are {more} more layers"),
    };
    let rules = [trainable.rule_path(frozen.0), trainable.rule_path(training.0)];
    // The explicit rule is the one to change.
    let place = if rules[0] == trainable.setting { rules[1] } else { rules[0] };
    let message = format!(
        "`{name}` is partly frozen: `{name}.{}` is frozen and `{name}.{}` trains{also}",
        frozen.1, training.1
    );
    RuleError::new(place, "batch-norm-split", message)
        .help("freeze both or neither, or choose how it behaves with `batch_norm = \"eval\"` or `\"train\"`")
}
