//! Images with boxes in YOLO's text files, as written in a pipeline file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::boxed_images::with_box_images;
use super::data::{AvailableSplits, DataSettings, Split};
use super::images::ImageSettings;
use super::label_kind::LabelKind;

with_box_images! {
    /// Images with a text file of boxes each, in YOLO's layout: `images/a.jpg` has its boxes in `labels/a.txt`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub struct Yolo {
        /// The data set's YAML file (`data.yaml`), which names the classes and the folders or lists of images. `${VAR}` is
        /// replaced by the environment variable.
        #[schemars(length(min = 1))]
        pub file: Option<String>,
        /// The folder of the data set. With `file`, the folder that its paths are relative to, instead of its `path`.
        /// Without `file`, the folder that contains `images` and `labels`.
        #[schemars(length(min = 1))]
        pub root: Option<String>,
        /// With `file`: the classes to use, in this order; boxes of other classes are left out. Without `file`: the names of
        /// all classes, in the order of their numbers in the labels.
        #[schemars(length(min = 1), inner(length(min = 1)), extend("uniqueItems" = true))]
        pub classes: Option<Vec<String>>,
    }
    split {
        /// How the images are split into training, validation and test. By default as `file` says. `folders` may also name
        /// lists of images (`.txt`).
        #[serde(default)]
        pub split: Split,
    }
    after {
        /// Whether to clip boxes with coordinates outside of [0, 1]. Without it, coordinates that are wrong by more than 0.01
        /// are an error.
        #[serde(default)]
        pub clip: bool,
    }
}

impl Yolo {
    /// The splits that exist besides training, as far as the settings say.
    pub(super) fn parts(has_file: bool, split: &Split) -> AvailableSplits {
        match has_file && split.folders.is_none() && split.all.is_none() {
            true => AvailableSplits::BY_THE_DATA,
            false => split.parts(),
        }
    }
}

impl DataSettings for Yolo {
    fn classes(&self) -> Option<&Vec<String>> {
        self.classes.as_ref()
    }

    fn label_kind(&self) -> LabelKind {
        LabelKind::Boxes
    }

    fn images(&self) -> ImageSettings {
        self.letterboxed(self.split.clone())
    }
}
