//! Distillation of a detection head: classes by binary cross-entropy against the teacher's scores, and the distributions
//! over distances as in Zheng et al., *Localization Distillation for Dense Object Detection* (CVPR 2022, arXiv 2102.12252),
//! section 3.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::anchors::{Anchors, DetectionLevel};
use super::decode::exponentials_of;
use super::loss::at_least_one;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};
use crate::ops::class_loss::scaled_gradient;
use crate::ops::deferred::Deferred;
use crate::ops::float::{Float, by_dtype, tensor, with_slices};
use crate::ops::on_host::{gradient_like, loss_like, on_host};

/// The weights of the terms, and how soft the distributions over distances become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DistillationGains {
    /// Of binary cross-entropy over anchor points and classes.
    pub class_gain: f64,
    /// Of the divergence of distances.
    pub box_gain: f64,
    /// The box logits of both models are divided by this before the softmax over the bins of a side.
    pub temperature: f64,
}

/// The distillation loss of a batch.
pub struct DetectionDistillation {
    /// The sum of the weighted terms: a scalar on the tape, not multiplied by the number of images.
    pub total: Value,
    /// The weighted terms: classes, boxes.
    pub terms: Deferred<f64>,
}

/// The distance of a head's outputs from those of a teacher for the same images.
///
/// The weight w of an anchor point is the teacher's highest class score there, so that the background does not dominate.
/// The class term is the binary cross-entropy against the teacher's scores, summed over all anchor points and classes.
/// The box term is Σ w · temperature² · KL(teacher ‖ student) of the softmax over the bins of a side, averaged over the
/// four sides. Both are sums over the batch, divided by Σ w or 1 if that is less, as Σ t divides
/// [`detection_loss`](super::detection_loss). The teacher gets no gradient.
///
/// On a GPU, the host computes it: the outputs are copied there, and the gradients back.
///
/// # Errors
/// A bug: outputs of other shapes.
pub fn detection_distillation(
    tape: &mut Tape,
    student: &[DetectionLevel],
    teacher: &[DetectionLevel],
    gains: &DistillationGains,
) -> Result<DetectionDistillation> {
    let anchors = Anchors::of(student)?;
    if anchors != Anchors::of(teacher)? {
        return Err(Error::bug("a student's and a teacher's detection head of different shapes"));
    }
    let host_maps = |levels: &[DetectionLevel]| -> Result<Vec<[Tensor; 2]>> {
        let maps = |level: &DetectionLevel| {
            Ok([on_host(level.box_logits.tensor())?, on_host(level.class_logits.tensor())?])
        };
        levels.iter().map(maps).collect()
    };
    let (student_maps, teacher_maps) = (host_maps(student)?, host_maps(teacher)?);
    let inputs: Vec<&Value> =
        student.iter().flat_map(|level| [level.box_logits, level.class_logits]).collect();
    let wants_gradient = inputs.iter().any(|input| !input.is_constant());
    let Terms { values, gradients } = by_dtype!(student_maps[0][0], T => {
        of_maps::<T>(&anchors, &student_maps, &teacher_maps, gains, wants_gradient)
    })?;
    let first = inputs[0].tensor();
    let total =
        Tensor::new(values.iter().sum::<f64>(), &Device::Cpu)?.to_dtype(student_maps[0][0].dtype())?;
    let gradients =
        gradients.iter().zip(&inputs).map(|(gradient, map)| gradient_like(gradient, map.tensor()));
    let gradients = gradients.collect::<Result<Vec<_>>>()?;
    let total = tape.record(&inputs, loss_like(&total, first)?, || SavedGradients(gradients));
    Ok(DetectionDistillation { total, terms: Deferred::ready(values.to_vec()) })
}

/// The weighted terms, and the gradients of their sum for the box logits and class logits of each level, in turn; none
/// where no gradient is wanted.
struct Terms {
    values: [f64; 2],
    gradients: Vec<Tensor>,
}

fn of_maps<T: Float>(
    anchors: &Anchors,
    student: &[[Tensor; 2]],
    teacher: &[[Tensor; 2]],
    gains: &DistillationGains,
    wants_gradient: bool,
) -> Result<Terms> {
    let widths = [4 * anchors.bins, anchors.classes];
    let chunks_of = |([boxes, scores], [teacher_boxes, teacher_scores]): (&[Tensor; 2], &[Tensor; 2])| {
        with_slices(&[boxes, scores, teacher_boxes, teacher_scores], |maps: &[&[T]]| {
            let cells = maps[0].len() / widths[0];
            let chunk = |first: usize| {
                let end = (first + CELLS_PER_TASK).min(cells);
                let part = |map: usize| &maps[map][first * widths[map % 2]..end * widths[map % 2]];
                let logits = CellLogits { student: [part(0), part(1)], teacher: [part(2), part(3)], widths };
                chunk_terms(&logits, gains.temperature, wants_gradient)
            };
            (0..cells).into_par_iter().step_by(CELLS_PER_TASK).map(chunk).collect::<Vec<ChunkTerms<T>>>()
        })
    };
    let levels = student.iter().zip(teacher).map(chunks_of).collect::<Result<Vec<_>>>()?;
    let sum = |of: fn(&ChunkTerms<T>) -> f64| levels.iter().flatten().map(of).sum::<f64>();
    let divisor = at_least_one(sum(|chunk| chunk.weight));
    let [of_boxes, of_classes] = [gains.box_gain, gains.class_gain].map(|gain| gain / divisor);
    let values = [of_classes * sum(|chunk| chunk.cross_entropy), of_boxes * sum(|chunk| chunk.divergence)];
    let mut gradients = Vec::new();
    if wants_gradient {
        for ([boxes, scores], chunks) in student.iter().zip(&levels) {
            let joined = |of: fn(&ChunkTerms<T>) -> &Vec<T>, factor: f64| -> Vec<T> {
                chunks.iter().flat_map(of).map(|slope| T::from_f64(slope.widen() * factor)).collect()
            };
            gradients.push(tensor(joined(|chunk| &chunk.box_slopes, of_boxes), boxes.shape())?);
            gradients.push(tensor(joined(|chunk| &chunk.class_slopes, of_classes), scores.shape())?);
        }
    }
    Ok(Terms { values, gradients })
}

