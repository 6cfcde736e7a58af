//! Data formats: one file per format, each of which reads a [`Dataset`](super::Dataset).
//!
//! A format reads names, tables and annotations. It never decodes an image.

mod csv;
mod format;
mod image_folder;
mod walk;

pub use csv::LABELS_BETWEEN;
pub use format::{DataFormat, data_format};
pub use image_folder::{list, part_folders, quoted, written_folders};
pub use walk::{images_below, is_image};
