//! Data sets, as written in a pipeline file.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Csv, Normalize};

/// A data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "format", rename_all = "snake_case")]
#[schemars(extend("x-reserved" = ["coco", "yolo"]))]
pub enum Data {
    ImageFolder(ImageFolder),
    Csv(Csv),
}

impl Data {
    /// The classes it names, if it does.
    pub fn classes(&self) -> Option<&Vec<String>> {
        match self {
            Self::ImageFolder(folder) => folder.classes.as_ref(),
            Self::Csv(table) => table.label_columns.as_ref().or(table.classes.as_ref()),
        }
    }

    /// Whether images have any number of labels, rather than one class each.
    pub fn is_multi_label(&self) -> bool {
        matches!(self, Self::Csv(table) if table.is_multi_label())
    }

    /// How its images are parted and become tensors, as a folder has it.
    pub fn images(&self) -> Cow<'_, ImageFolder> {
        match self {
            Self::ImageFolder(folder) => Cow::Borrowed(folder),
            Self::Csv(table) => Cow::Owned(table.images()),
        }
    }
}

/// Which parts a data set has beside training, as far as its settings say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    pub validation: bool,
    pub test: bool,
}

/// A folder of images with one folder per class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageFolder {
    /// The folder, relative to the pipeline file. `${VAR}` is replaced from the environment.
    #[schemars(length(min = 1))]
    pub root: String,
    /// The classes to use, in this order; all folders in the order of their names if left out.
    #[schemars(length(min = 2), inner(length(min = 1)), extend("uniqueItems" = true))]
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
    pub split: Split,
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

pub(super) fn default_image_size() -> usize {
    224
}

pub(super) fn default_exif_orientation() -> bool {
    true
}

/// How the images of a data set are parted: by fractions, or by given folders.
///
/// By `hash`, an image's part depends on its own path (or group) and the seed alone, so that adding a photo moves no
/// other; shares are therefore approximate. Fractions part the training folder where folders are given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("x-renamed" = { "stratify": "require_classes" }))]
pub struct Split {
    /// The share of images (or groups) held out for validation.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub validation: f64,
    /// The share of images (or groups) held out for the final test.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub test: f64,
    /// How shares are met. `hash`: a new photo moves no other, and shares are approximate. `balanced`: shares and class proportions are as near as can be, and a new photo may move others.
    pub method: SplitMethod,
    /// Demands an image of every class in every part; `false` lets a part lack a class. It balances nothing: that is `method = "balanced"`.
    pub require_classes: bool,
    /// Another seed, another split. Independent of the pipeline's seed.
    pub seed: u64,
    /// A regular expression over the path below `root`; images with the same first capture stay together. `^` and `$` also match at each `/`.
    pub group: Option<String>,
    /// Folders below `root` that hold the parts; a part with a folder has no fraction, one without may have a fraction of the training folder.
    pub folders: Option<SplitFolders>,
}

impl Default for Split {
    fn default() -> Self {
        Self {
            validation: 0.0,
            test: 0.0,
            method: SplitMethod::default(),
            require_classes: true,
            seed: 0,
            group: None,
            folders: None,
        }
    }
}

impl Split {
    /// The parts it makes.
    pub fn parts(&self) -> Parts {
        match &self.folders {
            Some(folders) => Parts {
                validation: folders.validation.is_some() || self.validation > 0.0,
                test: folders.test.is_some() || self.test > 0.0,
            },
            None => Parts { validation: self.validation > 0.0, test: self.test > 0.0 },
        }
    }
}

/// How the shares of a split are met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitMethod {
    /// Each image (or group) by itself, by a threshold on its hash.
    #[default]
    Hash,
    /// All together, class by class, whole groups at a time.
    Balanced,
}

/// The folders that hold the parts of a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitFolders {
    /// The folder of the training images.
    #[schemars(length(min = 1))]
    pub train: String,
    /// The folder of the validation images.
    #[schemars(length(min = 1))]
    pub validation: Option<String>,
    /// The folder of the test images.
    #[schemars(length(min = 1))]
    pub test: Option<String>,
}

/// What happens when an image cannot be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Broken {
    /// The stage fails and names the file.
    #[default]
    Error,
    /// The image is left out and counted in the metrics; one that cannot be opened at all is left out ahead of the run, and told.
    Skip,
}

/// At which size JPEG files are decoded before they are resized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decode {
    /// At their own: results are Pillow's, bit for bit.
    #[default]
    Full,
    /// At a half, a quarter or an eighth where what is cropped stays as large as it is needed, as Pillow's `draft`:
    /// faster, and slightly other pixels.
    Scaled,
}

/// What becomes of transparency in PNG files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transparency {
    /// The image is composited on white.
    #[default]
    White,
    /// Alpha is dropped, as Pillow's `convert("RGB")` does: the colour that is stored shows.
    Drop,
}

/// How grey PNG files of 16 bits become 8 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grey16 {
    /// The high byte of each sample.
    #[default]
    HighByte,
    /// Each sample, clipped at 255, as Pillow's `convert("RGB")` does.
    Clip,
}

/// How the shorter side is rounded where it is computed from `image_size`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResizeRounding {
    /// `image_size` / 0.875 to the nearest whole number; a stage's share of `resize` up.
    #[default]
    Nearest,
    /// Down, as timm does.
    Down,
}

impl ResizeRounding {
    /// A quotient of `image_size`.
    pub fn round(self, dividend: usize, divisor: usize) -> usize {
        match self {
            Self::Nearest => (dividend + divisor / 2) / divisor,
            Self::Down => dividend / divisor,
        }
    }
}