/// The anchor points per task. It decides where sums are split.
const CELLS_PER_TASK: usize = 64;

/// The logits of some cells of a level, each of boxes and of classes.
struct CellLogits<'a, T> {
    student: [&'a [T]; 2],
    teacher: [&'a [T]; 2],
    /// Logits per cell.
    widths: [usize; 2],
}

/// The sums over some cells, and the slopes of each logit, before the gains and the divisor.
struct ChunkTerms<T> {
    weight: f64,
    cross_entropy: f64,
    divergence: f64,
    box_slopes: Vec<T>,
    class_slopes: Vec<T>,
}

fn chunk_terms<T: Float>(logits: &CellLogits<T>, temperature: f64, wants_gradient: bool) -> ChunkTerms<T> {
    let CellLogits { student, teacher, widths } = logits;
    let capacity = |map: usize| if wants_gradient { student[map].len() } else { 0 };
    let mut terms = ChunkTerms {
        weight: 0.0,
        cross_entropy: 0.0,
        divergence: 0.0,
        box_slopes: Vec::with_capacity(capacity(0)),
        class_slopes: Vec::with_capacity(capacity(1)),
    };
    let mut distributions = [Softened::new(widths[0] / 4), Softened::new(widths[0] / 4)];
    let cells = student[0].chunks_exact(widths[0]).zip(student[1].chunks_exact(widths[1]));
    let taught = teacher[0].chunks_exact(widths[0]).zip(teacher[1].chunks_exact(widths[1]));
    for ((boxes, scores), (teacher_boxes, teacher_scores)) in cells.zip(taught) {
        let mut weight = T::ZERO;
        for (logit, teacher_logit) in scores.iter().zip(teacher_scores) {
            let target = teacher_logit.sigmoid();
            // NaN stays NaN.
            weight = if weight > target { weight } else { target };
            // Cross-entropy is linear in the target: log(1 + e^x) − t · x.
            terms.cross_entropy += logit.softplus().widen() - target.widen() * logit.widen();
            if wants_gradient {
                terms.class_slopes.push(logit.sigmoid() - target);
            }
        }
        let weight = weight.widen();
        terms.weight += weight;
        let sides = boxes.chunks_exact(widths[0] / 4).zip(teacher_boxes.chunks_exact(widths[0] / 4));
        for (side, teacher_side) in sides {
            let [own, target] = &mut distributions;
            own.set(side, temperature);
            target.set(teacher_side, temperature);
            let divergence = target.divergence_from(own);
            terms.divergence += weight * temperature * temperature * divergence / 4.0;
            if wants_gradient {
                let slope = |bin: usize| {
                    let apart = own.probability(bin) - target.probability(bin);
                    T::from_f64(weight * temperature * apart / 4.0)
                };
                terms.box_slopes.extend((0..side.len()).map(slope));
            }
        }
    }
    terms
}

/// The softmax of a side's logits over a temperature.
struct Softened<T> {
    /// The logits over the temperature, less the largest.
    shifted: Vec<T>,
    exponentials: Vec<T>,
    sum: f64,
    log_sum: f64,
}

impl<T: Float> Softened<T> {
    fn new(bins: usize) -> Self {
        Self { shifted: vec![T::ZERO; bins], exponentials: vec![T::ZERO; bins], sum: 1.0, log_sum: 0.0 }
    }

    fn set(&mut self, logits: &[T], temperature: f64) {
        for (shifted, logit) in self.shifted.iter_mut().zip(logits) {
            *shifted = T::from_f64(logit.widen() / temperature);
        }
        let largest = exponentials_of(&self.shifted, &mut self.exponentials);
        self.shifted.iter_mut().for_each(|logit| *logit -= largest);
        self.sum = self.exponentials.iter().map(|exponential| exponential.widen()).sum();
        self.log_sum = libm::log(self.sum);
    }

    fn probability(&self, bin: usize) -> f64 {
        self.exponentials[bin].widen() / self.sum
    }

    /// KL(self ‖ other)
    fn divergence_from(&self, other: &Self) -> f64 {
        let part = |bin: usize| {
            let apart = self.shifted[bin].widen() - other.shifted[bin].widen() + other.log_sum - self.log_sum;
            self.probability(bin) * apart
        };
        (0..self.shifted.len()).map(part).sum()
    }
}

struct SavedGradients(Vec<Tensor>);

impl Backward for SavedGradients {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let gradient = |(gradient, wanted): (&Tensor, &bool)| {
            wanted.then(|| scaled_gradient(gradient, &grad)).transpose()
        };
        self.0.iter().zip(wanted).map(gradient).collect()
    }
}
