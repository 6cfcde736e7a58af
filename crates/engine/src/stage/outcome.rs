//! What stages ask of a task beside what the loop does: words for its predictions, and the files that show how it went.

use candle_core::Tensor;
use serde_json::Value;

use super::Context;
use crate::data::LABELS_BETWEEN;
use crate::error::Result;
use crate::train::Task;

pub trait Outcome: Task {
    /// The probabilities [N, K] that scores [N, K] come to.
    fn probabilities(&self, scores: &Tensor) -> Result<Tensor>;

    /// What the probabilities [K] of an image say that it shows, by places among the classes.
    fn told(&self, probabilities: &[f32]) -> Vec<u32>;

    /// What `metrics.json` says of an evaluation.
    fn document(&self, meter: &Self::Meter) -> Result<Value>;

    /// Writes the tables and pictures beside it.
    fn write(&self, context: &Context, meter: &Self::Meter) -> Result<()>;
}

/// The names at some places, as a field of a table.
pub fn names(classes: &[String], places: &[u32]) -> String {
    let names: Vec<&str> = places.iter().map(|place| classes[*place as usize].as_str()).collect();
    names.join(LABELS_BETWEEN)
}
