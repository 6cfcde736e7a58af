//! Contrastive learning: two views of each image are compared with those of the other images of a batch. It needs no
//! annotations, and predicts nothing: later stages keep the backbone.

mod meter;
mod report;
mod task;
#[cfg(test)]
mod tests;

pub use report::{METRICS, REPORTING};
pub use task::Contrastive;
