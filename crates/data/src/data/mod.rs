//! Images: listing, splitting, decoding, resizing, augmentation and batching.
//!
//! The pixels and the split of a sample depend only on its own path and bytes. They never depend on the number of
//! workers or on the order in which files are read. They depend on other samples only where images are mixed or the
//! split is balanced. By default the network sees what a person sees: photos are upright and transparency is on
//! white. This module has no code for models.

mod augment;
mod balanced_split;
mod class_presence;
pub mod code_paths;
mod composition;
mod dataset;
mod geometry;
mod image;
mod label;
mod loader;
mod mask;
mod near_names;
mod outside;
mod pairs;
mod source;
mod split;
mod subset_values;
mod summary;
mod symmetry;
mod tile;
mod transform;
mod undecodable;

#[cfg(test)]
mod fixtures;

pub use crate::pipeline::EvaluationSplit as Split;
pub use augment::{BatchMixer, BatchResizer};
pub use composition::SampleComposer;
pub use dataset::{Dataset, Derived, Sample};
pub use geometry::{AffineMap, BoxFilter, Geometry, GeometryChain};
pub use image::{
    DecodeOptions, EncodedImage, Image, ImageReader, JpegWorkspace, PixelData, PixelFormat, Raster, Region,
    Scale, decode, is_decoding, resize,
};
pub use image::{
    IMAGE_FORMATS, ImageFormat, NO_IMAGE_FORMAT, OtherFormat, image_format_extensions, image_format_names,
};
pub use label::{BoxArea, Label, LabelKind, LabelledBox};
pub use loader::{
    CacheBudget, Composed, ComposedPart, Composer, Composition, EpochOrder, EpochSampler, ImageBatch, Images,
    LARGEST_IMAGE, Loader, occurrences, shuffled,
};
pub use mask::Mask;
pub use near_names::{NearNameReason, NearNames};
pub use outside::OutsideFolders;
pub use pairs::read_pairs;
pub use source::{
    DataFormat, LABELS_BETWEEN, data_format, images_below, is_image, part_folders, written_folders,
};
pub use split::image_groups;
pub use subset_values::{ImageValues, mask_files, read_image_values, values_in_paths};
pub use summary::{BoxSummary, ClassSummary, DatasetSummary, Duplicate, Duplicates, SplitSummary};
pub use symmetry::Symmetry;
pub use tile::tiles;
pub use transform::{FitMode, PreparedImage, Scratch, Transform};
pub use undecodable::{BrokenImage, DecodeCheck};
