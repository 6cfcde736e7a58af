//! The objects found in an image, as text and in files.

use std::fmt::Write;

use serde_json::{Map, json};

use crate::data::Sample;
use crate::error::Result;
use crate::metrics::detection::{Detection, NmsSettings};
use crate::report::{ImageBox, ImageBoxes, boxes_csv, boxes_json, coco_results};
use crate::task::{OutputDescription, TaskFile};

/// The objects found in one image.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundObjects {
    /// Width and height of the picture.
    pub size: [u32; 2],
    /// By falling score, in pixels of the picture.
    pub objects: Vec<Detection>,
}

/// What people read: the confident objects, the best class of each box.
pub fn describe(classes: &[String], found: FoundObjects) -> OutputDescription {
    let objects = confident(&found.objects);
    let mut text = match objects.len() {
        0 => "nothing found".to_owned(),
        1 => "1 object".to_owned(),
        more => format!("{more} objects"),
    };
    for (place, object) in objects.iter().enumerate() {
        let [left, top, right, bottom] = object.corners;
        let class = &classes[object.class as usize];
        let start = if place == 0 { ":" } else { "," };
        // Writing to a string cannot fail.
        _ = write!(
            text,
            "{start} {class} {:.2} ({left:.0}, {top:.0})–({right:.0}, {bottom:.0})",
            object.score
        );
    }
    let document = boxes_json(&image(String::new(), found.size, &objects), classes);
    let fields = document.as_object().cloned().unwrap_or_default();
    let document: Map<_, _> = fields.into_iter().filter(|(key, _)| key != "file").collect();
    OutputDescription { text, document }
}

/// The objects above the confidence of predictions, without those that lie on a more confident one of any class.
fn confident(found: &[Detection]) -> Vec<Detection> {
    let settings = NmsSettings::PREDICTION;
    let mut kept: Vec<Detection> = Vec::new();
    for object in found.iter().filter(|object| object.score > settings.confidence) {
        // A box has several classes in an evaluation: only the first, the most confident, is for people.
        if kept.iter().all(|other| other.corners != object.corners) {
            kept.push(*object);
        }
    }
    kept
}

fn image(file: String, [width, height]: [u32; 2], objects: &[Detection]) -> ImageBoxes {
    ImageBoxes { file, width, height, boxes: objects.iter().map(image_box).collect() }
}

pub fn image_box(object: &Detection) -> ImageBox {
    let [left, top, right, bottom] = object.corners.map(|corner| corner as f32);
    ImageBox { class: object.class as usize, score: Some(object.score), left, top, right, bottom }
}

/// All that scores count: a table, and COCO's results file. Images have the ids 1, 2, … in the order of their paths, and
/// classes in the order of the model's outputs.
pub fn files(classes: &[String], predictions: Vec<(&Sample, FoundObjects)>) -> Result<Vec<TaskFile>> {
    let images: Vec<ImageBoxes> = predictions
        .iter()
        .map(|(sample, found)| image(sample.path.clone(), found.size, &found.objects))
        .collect();
    let ids: Vec<u64> = (1..=classes.len() as u64).collect();
    let numbered: Vec<(u64, &ImageBoxes)> = (1..).zip(&images).collect();
    let listed: Vec<_> = numbered
        .iter()
        .map(|(id, image)| json!({ "id": id, "file_name": image.file, "width": image.width, "height": image.height }))
        .collect();
    let categories: Vec<_> =
        ids.iter().zip(classes).map(|(id, name)| json!({ "id": id, "name": name })).collect();
    let index = json!({ "images": listed, "categories": categories });
    Ok(vec![
        TaskFile::new("predictions.csv", boxes_csv(&images, classes)),
        TaskFile::new("predictions_coco.json", coco_results(&numbered, &ids)?),
        TaskFile::new("predictions_coco_ids.json", format!("{index:#}\n")),
    ])
}
