//! The numeric code paths of training. A change that moves a result raises the version.

use crate::code_path::{CodePath, code_paths};
use crate::pipeline::{Loss, Optimizer, Precision, Reduction, Train};

code_paths! {
    OPTIMIZER = "optimizer", 1;
    SCHEDULE = "schedule", 1;
    /// All schedules but the constant one and one fall of a cosine.
    SCHEDULES = "schedules", 1;
    CLIPPING = "clipping", 1;
    ACCUMULATION = "accumulation", 1;
    /// Batches that are joined by the weights of their classes.
    WEIGHTED_ACCUMULATION = "weighted_accumulation", 1;
    AVERAGING = "averaging", 1;
    JOINING = "joining", 1;
    /// Gradients of a step that are summed over its images.
    SUMMED_GRADIENTS = "summed_gradients", 1;
    ADAM = "adam", 1;
    /// Biases and momentum that start elsewhere in a warmup.
    WARMUP_FROM = "warmup_from", 1;
    /// The scale of the loss in f16.
    LOSS_SCALE = "loss_scale", 1;
}

/// What a train stage takes.
pub fn of_training(stage: &Train) -> Vec<CodePath> {
    let schedules = !stage.schedule.settings().is_original();
    let warms_up = stage.groups.iter().any(|group| group.warmup_epochs.is_some());
    let mut paths = vec![OPTIMIZER, SCHEDULE];
    paths.extend(schedules.then_some(SCHEDULES));
    paths.extend(stage.clip_norm.map(|_| CLIPPING));
    if stage.accumulate > 1 {
        paths.push(ACCUMULATION);
        paths.extend(stage.loss.class_weights().map(|_| WEIGHTED_ACCUMULATION));
    }
    paths.extend(stage.ema.as_ref().map(|_| AVERAGING));
    let sums = matches!(&stage.loss, Loss::Detection(loss) if loss.reduction == Reduction::Sum);
    paths.extend(sums.then_some(SUMMED_GRADIENTS));
    paths.extend(matches!(stage.optimizer, Optimizer::Adam(_)).then_some(ADAM));
    paths.extend(stage.warmup_from.as_ref().map(|_| WARMUP_FROM));
    paths.extend((stage.precision == Precision::F16).then_some(LOSS_SCALE));
    paths.extend((!stage.unfreeze.is_empty() || warms_up).then_some(JOINING));
    paths
}
