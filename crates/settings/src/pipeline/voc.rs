//! Images with boxes in Pascal VOC's XML files, as written in a pipeline file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::boxed_images::{BoxedImageSettings, Difficult, default_box_image_size, default_pad};
use super::data::{
    AvailableSplits, Broken, DataSettings, Split, SplitFolders, SplitMethod, Transparency,
    default_exif_orientation,
};
use super::images::ImageSettings;
use super::label_kind::LabelKind;
use super::normalize::Normalize;
use super::pixels::{Color, default_channels};

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
    /// Side length of the square images, in pixels. The longer side of a picture is scaled to it.
    #[serde(default = "default_box_image_size")]
    #[schemars(range(min = 1, max = 4096))]
    pub image_size: usize,
    /// The grey value that pads pictures to squares; 255 is white.
    #[serde(default = "default_pad")]
    #[schemars(range(min = 0, max = 255))]
    pub pad: f64,
    /// Mean and standard deviation of each channel: a name, or `{ mean = [r, g, b], std = [r, g, b] }`. Defaults to the
    /// statistics that the architecture was pretrained with.
    pub normalize: Option<Normalize>,
    /// How the images are split into training, validation and test.
    #[serde(default)]
    pub split: VocSplit,
    /// What to do if an image cannot be decoded.
    #[serde(default)]
    pub broken: Broken,
    /// Whether to rotate photos upright, by the orientation in their EXIF data. Boxes are those of the upright picture.
    #[serde(default = "default_exif_orientation")]
    pub exif_orientation: bool,
    /// What to do with transparency in PNG files.
    #[serde(default)]
    pub transparency: Transparency,
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
}

impl DataSettings for Voc {
    fn classes(&self) -> Option<&Vec<String>> {
        self.classes.as_ref()
    }

    fn label_kind(&self) -> LabelKind {
        LabelKind::Boxes
    }

    fn images(&self) -> ImageSettings {
        let settings = BoxedImageSettings {
            image_size: self.image_size,
            pad: self.pad,
            normalize: &self.normalize,
            split: self.split.shares(),
            broken: self.broken,
            exif_orientation: self.exif_orientation,
            transparency: self.transparency,
            range: self.range,
            channels: self.channels,
            color: self.color,
        };
        settings.letterboxed()
    }
}

/// How the images of a folder in Pascal VOC's format are split: by its own lists, by given folders, or by fractions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("x-renamed" = { "stratify": "require_classes" }))]
pub struct VocSplit {
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
    /// Whether to use the lists in `ImageSets/Main`, if there are any: `train.txt` (or `trainval.txt`), `val.txt` and
    /// `test.txt`.
    pub image_sets: bool,
    /// Folders below `root` that hold the splits. A split with a folder takes no fraction; a split without one may take
    /// a fraction of the training folder.
    pub folders: Option<SplitFolders>,
}

impl Default for VocSplit {
    fn default() -> Self {
        let Split { validation, test, method, require_classes, seed, group, folders } = Split::default();
        Self { validation, test, method, require_classes, seed, group, image_sets: true, folders }
    }
}

impl VocSplit {
    /// The settings that split by fraction and by folders.
    pub fn shares(&self) -> Split {
        let Self { validation, test, method, require_classes, seed, group, image_sets: _, folders } =
            self.clone();
        Split { validation, test, method, require_classes, seed, group, folders }
    }

    /// The splits it makes. Lists may name any split, which only the data show.
    pub fn parts(&self) -> AvailableSplits {
        match self.image_sets && self.folders.is_none() {
            true => AvailableSplits::BY_THE_DATA,
            false => self.shares().parts(),
        }
    }
}
