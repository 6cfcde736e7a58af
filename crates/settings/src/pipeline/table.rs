//! Data sets listed in a table, as written in a pipeline file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EvaluationSplit;
use super::data::{
    AvailableSplits, Broken, DataSettings, Decode, Grey16, ResizeRounding, Split, SplitMethod, Transparency,
    default_exif_orientation, default_image_size,
};
use super::images::{Fit, ImageSettings};
use super::label_kind::LabelKind;
use super::normalize::Normalize;
use super::pixels::{Color, default_channels};

/// A CSV file with one row per image: its path, and its class or labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Csv {
    /// The CSV file, relative to the pipeline file. Its first line names the columns. `${VAR}` is replaced by the
    /// environment variable.
    #[schemars(length(min = 1))]
    pub file: String,
    /// The folder that paths in the CSV file are relative to. Defaults to the folder of the CSV file.
    #[schemars(length(min = 1))]
    pub root: Option<String>,
    /// The column with the path of each image, below `root`.
    #[serde(default = "default_path_column")]
    #[schemars(length(min = 1))]
    pub path_column: String,
    /// The column with the class of each image, for data with one class per image.
    #[schemars(length(min = 1))]
    pub class_column: Option<String>,
    /// The column with the labels of each image, for multi-label data. A field may hold several labels, or none.
    #[schemars(length(min = 1))]
    pub labels_column: Option<String>,
    /// The character between two labels in that column.
    #[schemars(length(min = 1), extend("default" = ";"))]
    pub separator: Option<String>,
    /// Instead of `labels_column`: one column per label, with 1 if the image has the label and 0 if not.
    #[schemars(length(min = 1), inner(length(min = 1)), extend("uniqueItems" = true))]
    pub label_columns: Option<Vec<String>>,
    /// The classes (or labels) to use, in this order. Rows of other classes, and other labels, are left out. By default
    /// all of the table, sorted by name.
    #[schemars(length(min = 1), inner(length(min = 1)), extend("uniqueItems" = true))]
    pub classes: Option<Vec<String>>,
    /// Side length of the square images, in pixels.
    #[serde(default = "default_image_size")]
    #[schemars(range(min = 1, max = 4096))]
    pub image_size: usize,
    /// Length of the shorter side before the centre crop, in pixels. Defaults to `image_size` / 0.875.
    #[schemars(range(min = 1, max = 4096))]
    pub resize: Option<usize>,
    /// Mean and standard deviation of each channel: a name, or `{ mean = [r, g, b], std = [r, g, b] }`. Defaults to the
    /// statistics that the architecture was pretrained with.
    pub normalize: Option<Normalize>,
    /// How the images are split into training, validation and test.
    #[serde(default)]
    pub split: TableSplit,
    /// What to do if an image cannot be decoded.
    #[serde(default)]
    pub broken: Broken,
    /// The size at which JPEG files are decoded, before they are resized.
    #[serde(default)]
    pub decode: Decode,
    /// Whether to rotate photos upright, by the orientation in their EXIF data.
    #[serde(default = "default_exif_orientation")]
    pub exif_orientation: bool,
    /// What to do with transparency.
    #[serde(default)]
    pub transparency: Transparency,
    /// How to convert 16-bit greyscale PNG files to 8 bits.
    #[serde(default)]
    pub grey16: Grey16,
    /// The stored values of black and white, such as `[0, 4095]`: pixels keep their depth and are mapped linearly to [0, 1].
    /// Needed for TIFF files of 16 bits or floats. Without it, images are read as 8-bit RGB.
    #[schemars(extend("items" = { "type": "number" }))]
    pub range: Option<[f64; 2]>,
    /// Number of channels of each image. With another number than 3, pixels are read as they are stored.
    #[serde(default = "default_channels")]
    #[schemars(range(min = 1, max = 64))]
    pub channels: usize,
    /// The colour space of the values that the network sees: a name, or `{ kind = "log_chromaticity", from = "linear" }`.
    #[serde(default)]
    pub color: Color,
    /// How to round the length of the shorter side if it is computed from `image_size`.
    #[serde(default)]
    pub resize_rounding: ResizeRounding,
}

fn default_path_column() -> String {
    "path".to_owned()
}

impl Csv {
    /// Whether images are multi-label: they have any number of labels, not one class each.
    pub fn is_multi_label(&self) -> bool {
        self.labels_column.is_some() || self.label_columns.is_some()
    }

    /// Whether the file itself lists the classes or labels.
    pub fn names_classes(&self) -> bool {
        self.classes.is_some() || self.label_columns.is_some()
    }

    pub fn separator(&self) -> &str {
        self.separator.as_deref().unwrap_or(";")
    }
}

impl DataSettings for Csv {
    fn classes(&self) -> Option<&Vec<String>> {
        self.label_columns.as_ref().or(self.classes.as_ref())
    }

    fn label_kind(&self) -> LabelKind {
        if self.is_multi_label() { LabelKind::Labels } else { LabelKind::Class }
    }

    fn images(&self) -> ImageSettings {
        ImageSettings {
            image_size: self.image_size,
            fit: Fit::CentreCrop,
            resize: self.resize,
            normalize: self.normalize.clone(),
            split: self.split.shares(),
            broken: self.broken,
            decode: self.decode,
            exif_orientation: self.exif_orientation,
            transparency: self.transparency,
            grey16: self.grey16,
            range: self.range,
            channels: self.channels,
            color: self.color,
            resize_rounding: self.resize_rounding,
        }
    }
}

/// How the images of a table are split: by fractions, by a column, or by separate tables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("x-renamed" = { "stratify": "require_classes" }))]
pub struct TableSplit {
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
    /// Error if a split lacks a class (or label). `false` allows it. This does not balance class proportions; `method =
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
    /// A column with the split of each image: `train`, `validation` (or `val`, `valid`) or `test`.
    #[schemars(length(min = 1))]
    pub column: Option<String>,
    /// Tables of other splits, with the same columns. `file` then lists the training images, and those of splits that
    /// take a fraction of it.
    pub files: Option<SplitFiles>,
}

impl Default for TableSplit {
    fn default() -> Self {
        let Split { all, validation, test, method, require_classes, seed, group, folds, fold, folders: _ } =
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
            column: None,
            files: None,
        }
    }
}

impl TableSplit {
    /// The settings that split by fraction.
    pub fn shares(&self) -> Split {
        let Self { all, validation, test, method, require_classes, seed, group, folds, fold, .. } =
            self.clone();
        Split { all, validation, test, method, require_classes, seed, group, folds, fold, folders: None }
    }

    /// The splits it makes. A column may name any split, which only the table itself shows.
    pub fn parts(&self) -> AvailableSplits {
        match (&self.column, &self.files) {
            (Some(_), _) => AvailableSplits::BY_THE_DATA,
            (None, Some(files)) => {
                let shares = self.shares().parts();
                AvailableSplits {
                    train: shares.train,
                    validation: files.validation.is_some() || shares.validation,
                    test: files.test.is_some() || shares.test,
                }
            }
            (None, None) => self.shares().parts(),
        }
    }
}

/// The tables of splits other than training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitFiles {
    /// The table of the validation images.
    #[schemars(length(min = 1))]
    pub validation: Option<String>,
    /// The table of the test images.
    #[schemars(length(min = 1))]
    pub test: Option<String>,
}
