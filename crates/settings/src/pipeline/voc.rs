//! Images with boxes in Pascal VOC's XML files, as written in a pipeline file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EvaluationSplit;
use super::boxed_images::{Difficult, with_box_images};
use super::data::{AvailableSplits, DataSettings, Split, SplitFolders, SplitMethod};
use super::images::ImageSettings;
use super::label_kind::LabelKind;

with_box_images! {
    /// Images with an XML file of boxes each, in Pascal VOC's format. The XML files are next to the images, or the images are
    /// in `JPEGImages` and the XML files in `Annotations`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub struct Voc {
        /// The folder, relative to the pipeline file. `${VAR}` is replaced by the environment variable.
        #[schemars(length(min = 1))]
        pub root: String,
        /// The classes to use, in this order. Boxes of other classes are left out. By default all of the XML files, sorted by
        /// name.
        #[schemars(length(min = 1), inner(length(min = 1)), extend("uniqueItems" = true))]
        pub classes: Option<Vec<String>>,
        /// The number of the first pixel in a row or column: 1 in Pascal VOC itself, 0 in the files of most other tools. With
        /// 1, `xmin` and `ymin` are lowered by 1. Without the setting it is 1, and a warning says so.
        #[schemars(range(min = 0, max = 1))]
        pub first_pixel: Option<u8>,
        /// What is done with objects that are marked as `difficult`.
        #[serde(default)]
        pub difficult: Difficult,
    }
    split {
        /// How the images are split into training, validation and test.
        #[serde(default)]
        pub split: VocSplit,
    }
}

impl DataSettings for Voc {
    fn classes(&self) -> Option<&Vec<String>> {
        self.classes.as_ref()
    }

    fn label_kind(&self) -> LabelKind {
        LabelKind::Boxes
    }

    fn images(&self) -> ImageSettings {
        self.letterboxed(self.split.shares())
    }
}

/// How the images of a folder in Pascal VOC's format are split: by its own lists, by given folders, or by fractions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("x-renamed" = { "stratify": "require_classes" }))]
pub struct VocSplit {
    /// The split of all images, instead of fractions: `test` for a data set that is for evaluation alone. Evaluations of it
    /// use this split by default, and stages that name no data set use another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<EvaluationSplit>,
    /// Fraction of the images (or groups) held out for validation.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub validation: f64,
    /// Fraction of the images (or groups) held out for the final test.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub test: f64,
    /// How fractions are met. `hash`: percentages are approximate; adding a photo never moves another photo to a
    /// different split. `balanced`: sizes and class proportions are as close as possible; adding a photo may move
    /// others.
    pub method: SplitMethod,
    /// Error if a split lacks a class. `false` allows it. This does not balance class proportions; `method =
    /// "balanced"` does.
    pub require_classes: bool,
    /// Seed of the split, independent of the pipeline's seed. Another seed gives another split.
    pub seed: u64,
    /// A regular expression over the path below `root`. Images with the same first capture group stay in the same
    /// split. `^` and `$` also match at each `/`.
    pub group: Option<String>,
    /// The number of parts into which the images that are not held out for the final test are divided, for
    /// cross-validation. `fold` says which part is the validation split.
    #[schemars(range(min = 2, max = 100))]
    pub folds: Option<u32>,
    /// The part that is held out for validation, from 1 to `folds`. The others are training images.
    #[schemars(range(min = 1, max = 100))]
    pub fold: Option<u32>,
    /// Whether to use the lists in `ImageSets/Main`, if there are any: `train.txt` (or `trainval.txt`), `val.txt` and
    /// `test.txt`.
    pub image_sets: bool,
    /// Folders that hold the splits, relative to `root` or as absolute paths. A split with a folder takes no fraction; a
    /// split without one may take a fraction of the training folder. Paths of images in a folder outside of `root` begin
    /// with the name of the split.
    pub folders: Option<SplitFolders>,
}

impl Default for VocSplit {
    fn default() -> Self {
        let Split { all, validation, test, method, require_classes, seed, group, folds, fold, folders } =
            Split::default();
        Self {
            all,
            validation,
            test,
            method,
            require_classes,
            seed,
            group,
            folds,
            fold,
            image_sets: true,
            folders,
        }
    }
}

impl VocSplit {
    /// The settings that split by fraction and by folders.
    pub fn shares(&self) -> Split {
        let Self {
            all,
            validation,
            test,
            method,
            require_classes,
            seed,
            group,
            folds,
            fold,
            image_sets: _,
            folders,
        } = self.clone();
        Split { all, validation, test, method, require_classes, seed, group, folds, fold, folders }
    }

    /// The splits it makes. Lists may name any split, which only the data show.
    pub fn parts(&self) -> AvailableSplits {
        match self.image_sets && self.folders.is_none() && self.all.is_none() {
            true => AvailableSplits::BY_THE_DATA,
            false => self.shares().parts(),
        }
    }
}
