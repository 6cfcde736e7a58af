//! The objects of a batch's images, in the form that the loss and the scores need.

use crate::data::{BoxArea, LabelledBox, Sample};
use crate::error::{Error, Result};
use crate::metrics::detection::GroundTruth;
use crate::ops::TargetBox;
use crate::task::{Annotations, InputObjects};

/// The objects of one row of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageObjects {
    /// The objects to learn, in fractions of the network's input.
    pub boxes: Vec<LabelledBox>,
    /// The objects to find, in pixels of the picture of the row's own sample.
    pub truth: Vec<GroundTruth>,
    /// Where that picture is in the input; `None` for synthetic images.
    pub frame: Option<InputObjects>,
}

/// The rows of a batch.
///
/// # Errors
/// A bug: annotations without boxes.
pub fn of(annotations: &Annotations) -> Result<Vec<ImageObjects>> {
    let image = |(sample, frame): (&&Sample, &InputObjects)| {
        let boxes = frame.boxes.iter().filter(|object| !object.is_ignored());
        let truth = frame.picture_size().map(|size| ground_truth(sample, size)).unwrap_or_default();
        ImageObjects { boxes: boxes.copied().collect(), truth, frame: Some(frame.clone()) }
    };
    Ok(annotations.samples.iter().zip(frames(annotations)?).map(image).collect())
}

/// Where the picture of each row is in the network's input; of a picture without a sample too.
pub fn frames<'a>(annotations: &'a Annotations) -> Result<&'a [InputObjects]> {
    annotations.objects.as_deref().ok_or_else(|| Error::bug("annotations without boxes"))
}

impl ImageObjects {
    /// The objects to learn, in pixels of an input of this size.
    pub fn targets(&self, size: [f64; 2]) -> Vec<TargetBox> {
        let target =
            |object: &LabelledBox| TargetBox { class: object.class, corners: pixels(&object.area, size) };
        self.boxes.iter().map(target).collect()
    }
}

/// A box of the network's input, in pixels, to pixels of the picture, cut at its edges.
pub fn in_picture(frame: &InputObjects, corners: [f64; 4], [width, height]: [f64; 2]) -> [f64; 4] {
    let [left, top, right, bottom] = corners;
    let area =
        BoxArea { left: left / width, top: top / height, right: right / width, bottom: bottom / height };
    let size = frame.picture_size().map(|size| size.map(f64::from));
    size.and_then(|size| Some(pixels(&frame.picture_area(&area)?, size))).unwrap_or(corners)
}

fn pixels(area: &BoxArea, [width, height]: [f64; 2]) -> [f64; 4] {
    [area.left * width, area.top * height, area.right * width, area.bottom * height]
}

/// The objects of a sample in pixels of its picture.
pub fn ground_truth(sample: &Sample, size: [u32; 2]) -> Vec<GroundTruth> {
    let object = |object: &LabelledBox| GroundTruth {
        class: object.class,
        corners: pixels(&object.area, size.map(f64::from)),
        area: object.area_in(size),
        crowd: object.crowd,
        ignored: object.difficult,
    };
    sample.label.boxes().iter().map(object).collect()
}
