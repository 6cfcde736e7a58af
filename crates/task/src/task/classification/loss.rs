//! The losses of classification.

use super::targets::ClassTargets;
use crate::autograd::{Tape, Value};
use crate::code_path::CodePath;
use crate::data::Split;
use crate::error::{Error, Result};
use crate::ops::code_paths::{CLASS_LOSS, DISTILLATION, FOCAL, MARGIN};
use crate::ops::{self, Deferred, Margin};
use crate::pipeline::{Distill, Head, Loss};
use crate::task::{TaskProblem, TaskSpec, class_weights};
use crate::train::BatchLoss;

/// The loss of a stage.
#[derive(Clone, Debug)]
pub struct ClassLosses {
    loss: Loss,
    /// The scale of an embedding head's cosines; 1 for other heads.
    scale: f64,
    class_weights: Option<Vec<f64>>,
    distill: Option<Distill>,
}

/// The values that the meter accumulates for a batch.
pub struct ClassificationStats {
    pub scores: Deferred<f32>,
    pub labels: Vec<u32>,
    pub losses: Deferred<f64>,
    /// The weight of each row, if classes have weights.
    pub weights: Option<Vec<f64>>,
    /// [N, K], only if rankings are measured.
    pub probabilities: Option<Deferred<f32>>,
}

impl ClassLosses {
    /// The loss of a train stage. The default is plain cross-entropy.
    pub fn new(spec: &TaskSpec) -> Self {
        let Some(training) = spec.training else {
            return Self { loss: Loss::default(), scale: 1.0, class_weights: None, distill: None };
        };
        let loss = &training.settings.loss;
        let images: Vec<usize> = match training.dataset {
            Some(dataset) => dataset.counts().iter().map(|counts| counts[Split::Train as usize]).collect(),
            None => vec![1; spec.classes.len()],
        };
        let scale = match spec.head {
            Head::Embedding(embedding) => embedding.scale,
            Head::Linear(_) | Head::Mlp(_) | Head::Detect(_) | Head::Projection(_) => 1.0,
        };
        let class_weights = loss.class_weights().map(|weights| weights.resolve(spec.classes, &images));
        Self { loss: loss.clone(), scale, class_weights, distill: training.settings.distill.clone() }
    }

    /// Refuses a loss that the head or the classes do not allow.
    pub fn check(&self, spec: &TaskSpec) -> Result<(), TaskProblem> {
        if self.loss.needs_cosines() && !matches!(spec.head, Head::Embedding(_)) {
            let help = "use `head = { kind = \"embedding\", dimension = 512 }` in the model, or another loss";
            return Err(TaskProblem {
                setting: "loss".to_owned(),
                code: "conflict",
                message: "this loss needs cosines, which this head does not compute".to_owned(),
                help: Some(help.to_owned()),
            });
        }
        let dataset = spec.training.and_then(|training| training.dataset);
        class_weights::check(spec, self.loss.class_weights(), "class_weights", dataset)
    }

    pub fn code_paths(&self, mixes: bool) -> Vec<CodePath> {
        let mut paths = match &self.loss {
            Loss::CrossEntropy(loss) if loss.class_weights.is_none() && !mixes => Vec::new(),
            Loss::CrossEntropy(_) => vec![CLASS_LOSS],
            Loss::Focal(_) => vec![CLASS_LOSS, FOCAL],
            Loss::Arcface(_) | Loss::Cosface(_) => vec![CLASS_LOSS, MARGIN],
            // Validation of the pipeline file refuses a loss of another task.
            Loss::Bce(_) | Loss::Detection(_) | Loss::NtXent(_) | Loss::Triplet(_) | Loss::Supcon(_) => {
                Vec::new()
            }
        };
        paths.extend(self.distill.as_ref().map(|_| DISTILLATION));
        paths
    }

    /// The loss of `scores` [N, K].
    pub fn of(
        &self,
        tape: &mut Tape,
        scores: &Value,
        targets: &ClassTargets,
    ) -> Result<BatchLoss<ClassificationStats>> {
        let read = Deferred::from_tensor(scores.tensor())?;
        let class_weights = self.class_weights.as_deref();
        let margin_loss = |margin| ops::MarginLoss { margin, scale: self.scale, class_weights };
        let losses = match (&self.loss, targets) {
            (Loss::CrossEntropy(loss), ClassTargets::Classes(labels)) if class_weights.is_none() => {
                let (mean, losses) = ops::cross_entropy(tape, scores, labels, loss.label_smoothing)?;
                let stats = ClassificationStats {
                    scores: read,
                    labels: labels.clone(),
                    losses,
                    weights: None,
                    probabilities: None,
                };
                return Ok(BatchLoss { mean, weight: labels.len() as f64, stats });
            }
            (Loss::Bce(_) | Loss::Detection(_) | Loss::NtXent(_) | Loss::Triplet(_) | Loss::Supcon(_), _) => {
                return Err(Error::bug("a loss of labels for one class each"));
            }
            (Loss::CrossEntropy(loss), _) => {
                let loss = ops::CrossEntropy { label_smoothing: loss.label_smoothing, class_weights };
                ops::class_loss(tape, scores, &targets.mixtures(), &loss)
            }
            (Loss::Focal(loss), _) => {
                let loss = ops::Focal { gamma: loss.gamma, class_weights };
                ops::class_loss(tape, scores, &targets.mixtures(), &loss)
            }
            (Loss::Arcface(loss), _) => {
                let margin = Margin::Angle { margin: loss.margin, easy: loss.easy_margin };
                ops::class_loss(tape, scores, &targets.mixtures(), &margin_loss(margin))
            }
            (Loss::Cosface(loss), _) => {
                let margin = Margin::Cosine { margin: loss.margin };
                ops::class_loss(tape, scores, &targets.mixtures(), &margin_loss(margin))
            }
        }?;
        let ops::WeightedLoss { mean, rows: losses, weights } = losses;
        let weights = class_weights.map(|_| weights);
        // Without class weights each row counts once, regardless of rounding in the mixture's weights.
        let weight = weights.as_ref().map_or(targets.rows() as f64, |weights| weights.iter().sum());
        let (labels, probabilities) = (targets.labels().into_owned(), None);
        let stats = ClassificationStats { scores: read, labels, losses, weights, probabilities };
        Ok(BatchLoss { mean, weight, stats })
    }

    /// The divergence of `scores` [N, K] from those of a teacher.
    pub fn distillation(&self, tape: &mut Tape, scores: &Value, teacher: &Value) -> Result<Value> {
        let Some(distill) = &self.distill else {
            return Err(Error::bug("a teacher in a stage without distillation"));
        };
        ops::distillation(tape, scores, teacher.tensor(), distill.temperature)
    }

    /// The shares of the labels and of the teacher.
    pub fn distillation_shares(&self) -> [f64; 2] {
        let share = self.distill.as_ref().map_or(0.0, Distill::weight);
        [1.0 - share, share]
    }
}
