//! Which anchor points learn which object: Feng et al., *TOOD: Task-aligned One-stage Object Detection* (ICCV
//! 2021, arXiv 2108.07755), section 3.3.
//!
//! An anchor point inside a box is aligned with it as far as its prediction has the right class and overlaps.
//! Each object takes the most aligned anchor points. No gradient flows through the choice.

use super::TargetBox;
use super::anchors::Anchors;
use super::decode::{corners, distances};
use super::image::ImageLogits;
use super::iou::{Ciou, Corners, aspect};
use crate::ops::float::Float;

/// Anchor points per object.
const TAKEN: usize = 10;
/// Keeps quotients finite.
const EPSILON: f64 = 1e-9;

/// An anchor point that learns an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assigned {
    pub anchor: usize,
    /// The object's index in the image.
    pub object: usize,
    /// The target of the object's class, and the weight in the other terms.
    pub score: f64,
}

/// The assigned anchor points of an image, in order.
///
/// An anchor point with a NaN prediction inside a box is always assigned, so that the loss becomes NaN.
pub fn assign<T: Float>(logits: &ImageLogits<T>, objects: &[TargetBox]) -> Vec<Assigned> {
    let mut claims = Vec::new();
    let mut predictions = Predictions::new(logits);
    let objects: Vec<Object> = objects.iter().map(|object| Object::new(logits.anchors, object)).collect();
    for (index, object) in objects.iter().enumerate() {
        let mut best: Vec<Claim> = Vec::with_capacity(TAKEN + 1);
        logits.anchors.inside(&object.area, |anchor| {
            let claim = predictions.claim(anchor, index, object);
            let place = best.iter().position(|other| is_above(claim.alignment, other.alignment));
            if is_above(claim.alignment, 0.0) && (place.is_some() || best.len() < TAKEN) {
                best.insert(place.unwrap_or(best.len()), claim);
                best.truncate(TAKEN);
            }
        });
        claims.append(&mut best);
    }
    claims.sort_unstable_by_key(|claim| (claim.anchor, claim.object));
    let settled: Vec<Claim> = claims
        .chunk_by(|one, next| one.anchor == next.anchor)
        .map(|claims| if claims.len() == 1 { claims[0] } else { predictions.settle(claims[0], &objects) })
        .collect();
    // Of each object over its anchor points: the largest alignment and the largest overlap.
    let mut largest = vec![[0.0f64; 2]; objects.len()];
    for claim in &settled {
        let [alignment, overlap] = &mut largest[claim.object];
        (*alignment, *overlap) = (alignment.max(claim.alignment), overlap.max(claim.overlap));
    }
    let score = |claim: &Claim| {
        let [alignment, overlap] = largest[claim.object];
        claim.alignment * overlap / (alignment + EPSILON)
    };
    settled
        .iter()
        .map(|claim| Assigned { anchor: claim.anchor, object: claim.object, score: score(claim) })
        .collect()
}

/// Order with NaN above all numbers.
fn is_above(a: f64, b: f64) -> bool {
    a > b || (a.is_nan() && !b.is_nan())
}

struct Object {
    class: u32,
    corners: Corners,
    aspect: f64,
    /// Where its anchor points must be.
    area: Corners,
}

impl Object {
    fn new(anchors: &Anchors, object: &TargetBox) -> Self {
        let corners = object.corners;
        Self { class: object.class, corners, aspect: aspect(&corners), area: anchors.search_area(&corners) }
    }
}

/// An object's interest in an anchor point inside its box.
#[derive(Clone, Copy)]
struct Claim {
    anchor: usize,
    object: usize,
    overlap: f64,
    alignment: f64,
}

/// The predicted boxes of an image, decoded when they are first used: most anchor points are inside no box.
struct Predictions<'a, T> {
    logits: &'a ImageLogits<'a, T>,
    scratch: Vec<T>,
    /// The place of an anchor point's box in `decoded`, plus one.
    places: Vec<u32>,
    /// In pixels, with their aspects.
    decoded: Vec<(Corners, f64)>,
}

impl<'a, T: Float> Predictions<'a, T> {
    fn new(logits: &'a ImageLogits<'a, T>) -> Self {
        let (points, width) = (logits.anchors.count(), 4 * logits.anchors.bins);
        Self { logits, scratch: vec![T::ZERO; width], places: vec![0; points], decoded: Vec::new() }
    }

    fn claim(&mut self, anchor: usize, index: usize, object: &Object) -> Claim {
        let (predicted, predicted_aspect) = self.predicted(anchor);
        let overlap = Ciou::of((&object.corners, object.aspect), (&predicted, predicted_aspect)).value();
        let overlap = if overlap < 0.0 { 0.0 } else { overlap };
        let alignment = match overlap == 0.0 {
            true => 0.0,
            false => {
                let score = Float::sigmoid(self.logits.of_class(anchor, object.class));
                score.sqrt() * (overlap * overlap * overlap) * (overlap * overlap * overlap)
            }
        };
        Claim { anchor, object: index, overlap, alignment }
    }

    /// The claim of the object with the largest overlap, the first of equals. Objects that did not take the
    /// anchor point count too, if it is inside their box.
    fn settle(&mut self, claim: Claim, objects: &[Object]) -> Claim {
        let mut winner: Option<Claim> = None;
        for (index, object) in objects.iter().enumerate() {
            if self.logits.anchors.is_inside(claim.anchor, &object.area) {
                let rival = self.claim(claim.anchor, index, object);
                if winner.is_none_or(|winner| is_above(rival.overlap, winner.overlap)) {
                    winner = Some(rival);
                }
            }
        }
        winner.unwrap_or(claim)
    }

    fn predicted(&mut self, anchor: usize) -> (Corners, f64) {
        if self.places[anchor] == 0 {
            let (level, cell) = self.logits.anchors.locate(anchor);
            let grid = &self.logits.anchors.grids[level];
            let distances = distances(self.logits.of_box(anchor), &mut self.scratch);
            let corners = corners(grid.point(cell), &distances).map(|corner| corner * grid.stride);
            self.decoded.push((corners, aspect(&corners)));
            self.places[anchor] = self.decoded.len() as u32;
        }
        self.decoded[self.places[anchor] as usize - 1]
    }
}
