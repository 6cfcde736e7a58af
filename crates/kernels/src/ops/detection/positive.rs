//! The terms of an assigned anchor point, and their gradients for its box logits.

use super::assign::Assigned;
use super::decode::{corners, exponentials_of};
use super::image::ImageLogits;
use super::iou::{Ciou, aspect};
use super::loss::{DetectionGains, TargetBox};
use crate::ops::float::Float;

/// Targets end this far before the last bin, so that there is always a bin above.
const BELOW_LAST: f64 = 0.01;

/// An anchor point that learns an object.
pub struct Positive {
    pub image: usize,
    pub anchor: usize,
    pub class: usize,
    /// The target of the class, and the weight of the other terms.
    pub score: f64,
    /// The logit of the class.
    pub class_logit: f64,
    /// score · (1 − CIoU)
    pub box_loss: f64,
    /// score · the mean distribution focal loss of the sides
    pub distance_loss: f64,
    /// The gradient of box_gain · box_loss + dfl_gain · distance_loss for the box logits, [4 · bins].
    pub slopes: Vec<f64>,
}

/// Computed in units of the stride, unlike the assignment.
pub fn positive<T: Float>(
    logits: &ImageLogits<T>,
    image: usize,
    assigned: Assigned,
    object: &TargetBox,
    gains: &DetectionGains,
) -> Positive {
    let Assigned { anchor, score, .. } = assigned;
    let (bins, (level, cell)) = (logits.anchors.bins, logits.anchors.locate(anchor));
    let grid = &logits.anchors.grids[level];
    let (point, target) = (grid.point(cell), object.corners.map(|corner| corner / grid.stride));
    let sides: Vec<Distribution> =
        logits.of_box(anchor).chunks_exact(bins).map(|logits| Distribution::of(logits)).collect();
    let predicted = corners(point, &std::array::from_fn(|side| sides[side].mean));
    let ciou = Ciou::of((&target, aspect(&target)), (&predicted, aspect(&predicted)));
    let distances = [point[0] - target[0], point[1] - target[1], target[2] - point[0], target[3] - point[1]];
    // Left and top decrease when their distance grows.
    let signs = [-1.0, -1.0, 1.0, 1.0];
    let (mut slopes, mut surprise) = (Vec::with_capacity(4 * bins), 0.0);
    for (side, slope) in ciou.gradient().into_iter().enumerate() {
        let of_box = -gains.box_gain * score * slope * signs[side];
        let of_distance = gains.dfl_gain * score / 4.0;
        let target = TwoBins::of(distances[side], bins);
        surprise += sides[side].surprise(&target) / 4.0;
        let towards = |(bin, probability): (usize, &f64)| {
            let off_mean = bin as f64 - sides[side].mean;
            of_box * probability * off_mean + of_distance * (probability - target.share(bin))
        };
        slopes.extend(sides[side].probabilities.iter().enumerate().map(towards));
    }
    Positive {
        image,
        anchor,
        class: object.class as usize,
        score,
        class_logit: logits.of_class(anchor, object.class),
        box_loss: score * (1.0 - ciou.value()),
        distance_loss: score * surprise,
        slopes,
    }
}

/// A distance as a mixture of the two bins around it: Li et al., *Generalized Focal Loss* (NeurIPS 2020, arXiv
/// 2006.04388), eq. 6.
struct TwoBins {
    lower: usize,
    shares: [f64; 2],
}

impl TwoBins {
    fn of(distance: f64, bins: usize) -> Self {
        let distance = distance.clamp(0.0, (bins - 1) as f64 - BELOW_LAST);
        let lower = distance.floor();
        Self { lower: lower as usize, shares: [lower + 1.0 - distance, distance - lower] }
    }

    fn share(&self, bin: usize) -> f64 {
        bin.checked_sub(self.lower).and_then(|place| self.shares.get(place)).copied().unwrap_or(0.0)
    }
}

/// The softmax of a side's logits.
struct Distribution {
    probabilities: Vec<f64>,
    /// log Σ e^logit − the logit, of each bin.
    surprises: Vec<f64>,
    mean: f64,
}

impl Distribution {
    fn of<T: Float>(logits: &[T]) -> Self {
        let mut exponentials = vec![T::ZERO; logits.len()];
        let largest = exponentials_of(logits, &mut exponentials).widen();
        let sum: f64 = exponentials.iter().map(|exponential| exponential.widen()).sum();
        let probabilities: Vec<f64> =
            exponentials.iter().map(|exponential| exponential.widen() / sum).collect();
        let weighted =
            exponentials.iter().enumerate().map(|(bin, exponential)| bin as f64 * exponential.widen());
        let mean = weighted.sum::<f64>() / sum;
        let log_sum = libm::log(sum);
        let surprises = logits.iter().map(|logit| log_sum - (logit.widen() - largest)).collect();
        Self { probabilities, surprises, mean }
    }

    /// The cross-entropy against a target.
    fn surprise(&self, target: &TwoBins) -> f64 {
        let [lower, upper] = [self.surprises[target.lower], self.surprises[target.lower + 1]];
        target.shares[0] * lower + target.shares[1] * upper
    }
}
