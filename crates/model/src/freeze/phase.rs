//! A stretch of a stage in which the same parameters train.

use crate::model::{Description, NormMode, TensorId};

/// Who trains from some epoch on, and what batch normalisation does then. Phases only ever add.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// How many epochs are over when it begins.
    pub after_epochs: u32,
    /// By [`TensorId`]; false for every buffer.
    pub trainable: Vec<bool>,
    /// By place in [`Description::norms`].
    pub norms: Vec<NormMode>,
}

impl Phase {
    /// How many layers from the first on hold nothing that trains or updates: they run as plain inference.
    pub fn frozen_prefix(&self, description: &Description) -> usize {
        let layer = |id: TensorId| description.tensors[id].layer;
        let trained = (0..self.trainable.len()).filter(|&id| self.trainable[id]).map(layer);
        let updating =
            description.norms.iter().zip(&self.norms).filter(|(_, mode)| **mode == NormMode::Training);
        let updated = updating.map(|(norm, _)| layer(norm.weight));
        trained.chain(updated).min().unwrap_or(description.layers.len())
    }

    /// How many norms use the batch's statistics, and how many their running ones.
    pub fn norm_counts(&self) -> (usize, usize) {
        let training = self.norms.iter().filter(|mode| **mode == NormMode::Training).count();
        (training, self.norms.len() - training)
    }
}
