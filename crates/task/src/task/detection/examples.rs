//! Sheets of evaluated images: with the objects that they show, and with those that the network finds.

use super::found;
use super::predictions::image_box;
use crate::error::Result;
use crate::metrics::detection::NmsSettings;
use crate::report::{ImageBox, SheetImage, jpeg, rgb_image, sheet};
use crate::task::{Examples, InputObjects, InputPicture, TaskFile};

/// The sheets of each batch: labels and predictions, as Ultralytics names them.
pub const FILES: [[&str; 2]; 3] = [
    ["val_batch0_labels.jpg", "val_batch0_pred.jpg"],
    ["val_batch1_labels.jpg", "val_batch1_pred.jpg"],
    ["val_batch2_labels.jpg", "val_batch2_pred.jpg"],
];

pub fn files(batch: usize, classes: &[String], examples: &Examples) -> Result<Vec<TaskFile>> {
    let Some([labels_file, predictions_file]) = FILES.get(batch) else { return Ok(Vec::new()) };
    let Examples { pictures, annotations, outputs } = examples;
    let image = |picture: &InputPicture| rgb_image(picture.size, picture.pixels.clone());
    let images = pictures.iter().map(image).collect::<Result<Vec<_>>>()?;
    let labels = |(objects, picture): (&InputObjects, &InputPicture)| -> Vec<ImageBox> {
        objects.boxes.iter().map(|object| ImageBox::of_label(object, picture.size)).collect()
    };
    let truth: Vec<_> = annotations.objects.iter().flatten().zip(pictures).map(labels).collect();
    // In pixels of the input, as the pictures are.
    let found = found::detections(outputs, &vec![None; images.len()], &NmsSettings::PREDICTION)?;
    let found: Vec<Vec<ImageBox>> =
        found.iter().map(|objects| objects.iter().map(image_box).collect()).collect();
    let draw = |name: &'static str, title: &str, boxes: &[Vec<ImageBox>]| -> Result<TaskFile> {
        let rows = images.iter().zip(annotations.samples.iter()).zip(boxes);
        let shown = rows.map(|((image, sample), boxes)| SheetImage {
            image,
            name: &sample.path,
            caption: None,
            boxes,
        });
        Ok(TaskFile::new(name, jpeg(&sheet(title, &shown.collect::<Vec<_>>(), classes)?)?))
    };
    Ok(vec![draw(labels_file, "labels", &truth)?, draw(predictions_file, "predictions", &found)?])
}
