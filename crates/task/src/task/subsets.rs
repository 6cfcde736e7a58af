//! The images of an evaluation, and the subsets of them whose scores are reported apart.

use std::sync::Arc;

use crate::data::{Dataset, ImageValues, Mask, Split};
use crate::error::Result;
use crate::pipeline::{Calibration, Thresholds};

/// What an evaluation measures: one split of a data set.
pub struct EvaluatedImages {
    pub dataset: Arc<Dataset>,
    pub split: Split,
    pub subsets: Vec<Subset>,
    /// What is fitted on the validation split, and measured on this one.
    pub fits: Fits,
    /// The name of the group of each image of the data set; `None` if each is a group of its own.
    pub groups: Option<Vec<String>>,
}

impl EvaluatedImages {
    /// Of one split as a whole.
    pub fn of(dataset: Arc<Dataset>, split: Split) -> Self {
        Self { dataset, split, subsets: Vec::new(), fits: Fits::default(), groups: None }
    }

    /// Whether a sample is one on which something is fitted.
    pub fn is_fitted_on(&self, sample: usize) -> bool {
        self.dataset.samples[sample].split != self.split
    }
}

/// What an evaluation fits on the validation split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fits {
    pub thresholds: Option<Thresholds>,
    pub calibration: Option<Calibration>,
}

impl Fits {
    pub fn is_empty(&self) -> bool {
        self.thresholds.is_none() && self.calibration.is_none()
    }
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
