//! What timm's `config.json` next to the weights says of the images that they were trained with.

use std::path::Path;

use defrost::hub::KnownWeights;
use defrost::pipeline::{Arch, ImageSizes, Normalize};
use defrost::{Error, Result, regular_file};
use serde_json::{Value, json};

use super::written::Line;

const CONFIG: &str = "config.json";
/// A `config.json` has a few lines.
const LARGEST: u64 = 1 << 20;
/// The image size of most published weights.
pub const USUAL_SIZE: usize = 224;
/// The longest side that a pipeline file accepts.
const LONGEST_SIDE: f64 = 4096.0;
/// The statistics that have a name.
const NORMALIZE: [&str; 5] = ["imagenet", "inception", "efficientnet_lite", "clip", "none"];
const BILINEAR: &str = "bilinear";

/// The settings of published weights, as far as the file has them.
#[derive(Default)]
pub struct Published {
    pub architecture: Option<String>,
    pub image_size: Option<usize>,
    /// `image_size` divided by the length of the shorter side before the crop.
    crop_pct: Option<f64>,
    interpolation: Option<String>,
    normalize: Option<Normalize>,
    /// Where they are from, for comments.
    source: &'static str,
}

impl Published {
    /// The file next to the weights. Files of other programs have the same name and say nothing here.
    ///
    /// # Errors
    /// A file of timm that is damaged, or has values that cannot be.
    pub fn beside(weights: &Path) -> Result<Self> {
        let path = weights.with_file_name(CONFIG);
        let Ok(bytes) = regular_file::read(&path, LARGEST) else { return Ok(Self::default()) };
        let wrong = |cause: String| {
            Error::usage(format!("cannot read `{}`: {cause}", path.display()))
                .hint("correct it, or move it away: image size and normalisation are read from it")
        };
        let config: Value = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        // Before 2023, timm wrote the settings without a table of their own.
        let settings = config.get("pretrained_cfg").unwrap_or(&config);
        if settings.get("input_size").is_none() && settings.get("mean").is_none() {
            return Ok(Self::default());
        }
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let published = Self {
            architecture: text(config.get("architecture")),
            image_size: settings.get("input_size").map(side).transpose().map_err(wrong)?,
            crop_pct: settings
                .get("crop_pct")
                .filter(|value| !value.is_null())
                .map(fraction)
                .transpose()
                .map_err(wrong)?,
            interpolation: text(settings.get("interpolation")),
            normalize: statistics(settings).map_err(wrong)?,
            source: "the weights' config.json",
        };
        Ok(published)
    }

    /// What `defrost weights` says of listed weights.
    pub fn of_known(known: &KnownWeights) -> Self {
        let statistics = json!({ "mean": known.mean, "std": known.std });
        Self {
            architecture: Some(known.arch.clone()),
            image_size: Some(known.input_size),
            crop_pct: Some(known.crop_pct),
            interpolation: Some(known.interpolation.clone()),
            normalize: serde_json::from_value(statistics).ok(),
            source: "`defrost weights`",
        }
    }

    /// The lines of a data set for an architecture, whose images have that size.
    pub fn lines(&self, arch: Arch, size: usize) -> Vec<Line> {
        let why = match self.image_size {
            Some(published) if published == size => format!("`input_size` of {}", self.source),
            Some(published) => {
                format!("{} says {published}, which `{}` does not take", self.source, arch.name())
            }
            None if arch.has_sized_positions() => "that of the weights' position embeddings".to_owned(),
            None => "pixels; that of most published weights".to_owned(),
        };
        let mut lines = vec![Line::new("image_size", &size.into(), why)];
        if let Some(crop_pct) = self.crop_pct {
            // As timm: math.floor(img_size / crop_pct).
            let resize = (size as f64 / crop_pct).floor();
            let interpolation = match self.interpolation.as_deref() {
                None | Some(BILINEAR) => String::new(),
                Some(other) => format!("; it resizes {other}, and defrost {BILINEAR}"),
            };
            let why = format!("{size} / {crop_pct}, its `crop_pct`{interpolation}");
            if resize <= LONGEST_SIDE {
                lines.push(Line::new("resize", &(resize as usize).into(), why));
            }
        }
        let usual = "as in pretraining of the weights";
        let (normalize, why) = match &self.normalize {
            Some(normalize) => (named(normalize), "its `mean` and `std`"),
            // Those of the published checkpoint, which a data set without `normalize` does not use.
            None if arch == Arch::EfficientNetLite0 => ("efficientnet_lite".into(), usual),
            None => (named(&arch.normalize()), usual),
        };
        lines.push(Line::new("normalize", &normalize, why));
        lines
    }

    /// The image size that an architecture takes: the published one, or else its own.
    pub fn size_for(&self, arch: Arch) -> usize {
        let published = self.image_size.unwrap_or(USUAL_SIZE);
        match arch.image_sizes() {
            ImageSizes::Only(size) => size,
            ImageSizes::MultipleOf(factor) if !published.is_multiple_of(factor) => USUAL_SIZE,
            _ => published,
        }
    }
}

/// The statistics by their name, or as numbers.
fn named(normalize: &Normalize) -> Value {
    let is_same =
        |name: &&str| serde_json::from_value::<Normalize>(json!(name)).is_ok_and(|known| known == *normalize);
    match NORMALIZE.into_iter().find(|name| is_same(name)) {
        Some(name) => name.into(),
        None => json!({ "mean": normalize.mean, "std": normalize.std }),
    }
}

/// The side of `[channels, height, width]`.
fn side(value: &Value) -> Result<usize, String> {
    let numbers: Vec<u64> = value.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    match numbers[..] {
        [3, height, width] if height == width && (1..=LONGEST_SIDE as u64).contains(&width) => {
            Ok(width as usize)
        }
        [3, height, width] => {
            Err(format!("its `input_size` is {width} × {height}, and images are squares here"))
        }
        _ => Err(format!("its `input_size` is {value}, not [3, height, width]")),
    }
}

fn fraction(value: &Value) -> Result<f64, String> {
    let is_right = |number: &f64| *number > 0.0 && *number <= 1.0;
    value
        .as_f64()
        .filter(is_right)
        .ok_or_else(|| format!("its `crop_pct` is {value}, not above 0 and at most 1"))
}

fn statistics(settings: &Value) -> Result<Option<Normalize>, String> {
    let list = |key: &str| -> Result<Option<Vec<f64>>, String> {
        let Some(value) = settings.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
        let numbers: Option<Vec<f64>> =
            value.as_array().and_then(|items| items.iter().map(Value::as_f64).collect());
        match numbers {
            Some(numbers) if numbers.len() == 3 => Ok(Some(numbers)),
            _ => Err(format!("its `{key}` is {value}, not three numbers")),
        }
    };
    match (list("mean")?, list("std")?) {
        (Some(mean), Some(std)) if std.iter().all(|std| *std > 0.0) => Ok(Some(Normalize { mean, std })),
        (Some(_), Some(_)) => Err("its `std` has a number that is not above 0".to_owned()),
        _ => Ok(None),
    }
}
