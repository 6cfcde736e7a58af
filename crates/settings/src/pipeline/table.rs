//! Data sets listed in a table, as written in a pipeline file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::data::{
    Broken, Decode, Grey16, ImageFolder, Parts, ResizeRounding, Split, SplitMethod, Transparency,
    default_exif_orientation, default_image_size,
};
use super::normalize::Normalize;

/// A CSV file with a row for each image: its path, and its class or its labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Csv {
    /// The table, relative to the pipeline file; its first line names the columns. `${VAR}` is replaced from the environment.
    #[schemars(length(min = 1))]
    pub file: String,
    /// The folder that the paths in the table start from; the table's own if left out.
    #[schemars(length(min = 1))]
    pub root: Option<String>,
    /// The column that has each image's path below `root`.
    #[serde(default = "default_path_column")]
    #[schemars(length(min = 1))]
    pub path_column: String,
    /// The column that has each image's class, where it has one class.
    #[schemars(length(min = 1))]
    pub class_column: Option<String>,
    /// The column that has each image's labels, where it has any number of them, or none.
    #[schemars(length(min = 1))]
    pub labels_column: Option<String>,
    /// What stands between two labels of that column.
    #[schemars(length(min = 1), extend("default" = ";"))]
    pub separator: Option<String>,
    /// Instead of that, columns that each stand for one label: 1 where an image has it, 0 where it does not.
    #[schemars(length(min = 1), inner(length(min = 1)), extend("uniqueItems" = true))]
    pub label_columns: Option<Vec<String>>,
    /// The classes (or labels) to use, in this order; rows of other classes, and other labels, are left out. All of the table in the order of their names if left out.
    #[schemars(length(min = 1), inner(length(min = 1)), extend("uniqueItems" = true))]
    pub classes: Option<Vec<String>>,
    /// The side of the square images in pixels.
    #[serde(default = "default_image_size")]
    #[schemars(range(min = 1, max = 4096))]
    pub image_size: usize,
    /// The shorter side in pixels before the centre crop; `image_size` / 0.875 if left out.
    #[schemars(range(min = 1, max = 4096))]
    pub resize: Option<usize>,
    /// Mean and standard deviation of each channel, by a name or as `{ mean = [r, g, b], std = [r, g, b] }`; the architecture's if left out.
    pub normalize: Option<Normalize>,
    /// How the images are parted into training, validation and test.
    #[serde(default)]
    pub split: TableSplit,
    /// What happens when an image cannot be decoded.
    #[serde(default)]
    pub broken: Broken,
    /// At which size JPEG files are decoded before they are resized.
    #[serde(default)]
    pub decode: Decode,
    /// Whether photos are turned upright, as the orientation in their EXIF data says.
    #[serde(default = "default_exif_orientation")]
    pub exif_orientation: bool,
    /// What becomes of transparency in PNG files.
    #[serde(default)]
    pub transparency: Transparency,
    /// How grey PNG files of 16 bits become 8 bits.
    #[serde(default)]
    pub grey16: Grey16,
    /// How the shorter side is rounded where it is computed from `image_size`.
    #[serde(default)]
    pub resize_rounding: ResizeRounding,
}

fn default_path_column() -> String {
    "path".to_owned()
}

impl Csv {
    /// Whether images have any number of labels, rather than one class each.
    pub fn is_multi_label(&self) -> bool {
        self.labels_column.is_some() || self.label_columns.is_some()
    }

    /// Whether the file itself says which classes or labels there are.
    pub fn names_classes(&self) -> bool {
        self.classes.is_some() || self.label_columns.is_some()
    }

    pub fn separator(&self) -> &str {
        self.separator.as_deref().unwrap_or(";")
    }

    /// Its images, as those of a folder are described.
    pub fn images(&self) -> ImageFolder {
        ImageFolder {
            root: self.root.clone().unwrap_or_default(),
            classes: None,
            image_size: self.image_size,
            resize: self.resize,
            normalize: self.normalize,
            split: self.split.shares(),
            broken: self.broken,
            decode: self.decode,
            exif_orientation: self.exif_orientation,
            transparency: self.transparency,
            grey16: self.grey16,
            resize_rounding: self.resize_rounding,
        }
    }
}

/// How the images of a table are parted: by fractions, by a column, or by tables of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("x-renamed" = { "stratify": "require_classes" }))]
pub struct TableSplit {
    /// The share of images (or groups) held out for validation.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub validation: f64,
    /// The share of images (or groups) held out for the final test.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub test: f64,
    /// How shares are met. `hash`: a new photo moves no other, and shares are approximate. `balanced`: shares and class proportions are as near as can be, and a new photo may move others.
    pub method: SplitMethod,
    /// Demands an image of every class (or label) in every part; `false` lets a part lack one. It balances nothing: that is `method = "balanced"`.
    pub require_classes: bool,
    /// Another seed, another split. Independent of the pipeline's seed.
    pub seed: u64,
    /// A regular expression over the path below `root`; images with the same first capture stay together. `^` and `$` also match at each `/`.
    pub group: Option<String>,
    /// A column that says of each image `train`, `validation` (or `val`, `valid`) or `test`.
    #[schemars(length(min = 1))]
    pub column: Option<String>,
    /// Tables of the same columns for other parts; `file` is for training then, and for parts that have a fraction of it.
    pub files: Option<SplitFiles>,
}

impl Default for TableSplit {
    fn default() -> Self {
        let Split { validation, test, method, require_classes, seed, group, folders: _ } = Split::default();
        Self { validation, test, method, require_classes, seed, group, column: None, files: None }
    }
}

impl TableSplit {
    /// What of it is parted by share.
    pub fn shares(&self) -> Split {
        let Self { validation, test, method, require_classes, seed, group, .. } = self.clone();
        Split { validation, test, method, require_classes, seed, group, folders: None }
    }

    /// The parts it makes. A column may have any, which only the table itself can tell.
    pub fn parts(&self) -> Parts {
        match (&self.column, &self.files) {
            (Some(_), _) => Parts { validation: true, test: true },
            (None, Some(files)) => {
                let shares = self.shares().parts();
                Parts {
                    validation: files.validation.is_some() || shares.validation,
                    test: files.test.is_some() || shares.test,
                }
            }
            (None, None) => self.shares().parts(),
        }
    }
}

/// The tables of parts other than training.
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
