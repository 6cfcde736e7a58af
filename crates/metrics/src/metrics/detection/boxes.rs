//! Boxes: what was found, what is there, and how much two of them overlap.

use serde::{Deserialize, Serialize};

/// A box that a model predicts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    pub class: u32,
    /// The confidence, 0 to 1. A detection whose score is not finite has no rank and is left out of all metrics.
    pub score: f32,
    /// Left, top, right, bottom, in pixels of the original image.
    pub corners: [f64; 4],
}

/// An object that an annotation describes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroundTruth {
    pub class: u32,
    /// Left, top, right, bottom, in pixels of the original image.
    pub corners: [f64; 4],
    /// In square pixels of the original image: of the outline if the annotation has one, else of the box.
    pub area: f64,
    /// A region of many objects: any number of detections may lie in it. They count neither as hits nor as mistakes.
    pub crowd: bool,
    /// An object that need not be found, such as one marked difficult. The detection of it counts for nothing.
    pub ignored: bool,
}

impl GroundTruth {
    /// Whether it is one of the objects that a model should find.
    pub fn counts(&self) -> bool {
        !self.crowd && !self.ignored
    }
}

/// COCO's ranges of an object's area. Both ends belong to a range: 32² pixels are small and medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeRange {
    All,
    Small,
    Medium,
    Large,
}

impl SizeRange {
    /// In the order of their discriminants, which index arrays by range.
    pub const EVERY: [Self; 4] = [Self::All, Self::Small, Self::Medium, Self::Large];

    /// Square pixels, both ends included.
    pub const fn limits(self) -> (f64, f64) {
        const SMALL: f64 = 32.0 * 32.0;
        const MEDIUM: f64 = 96.0 * 96.0;
        const LARGE: f64 = 1e10;
        match self {
            Self::All => (0.0, LARGE),
            Self::Small => (0.0, SMALL),
            Self::Medium => (SMALL, MEDIUM),
            Self::Large => (MEDIUM, LARGE),
        }
    }

    /// An area that is not a number is in every range.
    pub fn excludes(self, area: f64) -> bool {
        let (least, most) = self.limits();
        area < least || area > most
    }
}

/// Width times height; 0 of a box that is turned over or has a side that is not a number.
pub fn box_area([left, top, right, bottom]: [f64; 4]) -> f64 {
    (right - left).max(0.0) * (bottom - top).max(0.0)
}

fn intersection(a: [f64; 4], b: [f64; 4]) -> f64 {
    box_area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])])
}

/// The share of the union of two boxes that both cover, in 0 to 1; 0 if they do not touch or one is not finite.
pub fn intersection_over_union(a: [f64; 4], b: [f64; 4]) -> f64 {
    let both = intersection(a, b);
    share(both, box_area(a) + box_area(b) - both)
}

/// The part of box `a` that lies in box `b`.
pub fn contained(a: [f64; 4], b: [f64; 4]) -> f64 {
    share(intersection(a, b), box_area(a))
}

/// COCO's overlap of a detection and an object. Of a crowd it is the share of the detection that lies in the crowd.
pub(super) fn overlap(detection: [f64; 4], object: &GroundTruth) -> f64 {
    match object.crowd {
        true => contained(detection, object.corners),
        false => intersection_over_union(detection, object.corners),
    }
}

fn share(part: f64, whole: f64) -> f64 {
    let share = part / whole;
    if part > 0.0 && share.is_finite() { share } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps() {
        let [a, b] = [[0.0, 0.0, 4.0, 2.0], [2.0, 0.0, 6.0, 2.0]];
        assert_eq!(intersection_over_union(a, b), 4.0 / 12.0);
        assert_eq!(intersection_over_union(a, a), 1.0);
        assert_eq!(intersection_over_union(a, [4.0, 0.0, 8.0, 2.0]), 0.0);
        let object = GroundTruth { class: 0, corners: b, area: 8.0, crowd: true, ignored: false };
        assert_eq!(overlap(a, &object), 0.5);
        assert_eq!(overlap(a, &GroundTruth { crowd: false, ..object }), 4.0 / 12.0);
    }

    #[test]
    fn hostile_boxes_overlap_nothing() {
        let good = [0.0, 0.0, 4.0, 2.0];
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let hostile = [
            [nan; 4],
            [0.0, nan, 4.0, 2.0],
            [-inf, -inf, inf, inf],
            [inf; 4],
            [4.0, 2.0, 0.0, 0.0],
            [1.0; 4],
            [0.0, 0.0, inf, 2.0],
        ];
        for each in hostile {
            assert_eq!(intersection_over_union(good, each), 0.0, "{each:?}");
            assert_eq!(intersection_over_union(each, each), 0.0, "{each:?}");
        }
    }

    #[test]
    fn ranges_share_their_ends() {
        let of = |area: f64| SizeRange::EVERY.map(|range| !range.excludes(area));
        assert_eq!(of(1024.0), [true, true, true, false]);
        assert_eq!(of(9216.0), [true, false, true, true]);
        assert_eq!(of(9216.5), [true, false, false, true]);
        assert_eq!(of(f64::INFINITY), [false; 4]);
    }
}
