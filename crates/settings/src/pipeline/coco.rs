//! Images with boxes in COCO's JSON files, as written in a pipeline file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EvaluationSplit;
use super::boxed_images::with_box_images;
use super::data::{AvailableSplits, DataSettings, Split, SplitFolders, SplitMethod};
use super::images::ImageSettings;
use super::label_kind::LabelKind;
use super::table::SplitFiles;

with_box_images! {
    /// Images with boxes that a JSON file in COCO's format lists. Crowds are ignored in training and evaluation.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub struct Coco {
        /// The JSON file of the training images, relative to the pipeline file. `${VAR}` is replaced by the environment
        /// variable.
        #[schemars(length(min = 1))]
        pub file: String,
        /// The folder that file names in the JSON file are relative to. Defaults to the folder of the JSON file.
        #[schemars(length(min = 1))]
        pub root: Option<String>,
        /// The classes to use, in this order. Boxes of other classes are left out. By default all categories, in the order
        /// of their ids.
        #[schemars(length(min = 1), inner(length(min = 1)), extend("uniqueItems" = true))]
        pub classes: Option<Vec<String>>,
    }
    split {
        /// How the images are split into training, validation and test.
        #[serde(default)]
        pub split: CocoSplit,
    }
}

impl DataSettings for Coco {
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

/// How the images of JSON files are split: by fractions, or by separate files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("x-renamed" = { "stratify": "require_classes" }))]
pub struct CocoSplit {
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
    /// JSON files of other splits, with the same categories. `file` then lists the training images, and those of splits
    /// that take a fraction of it.
    pub files: Option<SplitFiles>,
    /// Folders with the images of each JSON file, such as `train2017`, relative to `root` or as absolute paths. By default
    /// `root` itself. Paths of images in a folder outside of `root` begin with the name of the split.
    pub folders: Option<SplitFolders>,
}

impl Default for CocoSplit {
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
            files: None,
            folders,
        }
    }
}

impl CocoSplit {
    /// The settings that split by fraction.
    pub fn shares(&self) -> Split {
        let Self { all, validation, test, method, require_classes, seed, group, folds, fold, .. } =
            self.clone();
        Split { all, validation, test, method, require_classes, seed, group, folds, fold, folders: None }
    }

    /// The splits it makes.
    pub fn parts(&self) -> AvailableSplits {
        let shares = self.shares().parts();
        let has = |file: fn(&SplitFiles) -> &Option<String>| {
            self.files.as_ref().is_some_and(|files| file(files).is_some())
        };
        AvailableSplits {
            train: shares.train,
            validation: has(|files| &files.validation) || shares.validation,
            test: has(|files| &files.test) || shares.test,
        }
    }
}
