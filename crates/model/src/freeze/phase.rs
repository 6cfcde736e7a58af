//! A phase of a stage: epochs in which the same parameters train.

use crate::model::{Description, NormMode, TensorId};

/// The trainable parameters and batch normalization modes from some epoch on. Later phases only add parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct FreezePhase {
    /// The number of finished epochs when it begins.
    pub after_epochs: u32,
    /// By [`TensorId`]; false for every buffer.
    pub trainable: Vec<bool>,
    /// By index in [`Description::norms`].
    pub norms: Vec<NormMode>,
}

impl FreezePhase {
    /// The number of leading layers in which nothing trains or updates: they run as inference.
    pub fn frozen_prefix(&self, description: &Description) -> usize {
        let layer = |id: TensorId| description.tensors[id].layer;
        let trained = (0..self.trainable.len()).filter(|&id| self.trainable[id]).map(layer);
        let updating =
            description.norms.iter().zip(&self.norms).filter(|(_, mode)| **mode == NormMode::Training);
        let updated = updating.map(|(norm, _)| layer(norm.weight));
        trained.chain(updated).min().unwrap_or(description.layers.len())
    }

    /// The number of norms that use batch statistics, and of those that use running statistics.
    pub fn norm_counts(&self) -> (usize, usize) {
        let training = self.norms.iter().filter(|mode| **mode == NormMode::Training).count();
        (training, self.norms.len() - training)
    }
}
