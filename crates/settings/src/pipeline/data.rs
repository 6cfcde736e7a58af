//! Data sets, as written in a pipeline file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pixels::default_channels;
use super::{Coco, Color, Csv, EvaluationSplit, Fit, ImageSettings, LabelKind, Normalize, Voc, Yolo};

/// A data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "format", rename_all = "snake_case")]
pub enum Data {
    ImageFolder(ImageFolder),
    Csv(Csv),
    Yolo(Yolo),
    Coco(Coco),
    Voc(Voc),
}

/// The settings of a data format.
pub(super) trait DataSettings {
    fn classes(&self) -> Option<&Vec<String>>;
    fn label_kind(&self) -> LabelKind;
    fn images(&self) -> ImageSettings;
}

impl Data {
    /// The settings of its format: one line per format.
    fn settings(&self) -> &dyn DataSettings {
        match self {
            Self::ImageFolder(settings) => settings,
            Self::Csv(settings) => settings,
            Self::Yolo(settings) => settings,
            Self::Coco(settings) => settings,
            Self::Voc(settings) => settings,
        }
    }

    /// The classes that the settings list, if any.
    pub fn classes(&self) -> Option<&Vec<String>> {
        self.settings().classes()
    }

    /// The folders of its splits, if its settings name any.
    pub(super) fn split_folders_mut(&mut self) -> Option<&mut SplitFolders> {
        match self {
            Self::ImageFolder(settings) => settings.split.folders.as_mut(),
            Self::Csv(_) => None,
            Self::Yolo(settings) => settings.split.folders.as_mut(),
            Self::Coco(settings) => settings.split.folders.as_mut(),
            Self::Voc(settings) => settings.split.folders.as_mut(),
        }
    }

    /// What each image is annotated with.
    pub fn label_kind(&self) -> LabelKind {
        self.settings().label_kind()
    }

    /// How the images are split and become tensors.
    pub fn images(&self) -> ImageSettings {
        self.settings().images()
    }
}

impl DataSettings for ImageFolder {
    fn classes(&self) -> Option<&Vec<String>> {
        self.classes.as_ref()
    }

    fn label_kind(&self) -> LabelKind {
        LabelKind::Class
    }

    fn images(&self) -> ImageSettings {
        ImageSettings {
            image_size: self.image_size,
            fit: Fit::CentreCrop,
            resize: self.resize,
            normalize: self.normalize.clone(),
            split: self.split.clone(),
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

/// Which splits a data set has, as far as its settings say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvailableSplits {
    pub train: bool,
    pub validation: bool,
    pub test: bool,
}

impl AvailableSplits {
    pub(super) fn only(split: EvaluationSplit) -> Self {
        let is = |other| split == other;
        Self {
            train: is(EvaluationSplit::Train),
            validation: is(EvaluationSplit::Validation),
            test: is(EvaluationSplit::Test),
        }
    }

    pub fn has(self, split: EvaluationSplit) -> bool {
        match split {
            EvaluationSplit::Train => self.train,
            EvaluationSplit::Validation => self.validation,
            EvaluationSplit::Test => self.test,
        }
    }
}

/// A folder of images with one subfolder per class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageFolder {
    /// The folder, relative to the pipeline file. `${VAR}` is replaced by the environment variable.
    #[schemars(length(min = 1))]
    pub root: String,
    /// The classes to use, in this order. By default all subfolders, sorted by name.
    #[schemars(length(min = 2), inner(length(min = 1)), extend("uniqueItems" = true))]
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
    pub split: Split,
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

pub(super) fn default_image_size() -> usize {
    224
}

pub(super) fn default_exif_orientation() -> bool {
    true
}

/// How the images of a data set are split: by fractions, or by given folders.
///
/// With `hash`, the split of an image depends only on its own path (or group) and the seed. So adding a photo never
/// moves another photo, and percentages are approximate. If folders are given, fractions split the training folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("x-renamed" = { "stratify": "require_classes" }))]
pub struct Split {
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
    /// Folders that hold the splits, relative to `root` or as absolute paths. A split with a folder takes no fraction; a
    /// split without one may take a fraction of the training folder. Paths of images in a folder outside of `root` begin
    /// with the name of the split.
    pub folders: Option<SplitFolders>,
}

impl Default for Split {
    fn default() -> Self {
        Self {
            all: None,
            validation: 0.0,
            test: 0.0,
            method: SplitMethod::default(),
            require_classes: true,
            seed: 0,
            group: None,
            folds: None,
            fold: None,
            folders: None,
        }
    }
}

impl Split {
    /// The split of images of which nothing else says another one.
    pub fn usual(&self) -> EvaluationSplit {
        self.all.unwrap_or(EvaluationSplit::Train)
    }

    /// The splits it makes.
    pub fn parts(&self) -> AvailableSplits {
        let validation = self.validation > 0.0 || self.folds.is_some();
        match (self.all, &self.folders) {
            (Some(all), _) => AvailableSplits::only(all),
            (None, Some(folders)) => AvailableSplits {
                train: true,
                validation: folders.validation.is_some() || validation,
                test: folders.test.is_some() || self.test > 0.0,
            },
            (None, None) => AvailableSplits { train: true, validation, test: self.test > 0.0 },
        }
    }
}

/// How the fractions of a split are met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitMethod {
    /// Each image (or group) on its own, by a threshold on its hash.
    #[default]
    Hash,
    /// All images together, class by class; groups stay whole.
    Balanced,
}

/// The folders that hold the splits of a data set. `${VAR}` is replaced by the environment variable.
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

/// What to do if an image cannot be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Broken {
    /// The stage fails and names the file.
    #[default]
    Error,
    /// The image is left out and counted in the metrics. A file that cannot be opened is left out before the run, with
    /// a warning.
    Skip,
}

/// The size at which JPEG files are decoded, before they are resized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decode {
    /// Full size: results are bit for bit those of Pillow.
    #[default]
    Full,
    /// 1/2, 1/4 or 1/8 of the full size, if the cropped area stays large enough, like Pillow's `draft`. Faster, with
    /// slightly different pixels.
    Scaled,
}

/// What to do with transparency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transparency {
    /// The image is composited on white.
    #[default]
    White,
    /// Alpha is dropped, like Pillow's `convert("RGB")`: the stored colour shows.
    Drop,
}

/// How to convert 16-bit greyscale PNG files to 8 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grey16 {
    /// The high byte of each sample.
    #[default]
    HighByte,
    /// Each sample, clipped at 255, like Pillow's `convert("RGB")`.
    Clip,
}

/// How to round the length of the shorter side if it is computed from `image_size`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResizeRounding {
    /// `image_size` / 0.875 is rounded to the nearest integer. If a stage has an `image_size` of its own, the data
    /// set's `resize` is scaled with it and rounded up.
    #[default]
    Nearest,
    /// Down, like timm.
    Down,
}

impl ResizeRounding {
    /// A quotient of `image_size`, rounded.
    pub fn round(self, dividend: usize, divisor: usize) -> usize {
        match self {
            Self::Nearest => (dividend + divisor / 2) / divisor,
            Self::Down => dividend / divisor,
        }
    }
}
