//! Images: found, parted into splits, decoded, resized, augmented, and handed over in batches.
//!
//! What a sample looks like and which part it belongs to is a function of its own path and bytes: never of the other
//! samples, of the number of workers, or of the order in which files were read. The network is shown what a person
//! sees: photos upright, transparency on white. The room knows no models.

mod dataset;
mod decode;
mod resize;
mod split;

#[cfg(test)]
mod fixtures;

pub use crate::pipeline::EvaluationSplit as Split;
pub use dataset::{Dataset, Sample};
pub use decode::decode;
pub use resize::{Region, resize};
