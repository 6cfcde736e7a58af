//! Annotations of a sample: a class, any number of labels, or objects in boxes.

use std::borrow::Cow;
use std::fmt::Write;

pub use crate::pipeline::LabelKind;

/// The annotation of a sample. Numbers are indices into [`Dataset::classes`](super::Dataset::classes).
#[derive(Clone, Debug, PartialEq)]
pub enum Label {
    /// One class; in recognition, the identity.
    Class(u32),
    /// Any number of labels, ascending and unique.
    Labels(Vec<u32>),
    /// Any number of objects.
    Boxes(Vec<LabelledBox>),
}

/// An object: its class and the box around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelledBox {
    pub class: u32,
    pub area: BoxArea,
    /// Whether it is a group of objects in one box (COCO's `iscrowd`). A crowd is no target in training. In evaluation,
    /// predictions inside it are neither hits nor misses.
    pub crowd: bool,
    /// Whether it is marked as difficult and settings say to ignore such objects (Pascal VOC): no target in training,
    /// neither a hit nor a miss in evaluation.
    pub difficult: bool,
    /// The area of the object itself in pixels of the file (COCO's `area`, by which objects are small, medium or
    /// large), if it is given and differs from that of the box.
    pub pixel_area: Option<f64>,
}

impl LabelledBox {
    /// An ordinary object.
    pub fn new(class: u32, area: BoxArea) -> Self {
        Self { class, area, crowd: false, difficult: false, pixel_area: None }
    }

    /// The area of the object in pixels of an image of this width and height, by which it is small, medium or large.
    /// An area that is not given is that of the box, without the rounding of fractions: a box of 32 × 32 pixels has
    /// an area of exactly 1,024, the limit between two of COCO's size ranges.
    pub fn area_in(&self, [width, height]: [u32; 2]) -> f64 {
        let BoxArea { left, top, right, bottom } = self.area;
        let of_box = (right - left) * f64::from(width) * ((bottom - top) * f64::from(height));
        self.pixel_area.unwrap_or((of_box * 1e6).round() / 1e6)
    }

    /// Whether it is no target in training.
    pub fn is_ignored(&self) -> bool {
        self.crowd || self.difficult
    }
}

/// A box, in fractions of the width and height of the upright image. A format can therefore read boxes without
/// opening images, and a resize does not change them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxArea {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Label {
    /// The classes of the sample, ascending and unique.
    pub fn classes(&self) -> Cow<'_, [u32]> {
        match self {
            Self::Class(class) => Cow::Borrowed(std::slice::from_ref(class)),
            Self::Labels(labels) => Cow::Borrowed(labels),
            Self::Boxes(boxes) => {
                let mut classes: Vec<u32> = boxes.iter().map(|object| object.class).collect();
                classes.sort_unstable();
                classes.dedup();
                Cow::Owned(classes)
            }
        }
    }

    /// The class, if the label kind has exactly one per sample.
    pub fn class(&self) -> Option<u32> {
        match self {
            Self::Class(class) => Some(*class),
            _ => None,
        }
    }

    /// The objects of a sample; empty if the label has no boxes.
    pub fn boxes(&self) -> &[LabelledBox] {
        match self {
            Self::Boxes(boxes) => boxes,
            _ => &[],
        }
    }

    /// The text that a recipe hashes: the classes, and boxes if the label has them.
    pub fn recipe_text(&self) -> String {
        let Self::Boxes(boxes) = self else {
            return self.classes().iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        };
        let mut text = "boxes".to_owned();
        for LabelledBox { class, area: BoxArea { left, top, right, bottom }, crowd, difficult, pixel_area } in
            boxes
        {
            // Rust prints the shortest digits that parse to the same number.
            write!(text, ";{class} {left} {top} {right} {bottom}").expect("text can be written");
            if *crowd {
                text.push_str(" crowd");
            }
            if *difficult {
                text.push_str(" difficult");
            }
            if let Some(area) = pixel_area {
                write!(text, " area={area}").expect("text can be written");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(class: u32, left: f64) -> LabelledBox {
        LabelledBox::new(class, BoxArea { left, top: 0.25, right: 0.5, bottom: 1.0 })
    }

    #[test]
    fn classes_are_ascending_and_counted_once() {
        assert_eq!(*Label::Class(3).classes(), [3]);
        assert_eq!(*Label::Labels(vec![0, 4]).classes(), [0, 4]);
        assert_eq!(*Label::Boxes(vec![object(2, 0.0), object(0, 0.1), object(2, 0.2)]).classes(), [0, 2]);
        assert_eq!((Label::Class(3).class(), Label::Labels(vec![3]).class()), (Some(3), None));
    }

    #[test]
    fn areas_of_whole_pixels_are_whole() {
        // The places of a box of 32 pixels in images of 160 and 1,280 pixels.
        for side in [160_u32, 1280] {
            for start in 0..=side - 32 {
                let [left, right] = [start, start + 32].map(|place| f64::from(place) / f64::from(side));
                let square = LabelledBox::new(0, BoxArea { left, top: left, right, bottom: right });
                assert_eq!(square.area_in([side, side]), 1024.0, "{start} of {side}");
            }
        }
        let given = LabelledBox { pixel_area: Some(12.25), ..object(0, 0.0) };
        assert_eq!(given.area_in([640, 480]), 12.25);
        assert_eq!(object(0, 0.25).area_in([2, 2]), 0.75);
    }

    #[test]
    fn boxes_enter_the_text_of_a_recipe_only_where_there_are_boxes() {
        assert_eq!(Label::Class(3).recipe_text(), "3");
        assert_eq!(Label::Labels(vec![0, 4]).recipe_text(), "0,4");
        assert_eq!(Label::Labels(vec![]).recipe_text(), "");
        let boxes = Label::Boxes(vec![object(2, 0.1), object(0, 0.0)]);
        assert_eq!(boxes.recipe_text(), "boxes;2 0.1 0.25 0.5 1;0 0 0.25 0.5 1");
        assert_eq!(Label::Boxes(vec![]).recipe_text(), "boxes");
        let marked = LabelledBox { crowd: true, difficult: true, pixel_area: Some(12.5), ..object(1, 0.0) };
        assert_eq!(
            Label::Boxes(vec![marked, object(0, 0.0)]).recipe_text(),
            "boxes;1 0 0.25 0.5 1 crowd difficult area=12.5;0 0 0.25 0.5 1"
        );
    }
}
