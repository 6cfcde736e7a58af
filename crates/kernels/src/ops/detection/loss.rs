//! The sum of the three terms, and its gradient.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::anchors::{Anchors, DetectionLevel};
use super::assign::{Assigned, assign};
use super::gradient::LossGradient;
use super::image::ImageLogits;
use super::iou::Corners;
use super::positive::{Positive, positive};
use crate::autograd::{Tape, Value};
use crate::error::{Error, Result};
use crate::ops::buffer::ELEMENTS_PER_TASK;
use crate::ops::deferred::Deferred;
use crate::ops::float::{Float, by_dtype, with_slices};
use crate::ops::multiversion::multiversion;
use crate::ops::on_cuda::on_cuda;

/// An object of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TargetBox {
    pub class: u32,
    /// In pixels of the network's input: left, top, right, bottom.
    pub corners: Corners,
}

/// The weights of the terms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectionGains {
    /// Of 1 − CIoU.
    pub box_gain: f64,
    /// Of binary cross-entropy over anchor points and classes.
    pub class_gain: f64,
    /// Of the cross-entropy of distances.
    pub dfl_gain: f64,
}

/// The loss of a batch.
pub struct DetectionLoss {
    /// The sum of the weighted terms: a scalar on the tape, not multiplied by the number of images.
    pub total: Value,
    /// The weighted terms: boxes, classes, distances.
    pub terms: Deferred<f64>,
}

/// The loss of a head's outputs against the objects of each image.
///
/// Anchor points are assigned to objects with scores t ([`assign`](super::assign)). The terms are binary
/// cross-entropy of all classes against t, and for assigned anchor points, weighted by t, 1 − CIoU and the
/// distribution focal loss. Each is a sum over the batch, divided by Σ t or 1 if that is less. A loss that is
/// not finite is returned unchanged.
pub fn detection_loss(
    tape: &mut Tape,
    levels: &[DetectionLevel],
    targets: &[Vec<TargetBox>],
    gains: &DetectionGains,
) -> Result<DetectionLoss> {
    let anchors = Anchors::of(levels)?;
    let fits = |target: &TargetBox| {
        (target.class as usize) < anchors.classes && target.corners.iter().all(|corner| corner.is_finite())
    };
    if targets.len() != anchors.images || !targets.iter().flatten().all(fits) {
        let (images, lists) = (anchors.images, targets.len());
        return Err(Error::bug(format!(
            "{lists} lists of boxes for {images} images of {} classes, or a box that is not finite",
            anchors.classes
        )));
    }
    let first = levels[0].box_logits.tensor();
    on_cuda!(first, super::cuda::forward(tape, levels, anchors, targets, gains));
    by_dtype!(first, T => forward::<T>(tape, levels, anchors, targets, gains, |logits, _, objects| {
        assign(logits, objects)
    }))
}

/// `choose` assigns anchor points of an image, given its logits, index and objects.
pub(super) fn forward<T: Float>(
    tape: &mut Tape,
    levels: &[DetectionLevel],
    anchors: Anchors,
    targets: &[Vec<TargetBox>],
    gains: &DetectionGains,
    choose: impl Fn(&ImageLogits<T>, usize, &[TargetBox]) -> Vec<Assigned> + Sync,
) -> Result<DetectionLoss> {
    let box_logits: Vec<&Tensor> = levels.iter().map(|level| level.box_logits.tensor()).collect();
    let class_logits: Vec<&Tensor> = levels.iter().map(|level| level.class_logits.tensor()).collect();
    let (positives, against_zero) = with_slices(&box_logits, |boxes: &[&[T]]| {
        with_slices(&class_logits, |classes: &[&[T]]| {
            let of_image = |(image, objects): (usize, &Vec<TargetBox>)| -> Vec<Positive> {
                let logits = ImageLogits::of(&anchors, image, boxes, classes);
                let assigned = choose(&logits, image, objects);
                let positive = |one: &Assigned| positive(&logits, image, *one, &objects[one.object], gains);
                assigned.iter().map(positive).collect()
            };
            let positives: Vec<Vec<Positive>> = targets.par_iter().enumerate().map(of_image).collect();
            (positives.into_iter().flatten().collect::<Vec<_>>(), sum_against_zero(classes))
        })
    })??;
    let sum = |of: fn(&Positive) -> f64| positives.iter().map(of).sum::<f64>();
    let divisor = at_least_one(sum(|positive| positive.score));
    // Cross-entropy is linear in the target: log(1 + e^x) − t · x.
    let targeted = sum(|positive| positive.score * positive.class_logit);
    let terms = [
        gains.box_gain * sum(|positive| positive.box_loss) / divisor,
        gains.class_gain * (against_zero - targeted) / divisor,
        gains.dfl_gain * sum(|positive| positive.distance_loss) / divisor,
    ];
    let total = Tensor::new(T::from_f64(terms.iter().sum()), &Device::Cpu)?;
    let inputs: Vec<&Value> =
        levels.iter().flat_map(|level| [level.box_logits, level.class_logits]).collect();
    let total = tape.record(&inputs, total, || LossGradient {
        class_logits: class_logits.into_iter().cloned().collect(),
        class_factor: gains.class_gain / divisor,
        box_factor: 1.0 / divisor,
        anchors,
        positives,
    });
    Ok(DetectionLoss { total, terms: Deferred::ready(terms.to_vec()) })
}

/// NaN stays NaN.
pub fn at_least_one(sum: f64) -> f64 {
    if sum < 1.0 { 1.0 } else { sum }
}

/// The binary cross-entropy of all logits against 0, summed.
fn sum_against_zero<T: Float>(levels: &[&[T]]) -> f64 {
    let of_level = |logits: &&[T]| -> Vec<f64> {
        logits.par_chunks(ELEMENTS_PER_TASK).map(|logits| sum_of_softplus(logits)).collect()
    };
    levels.iter().flat_map(of_level).sum()
}

/// Partial sums per task, so that the compiler vectorises the additions.
const LANES: usize = 16;

multiversion! {
    fn sum_of_softplus<T: Float>(logits: &[T]) -> f64 {
        let (mut sums, mut losses) = ([0.0; LANES], [T::ZERO; 16 * LANES]);
        for logits in logits.chunks(losses.len()) {
            for (loss, logit) in losses.iter_mut().zip(logits) {
                *loss = logit.softplus();
            }
            for losses in losses[..logits.len()].chunks(LANES) {
                for (sum, loss) in sums.iter_mut().zip(losses) {
                    *sum += loss.widen();
                }
            }
        }
        sums.iter().sum()
    }
}
