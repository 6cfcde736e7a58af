//! Which tensors of a model a pattern means.

use super::description::{Description, TensorId};
use crate::pipeline::{Pattern, PatternAlias};

impl Description {
    /// Whether a pattern means the tensor, leaving `!` aside.
    pub fn matches(&self, pattern: &Pattern, id: TensorId) -> bool {
        let tensor = &self.tensors[id];
        match pattern.alias() {
            None => pattern.matches_name(&tensor.name),
            Some(PatternAlias::Head) => self.in_head(id),
            Some(PatternAlias::Neck) => self.in_neck(id),
            Some(PatternAlias::Backbone) => !self.in_head(id) && !self.in_neck(id),
            Some(PatternAlias::Norm) => tensor.role.is_norm(),
            Some(PatternAlias::Bias) => tensor.role.is_bias(),
            Some(PatternAlias::Adapter) => self.adapted_by(id).is_some(),
        }
    }
}

#[cfg(test)]
mod tests;
