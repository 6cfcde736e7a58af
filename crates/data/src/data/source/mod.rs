//! Data formats: one file per format, each of which reads a [`Dataset`](super::Dataset).
//!
//! A format reads names, tables and annotations. It never decodes an image; formats with boxes read sizes in headers.

mod boxed;
mod coco;
mod csv;
mod files_of_splits;
mod format;
mod image_folder;
mod split_place;
mod voc;
mod walk;
mod yolo;

pub use csv::LABELS_BETWEEN;
pub use format::{DataFormat, data_format};
pub use image_folder::{list, part_folders, part_named, quoted, written_folders};
pub use walk::{images_below, is_image};
