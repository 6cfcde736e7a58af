//! Boxes on images: drawn, in sheets of images, as tables and in the formats of other tools, their scores as parts of
//! a report, and tables of their errors. Boxes are in pixels of the original image, from its upper left corner.

mod encode;
mod epochs;
mod errors;
mod files;
mod layer;
mod picture;
mod scores;
mod sheet;

pub use encode::{image_png, jpeg, rgb_image};
pub use epochs::{BoxEpoch, RESULTS_HEADER, results_csv};
pub use errors::{ErrorRow, MeantObject, WrongBox, errors_csv, read_wrong_boxes, wrong_boxes_csv};
pub use files::{boxes_csv, boxes_json, coco_results, read_boxes, yolo_text};
pub use picture::picture_of_boxes;
pub use scores::{BoxClassScores, BoxScores, box_scores_parts};
pub use sheet::{MOST_IN_SHEET, SheetImage, sheet};

pub(super) use picture::{lay_over, scaled};

use crate::data::{BoxArea, LabelledBox};

/// A box of a class on an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageBox {
    /// The index of the class.
    pub class: usize,
    /// The confidence; `None` for a label.
    pub score: Option<f32>,
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
}

impl ImageBox {
    /// An annotated object on an image of this width and height.
    pub fn of_label(object: &LabelledBox, [width, height]: [u32; 2]) -> Self {
        let pixels = |fraction: f64, side: u32| (fraction * f64::from(side)) as f32;
        let BoxArea { left, top, right, bottom } = object.area;
        Self {
            class: object.class as usize,
            score: None,
            left: pixels(left, width),
            top: pixels(top, height),
            right: pixels(right, width),
            bottom: pixels(bottom, height),
        }
    }

    fn corners(&self) -> [f32; 4] {
        [self.left, self.top, self.right, self.bottom]
    }

    fn is_finite(&self) -> bool {
        self.corners().iter().chain(&self.score).all(|value| value.is_finite())
    }
}

/// The boxes of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageBoxes {
    /// The path relative to the data set's root.
    pub file: String,
    /// The size of the image, upright.
    pub width: u32,
    pub height: u32,
    pub boxes: Vec<ImageBox>,
}

/// The name of a class; its index if it has none.
pub(super) fn class_name(classes: &[String], class: usize) -> String {
    classes.get(class).cloned().unwrap_or_else(|| format!("class {class}"))
}
