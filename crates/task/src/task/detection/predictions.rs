//! The objects found in an image, as text and in files.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::targets::ground_truth;
use crate::data::Sample;
use crate::error::Result;
use crate::metrics::detection::{Detection, GroundTruth};
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

/// What people read, and the boxes.
pub fn describe(classes: &[String], found: &FoundObjects) -> OutputDescription {
    let objects = &found.objects;
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
    let boxes = image(String::new(), found);
    let mut document = match boxes_json(&boxes, classes) {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    // Only the caller knows it.
    document.remove("file");
    OutputDescription { text, document, boxes: Some(boxes) }
}

fn image(file: String, found: &FoundObjects) -> ImageBoxes {
    let FoundObjects { size: [width, height], objects } = found;
    ImageBoxes { file, width: *width, height: *height, boxes: objects.iter().map(image_box).collect() }
}

pub fn image_box(object: &Detection) -> ImageBox {
    let [left, top, right, bottom] = object.corners.map(|corner| corner as f32);
    ImageBox { class: object.class as usize, score: Some(object.score), left, top, right, bottom }
}

/// A table, and COCO's results file. Images have the ids 1, 2, … in their order, and classes in the order of the model's
/// outputs.
pub fn files<'a>(
    classes: &[String],
    predictions: impl Iterator<Item = (&'a String, &'a FoundObjects)>,
) -> Result<Vec<TaskFile>> {
    let images: Vec<ImageBoxes> = predictions.map(|(file, found)| image(file.clone(), found)).collect();
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

/// The objects of evaluated images, as a file of COCO: with the ids of [`files`], so that pycocotools computes the scores
/// from a run directory alone. An object marked difficult has `ignore`.
pub fn ground_truth_file<'a>(
    classes: &[String],
    predictions: impl Iterator<Item = (&'a Sample, &'a FoundObjects)>,
) -> TaskFile {
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for (image, (sample, FoundObjects { size, .. })) in (1u64..).zip(predictions) {
        let [width, height] = size;
        images.push(json!({ "id": image, "file_name": sample.path, "width": width, "height": height }));
        for object in ground_truth(sample, *size) {
            annotations.push(annotation(annotations.len() as u64 + 1, image, &object));
        }
    }
    let categories: Vec<_> =
        (1u64..).zip(classes).map(|(id, name)| json!({ "id": id, "name": name })).collect();
    let lines = |rows: &[Value]| rows.iter().map(Value::to_string).collect::<Vec<_>>().join(",\n");
    let text = format!(
        "{{\"images\": [\n{}\n], \"categories\": [\n{}\n], \"annotations\": [\n{}\n]}}\n",
        lines(&images),
        lines(&categories),
        lines(&annotations)
    );
    TaskFile::new(GROUND_TRUTH, text)
}

pub const GROUND_TRUTH: &str = "ground_truth_coco.json";

fn annotation(id: u64, image: u64, object: &GroundTruth) -> Value {
    let GroundTruth { class, corners: [left, top, right, bottom], area, crowd, ignored } = *object;
    json!({
        "id": id,
        "image_id": image,
        "category_id": class + 1,
        "bbox": [left, top, right - left, bottom - top],
        "area": area,
        "iscrowd": u8::from(crowd),
        "ignore": u8::from(ignored),
    })
}
