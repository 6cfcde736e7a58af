//! The outputs for one image of a batch.

use super::anchors::Anchors;
use crate::ops::float::Float;

/// The logits of one image.
pub struct ImageLogits<'a, T> {
    pub anchors: &'a Anchors,
    /// A slice for each level, here and below.
    boxes: Vec<&'a [T]>,
    classes: Vec<&'a [T]>,
}

impl<'a, T: Float> ImageLogits<'a, T> {
    /// Takes an image from the logits of a batch, a slice for each level.
    pub fn of(anchors: &'a Anchors, image: usize, boxes: &[&'a [T]], classes: &[&'a [T]]) -> Self {
        let own = |level: &&'a [T]| {
            let length = level.len() / anchors.images;
            &level[image * length..][..length]
        };
        let (boxes, classes) = (boxes.iter().map(own).collect(), classes.iter().map(own).collect());
        Self { anchors, boxes, classes }
    }

    /// The box logits of an anchor point, [4 · bins].
    pub fn of_box(&self, anchor: usize) -> &'a [T] {
        let ((level, cell), width) = (self.anchors.locate(anchor), 4 * self.anchors.bins);
        &self.boxes[level][cell * width..][..width]
    }

    /// The logit of a class at an anchor point.
    pub fn of_class(&self, anchor: usize, class: u32) -> f64 {
        let (level, cell) = self.anchors.locate(anchor);
        self.classes[level][cell * self.anchors.classes + class as usize].widen()
    }
}
