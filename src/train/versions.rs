//! The versions of the numeric code paths here, for recipes: a change that moves a result raises its number.

use crate::pipeline::{Schedule, Train};

/// Of what every train stage uses.
pub const VERSIONS: &[(&str, u32)] = &[("optimizer", 1), ("schedule", 1)];

/// Of what a stage uses only if it says so: see [`optional_versions`].
pub const OPTIONAL_VERSIONS: &[(&str, u32)] = &[("schedules", 1)];

/// Those of [`OPTIONAL_VERSIONS`] that a stage uses, so that the recipes of others stay.
pub fn optional_versions(stage: &Train) -> Vec<(&'static str, u32)> {
    let uses = |name| match name {
        "schedules" => match &stage.schedule {
            Schedule::Constant(_) => false,
            Schedule::Cosine(cosine) => cosine.restart_epochs.is_some(),
            _ => true,
        },
        _ => false,
    };
    OPTIONAL_VERSIONS.iter().copied().filter(|(name, _)| uses(*name)).collect()
}
