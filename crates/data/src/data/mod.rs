//! Images: found, parted into splits, decoded, resized, augmented, and handed over in batches.
//!
//! What a sample looks like and which part it belongs to is a function of its own path and bytes: never of the other
//! samples (unless it is mixed with one, or the split is balanced), of the number of workers, or of the order in which
//! files were read. The network is shown what a person sees, unless settings say otherwise: photos upright, transparency
//! on white. The room knows no models.

mod affine;
mod augment;
mod balance;
mod broken;
mod canvas;
pub mod code_paths;
mod color;
mod dataset;
mod decode;
mod erase;
mod exif;
mod folders;
mod images;
mod jpeg;
mod layout;
mod loader;
mod memory;
mod mix;
mod near_names;
mod pairs;
mod png;
mod presence;
mod rand_augment;
mod resample;
#[cfg(target_arch = "x86_64")]
mod resample_avx2;
mod resize;
mod rows;
mod scan;
mod split;
mod summary;
mod table;
mod tones;
mod transform;
mod walk;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

pub use crate::pipeline::EvaluationSplit as Split;
pub use broken::{BrokenImage, Look};
pub use dataset::{Dataset, Sample};
pub use decode::{DecodeOptions, Picture, decode, is_decoding};
pub use images::{Images, LARGEST_IMAGE};
pub use jpeg::{Scale, Workspace};
pub use layout::{part_folders, written_folders};
pub use loader::{Batch, Epoch, Loader, shuffled};
pub use memory::Memory;
pub use mix::Mixer;
pub use near_names::{NearNames, NearWhy};
pub use pairs::read_pairs;
pub use resize::{Region, resize};
pub use summary::{ClassSummary, Double, Doubles, PartSummary, Summary};
pub use table::LABELS_BETWEEN;
pub use transform::{Bench, Transform};
pub use walk::{images_below, is_image};
