//! The settings of a train stage.

use serde::Serialize;

use super::is_default;
use crate::pipeline::{
    self, Augment, Distill, EarlyStop, Ema, Features, LabelKind, Loss, Monitor, Optimizer, Precision,
    Sampler, Schedule, WarmupStart,
};

/// The settings of a train stage that are not in the table of its parameters.
#[derive(Serialize)]
pub struct TrainSettings<'a> {
    epochs: u32,
    batch_size: usize,
    optimizer: &'a Optimizer,
    schedule: &'a Schedule,
    loss: &'a Loss,
    augment: &'a Augment,
    monitor: Monitor,
    early_stop: Option<&'a EarlyStop>,
    dropout: f64,
    seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    features: Option<&'a Features>,
    #[serde(skip_serializing_if = "is_default")]
    precision: Precision,
    #[serde(skip_serializing_if = "is_default")]
    stochastic_depth: f64,
    #[serde(skip_serializing_if = "is_one")]
    accumulate: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    clip_norm: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    distill: Option<DistillRecipe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ema: Option<&'a Ema>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warmup_from: Option<&'a WarmupStart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sampler: Option<&'a Sampler>,
}

#[derive(Serialize)]
struct DistillRecipe {
    temperature: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class_weight: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    box_weight: Option<f64>,
}

impl DistillRecipe {
    /// With the weights that apply to the annotations.
    fn of(distill: &Distill, annotations: LabelKind) -> Self {
        let Distill { teacher: _, temperature, weight: _, class_weight: _, box_weight: _ } = distill;
        let (of_boxes, [class_weight, box_weight]) =
            (annotations == LabelKind::Boxes, distill.detection_weights());
        Self {
            temperature: *temperature,
            weight: (!of_boxes).then(|| distill.weight()),
            class_weight: of_boxes.then_some(class_weight),
            box_weight: of_boxes.then_some(box_weight),
        }
    }
}

impl<'a> TrainSettings<'a> {
    pub fn of(settings: &'a pipeline::Train, model: &pipeline::Model, seed: u64) -> Self {
        let pipeline::Train {
            // The recipe has the images that these select, and the digest of the weights.
            from: _,
            data: _,
            // Its settings are written out.
            preset: _,
            image_size: _,
            // The table of parameters is resolved from these.
            freeze: _,
            train: _,
            freeze_first: _,
            train_first: _,
            train_last: _,
            batch_norm: _,
            groups: _,
            unfreeze: _,
            layer_decay: _,
            // The recipe's model has the adapters.
            adapter: _,
            epochs,
            batch_size,
            accumulate,
            sampler,
            optimizer,
            clip_norm,
            ema,
            schedule,
            warmup_from,
            loss,
            distill,
            augment,
            precision,
            features,
            monitor,
            early_stop,
        } = settings;
        Self {
            epochs: *epochs,
            batch_size: *batch_size,
            optimizer,
            schedule,
            loss,
            augment,
            monitor: *monitor,
            early_stop: early_stop.as_ref(),
            dropout: model.head.dropout(),
            seed,
            features: features.as_ref().filter(|features| !is_default(*features)),
            precision: *precision,
            stochastic_depth: model.stochastic_depth,
            accumulate: *accumulate,
            clip_norm: *clip_norm,
            distill: distill.as_ref().map(|distill| DistillRecipe::of(distill, loss.label_kind())),
            ema: ema.as_ref(),
            warmup_from: warmup_from.as_ref(),
            sampler: Some(sampler).filter(|sampler| !sampler.is_default()),
        }
    }
}

fn is_one(number: &u32) -> bool {
    *number == 1
}
