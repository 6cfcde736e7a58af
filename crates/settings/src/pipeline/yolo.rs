//! Images with boxes in YOLO's text files, as written in a pipeline file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::boxed_images::{BoxedImageSettings, default_box_image_size, default_pad};
use super::data::{AvailableSplits, Broken, DataSettings, Split, Transparency, default_exif_orientation};
use super::images::ImageSettings;
use super::label_kind::LabelKind;
use super::normalize::Normalize;
use super::pixels::{Color, default_channels};

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
    /// How the images are split into training, validation and test. By default as `file` says. `folders` may also name
    /// lists of images (`.txt`).
    #[serde(default)]
    pub split: Split,
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
    /// Whether to clip boxes with coordinates outside of [0, 1]. Without it, coordinates that are wrong by more than 0.01
    /// are an error.
    #[serde(default)]
    pub clip: bool,
}

impl Yolo {
    /// The splits that exist besides training, as far as the settings say.
    pub(super) fn parts(has_file: bool, split: &Split) -> AvailableSplits {
        match has_file && split.folders.is_none() {
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
        let settings = BoxedImageSettings {
            image_size: self.image_size,
            pad: self.pad,
            normalize: &self.normalize,
            split: self.split.clone(),
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
