//! The versions of the numeric code paths here, for recipes: a change that moves a result raises its number.

use crate::pipeline::{Schedule, Train};

/// Of what every train stage uses.
pub const VERSIONS: &[(&str, u32)] = &[("optimizer", 1), ("schedule", 1)];

/// Of what a stage uses only if it says so: see [`rare_versions`].
pub const RARE_VERSIONS: &[(&str, u32)] =
    &[("schedules", 1), ("clipping", 1), ("accumulation", 1), ("averaging", 1), ("joining", 1)];

/// Those of [`RARE_VERSIONS`] that a stage uses, so that the recipes of others stay.
pub fn rare_versions(stage: &Train) -> Vec<(&'static str, u32)> {
    let uses = |name| match name {
        "schedules" => match &stage.schedule {
            Schedule::Constant(_) => false,
            Schedule::Cosine(cosine) => cosine.restart_epochs.is_some(),
            _ => true,
        },
        "clipping" => stage.clip_norm.is_some(),
        "accumulation" => stage.accumulate > 1,
        "averaging" => stage.ema.is_some(),
        "joining" => {
            !stage.unfreeze.is_empty() || stage.groups.iter().any(|group| group.warmup_epochs.is_some())
        }
        _ => false,
    };
    RARE_VERSIONS.iter().copied().filter(|(name, _)| uses(*name)).collect()
}
