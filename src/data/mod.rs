//! Images: found, parted into splits, decoded, resized, augmented, and handed over in batches.
//!
//! What a sample looks like and which part it belongs to is a function of its own path and bytes: never of the other
//! samples, of the number of workers, or of the order in which files were read. The network is shown what a person
//! sees: photos upright, transparency on white. The room knows no models.

mod decode;
mod resize;

#[cfg(test)]
mod fixtures;

pub use decode::decode;
pub use resize::{Region, resize};
