//! Which tensors of a model a pattern means.

use super::description::{Description, TensorId};
use crate::pipeline::{Alias, Pattern};

impl Description {
    /// Whether a pattern means the tensor, leaving `!` aside.
    pub fn matches(&self, pattern: &Pattern, id: TensorId) -> bool {
        let tensor = &self.tensors[id];
        match pattern.alias() {
            None => pattern.matches_name(&tensor.name),
            Some(Alias::Head) => self.in_head(id),
            Some(Alias::Backbone) => !self.in_head(id),
            Some(Alias::Norm) => tensor.role.is_norm(),
            Some(Alias::Bias) => tensor.role.is_bias(),
        }
    }
}

#[cfg(test)]
mod tests;
