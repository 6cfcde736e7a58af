//! Predictions of new images, one after another.

use std::path::Path;

use candle_core::Tensor;

use super::Predictor;
use super::predict::encoded;
use crate::autograd::Value;
use crate::data::{Geometry, Symmetry, tiles};
use crate::device::to_device;
use crate::error::{Error, Result};
use crate::model::Pass;
use crate::pipeline::TestTimeAugmentation;
use crate::report::{self, ImageBoxes};
use crate::task::{
    Annotations, BoxThresholds, Decisions, NewImages, OutputDescription, OutputForm, TaskFile,
};

/// The most tiles of a picture.
const MOST_TILES: usize = 10_000;

/// How images are predicted.
#[derive(Clone, Debug, Default)]
pub struct PredictionSettings {
    /// For models that find objects.
    pub thresholds: Option<BoxThresholds>,
    /// For models that predict classes or labels.
    pub decisions: Decisions,
    /// The versions of each input.
    pub tta: TestTimeAugmentation,
    /// For models that find objects in large pictures.
    pub tiles: Option<TileSettings>,
    /// Whether predictions are not kept for tables, so that there may be any number.
    pub forgets: bool,
}

/// The tiles of a large picture. Each is an input, in addition to the whole picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TileSettings {
    /// The side of a tile in pixels of the picture.
    pub side: u32,
    /// The smallest part of a side that neighbours share, below 1.
    pub overlap: f64,
}

/// Inputs of the network, with the place of their pixels in the picture.
type PlacedInputs<'a> = Box<dyn Iterator<Item = Result<(Tensor, Geometry)>> + 'a>;

/// Predicts images, and keeps the predictions but not the pictures.
pub struct Predictions<'p> {
    predictor: &'p Predictor,
    pass: Pass<'p>,
    versions: Vec<Symmetry>,
    tiles: Option<TileSettings>,
    kept: Box<dyn NewImages>,
}

/// An image with its prediction.
pub struct PredictedImage {
    /// The prediction.
    pub described: OutputDescription,
    /// The bytes of the image file, so that the picture that is drawn is the predicted one.
    encoded: Vec<u8>,
}

impl PredictedImage {
    /// `None` if the model does not find objects.
    pub fn boxes(&self) -> Option<&ImageBoxes> {
        self.described.boxes.as_ref()
    }
}

impl Predictor {
    /// Whether the model finds objects in boxes.
    pub fn finds_boxes(&self) -> bool {
        self.task().kind.finds_boxes()
    }

    /// Whether an image has one class, or none.
    pub fn predicts_one_class(&self) -> bool {
        self.task().kind.output_form() == OutputForm::Exclusive
    }

    /// Predictions of images, of which there are none yet.
    ///
    /// # Errors
    /// Settings for another model.
    pub fn predictions(&self, settings: PredictionSettings) -> Result<Predictions<'_>> {
        let PredictionSettings { thresholds, decisions, tta, tiles, forgets } = settings;
        let task = self.task();
        let unfit = match (thresholds.is_some(), tiles.is_some()) {
            _ if task.kind.finds_boxes() => None,
            (true, _) => Some((
                "a confidence and an IoU select boxes",
                "remove `--confidence` and `--iou`: they are for detectors",
            )),
            (false, true) => {
                Some(("tiles are for objects in large pictures", "remove `--tile`: it is for detectors"))
            }
            (false, false) => None,
        };
        if let Some((what, help)) = unfit {
            let shows = task.kind.annotation();
            return Err(Error::usage(format!("{what}, and this model was trained on {shows}")).hint(help));
        }
        let kept = task.new_images(thresholds.unwrap_or_default(), decisions, !forgets);
        let (versions, pass) = (Symmetry::versions(&tta), Pass::inference(&self.state));
        Ok(Predictions { predictor: self, pass, versions, tiles, kept })
    }

    /// What the network sees of a picture: the whole, and its tiles if there are several.
    fn inputs<'a>(
        &'a self,
        file: &'a Path,
        encoded: &'a [u8],
        settings: Option<TileSettings>,
    ) -> Result<PlacedInputs<'a>> {
        let whole = std::iter::once_with(|| self.placed(file, encoded));
        let Some(TileSettings { side, overlap }) = settings else { return Ok(Box::new(whole)) };
        let picture = self.decoded(file, encoded)?;
        let regions = tiles(picture.dimensions(), side, overlap);
        match regions.len() {
            0 | 1 => return Ok(Box::new(whole)),
            count if count > MOST_TILES => {
                return Err(Error::usage(format!("`{}` would have {count} tiles", file.display()))
                    .hint(format!("use larger tiles: a picture has at most {MOST_TILES}")));
            }
            _ => {}
        }
        let tiles = regions.into_iter().map(move |region| self.tile(&picture, region));
        Ok(Box::new(whole.chain(tiles)))
    }
}

impl Predictions<'_> {
    /// Predicts an image file.
    ///
    /// # Errors
    /// It cannot be read or decoded. Other images are not affected.
    pub fn add(&mut self, file: &Path) -> Result<PredictedImage> {
        let Self { predictor, pass, versions, tiles, kept } = self;
        let encoded = encoded(file)?;
        let device = &predictor.choice.device;
        let version =
            |(image, geometry): &(Tensor, Geometry), symmetry: &Symmetry| match symmetry.is_identity() {
                true => Ok((image.clone(), Annotations::of_picture(*geometry))),
                false => Ok((symmetry.apply(image)?, Annotations::of_picture(*geometry).turned(symmetry))),
            };
        let mut predicted = predictor.inputs(file, &encoded, *tiles)?.flat_map(|input| match input {
            Ok(input) => versions.iter().map(|symmetry| version(&input, symmetry)).collect(),
            Err(error) => vec![Err(error)],
        });
        let mut outputs = std::iter::from_fn(|| {
            let input = predicted.next()?;
            Some(input.and_then(|(image, annotations)| {
                let image = to_device(&image, device)?;
                Ok((predictor.model.forward(pass, 0, Value::constant(image))?, annotations))
            }))
        });
        let described = kept.add(file.display().to_string(), &mut outputs)?;
        drop(predicted);
        Ok(PredictedImage { described, encoded })
    }

    /// The boxes of a predicted image on its upright picture, as a JPEG file.
    ///
    /// # Errors
    /// The picture cannot be decoded.
    pub fn drawn(&self, file: &Path, image: &PredictedImage) -> Result<Vec<u8>> {
        let picture = self.predictor.picture(file, &image.encoded)?;
        let boxes = image.boxes().map_or(&[][..], |found| &found.boxes);
        report::jpeg(&report::picture_of_boxes(&picture, boxes, &self.predictor.classes)?)
    }

    /// The files and their predictions that are kept, in order.
    pub fn described(&self) -> impl Iterator<Item = (&str, OutputDescription)> {
        self.kept.described()
    }

    /// The tables of the predictions that are kept.
    ///
    /// # Errors
    /// A bug: a class without a name.
    pub fn files(&self) -> Result<Vec<TaskFile>> {
        self.kept.files()
    }
}
