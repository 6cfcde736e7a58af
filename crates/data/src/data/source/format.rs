//! The table of data formats.

use std::path::PathBuf;

use crate::Result;
use crate::data::Dataset;
use crate::pipeline::Data;

/// A data format, implemented by its settings.
pub trait DataFormat {
    /// The setting with the location of the data, such as `root`. Errors point at it.
    fn key(&self) -> &'static str;

    /// Reads names and annotations. `resolve` turns a path of the pipeline file into a file system path.
    ///
    /// # Errors
    /// A usage error with every mistake in the data, each with its file and line if it has one.
    fn read(&self, resolve: &dyn Fn(&str) -> Result<PathBuf>) -> Result<Dataset>;
}

/// The format of a data set: one line for each.
pub fn data_format(data: &Data) -> &dyn DataFormat {
    match data {
        Data::ImageFolder(settings) => settings,
        Data::Csv(settings) => settings,
        Data::Yolo(settings) => settings,
        Data::Coco(settings) => settings,
        Data::Voc(settings) => settings,
    }
}
