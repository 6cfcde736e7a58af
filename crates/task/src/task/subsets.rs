//! The images of an evaluation, and the subsets of them whose scores are reported apart.

use std::sync::Arc;

use crate::data::{Dataset, ImageValues, Mask, Split};
use crate::error::Result;

/// What an evaluation measures: one split of a data set.
pub struct EvaluatedImages {
    pub dataset: Arc<Dataset>,
    pub split: Split,
    pub subsets: Vec<Subset>,
}

/// A division of images or objects, by its name in the pipeline file.
pub struct Subset {
    pub name: String,
    pub division: Division,
}

/// What divides images or objects.
pub enum Division {
    /// The value of each image, by its path.
    Images(ImageValues),
    /// Whether annotations mark an object as difficult.
    Difficult,
    /// The area of an object, in COCO's ranges.
    Size,
    /// Whether at least `minimum` of an object's box is inside the mask of its image.
    Masks { minimum: f64, read: ReadMask },
}

/// Reads the mask of an image, by the image's path below the data set's root.
pub type ReadMask = Arc<dyn Fn(&str) -> Result<Mask> + Send + Sync>;
