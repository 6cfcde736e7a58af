//! Predictions of new images, one after another.

use std::path::Path;

use super::Predictor;
use super::predict::encoded;
use crate::autograd::Value;
use crate::device::to_device;
use crate::error::{Error, Result};
use crate::model::Pass;
use crate::report::{self, ImageBoxes};
use crate::task::{Annotations, BoxThresholds, Decisions, NewImages, OutputDescription, TaskFile};

/// Predicts images, and keeps the predictions but not the pictures.
pub struct Predictions<'p> {
    predictor: &'p Predictor,
    pass: Pass<'p>,
    kept: Box<dyn NewImages>,
}

/// An image with its prediction.
pub struct PredictedImage {
    /// The prediction in one line.
    pub text: String,
    /// `None` if the model does not find objects.
    pub boxes: Option<ImageBoxes>,
    /// The bytes of the image file, so that the picture that is drawn is the predicted one.
    encoded: Vec<u8>,
}

impl Predictor {
    /// Whether the model finds objects in boxes.
    pub fn finds_boxes(&self) -> bool {
        self.task().kind.finds_boxes()
    }

    /// Predictions of images, of which there are none yet. Thresholds of boxes are for models that find objects.
    ///
    /// # Errors
    /// Thresholds for another model.
    pub fn predictions(
        &self,
        thresholds: Option<BoxThresholds>,
        decisions: Decisions,
    ) -> Result<Predictions<'_>> {
        let task = self.task();
        if thresholds.is_some() && !task.kind.finds_boxes() {
            let shows = task.kind.annotation();
            return Err(Error::usage(format!(
                "a confidence and an IoU select boxes, and this model was trained on {shows}"
            ))
            .hint("remove `--confidence` and `--iou`: they are for detectors"));
        }
        let kept = task.new_images(thresholds.unwrap_or_default(), decisions);
        Ok(Predictions { predictor: self, pass: Pass::inference(&self.state), kept })
    }
}

impl Predictions<'_> {
    /// Predicts an image file.
    ///
    /// # Errors
    /// It cannot be read or decoded. Other images are not affected.
    pub fn add(&mut self, file: &Path) -> Result<PredictedImage> {
        let Self { predictor, pass, kept } = self;
        let encoded = encoded(file)?;
        let (image, geometry) = predictor.placed(file, &encoded)?;
        let image = to_device(&image, &predictor.choice.device)?;
        let outputs = predictor.model.forward(pass, 0, Value::constant(image))?;
        let name = file.display().to_string();
        let OutputDescription { text, boxes, .. } =
            kept.add(name, &outputs, &Annotations::of_picture(geometry))?;
        Ok(PredictedImage { text, boxes, encoded })
    }

    /// The boxes of a predicted image on its upright picture, as a JPEG file.
    ///
    /// # Errors
    /// The picture cannot be decoded.
    pub fn drawn(&self, file: &Path, image: &PredictedImage) -> Result<Vec<u8>> {
        let picture = self.predictor.picture(file, &image.encoded)?;
        let boxes = image.boxes.as_ref().map_or(&[][..], |found| &found.boxes);
        report::jpeg(&report::picture_of_boxes(&picture, boxes, &self.predictor.classes)?)
    }

    /// The files and their predictions so far, in order.
    pub fn described(&self) -> impl Iterator<Item = (&str, OutputDescription)> {
        self.kept.described()
    }

    /// The tables of the predictions so far.
    ///
    /// # Errors
    /// A bug: a class without a name.
    pub fn files(&self) -> Result<Vec<TaskFile>> {
        self.kept.files()
    }
}
