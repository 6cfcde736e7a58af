//! Settings of the machine, as written in a pipeline file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Slurm;

/// Where and how fast to run. Nothing here changes a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// The device: `auto`, `cpu` or `cuda:N`.
    #[schemars(regex(pattern = r"^(auto|cpu|cuda:[0-9]+)$"))]
    pub device: String,
    /// Number of threads that compute. Defaults to all processors.
    #[schemars(range(min = 1, max = 1024))]
    pub threads: Option<usize>,
    /// Number of threads that read and decode images. Defaults to `threads`.
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<usize>,
    /// Seconds between checkpoints: if a run is killed, at most this much work is lost.
    #[schemars(range(min = 0))]
    pub checkpoint_seconds: f64,
    /// Memory for decoded images that a stage keeps from epoch to epoch, such as `512MiB`; or `off`.
    #[schemars(regex(pattern = r"^(off|[0-9]{1,6} ?(MB|GB|TB|MiB|GiB|TiB))$"))]
    pub image_cache: String,
    /// Most disk space for features of frozen layers, such as `32GiB`; or `on` (no limit), or `off`.
    #[schemars(regex(pattern = r"^(on|off|[0-9]{1,6} ?(MB|GB|TB|MiB|GiB|TiB))$"))]
    pub feature_cache: String,
    /// Whether train stages keep their optimizer state, so that a later run with more `epochs` continues where this one
    /// ended. It takes up to four times the space of the trained parameters.
    pub keep_training_state: bool,
    /// Whether to also write the numbers of each epoch for TensorBoard, to `tensorboard` in the run directory.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tensorboard: bool,
    /// What each run asks a Slurm cluster for, with `defrost submit`. Other commands ignore it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slurm: Option<Slurm>,
}

impl Run {
    /// The most bytes that decoded images may take.
    pub fn image_bytes(&self) -> usize {
        bytes(&self.image_cache).map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// The most bytes that features of frozen layers may take; `None` if they are not kept.
    pub fn feature_bytes(&self) -> Option<u64> {
        bytes(&self.feature_cache)
    }
}

/// The bytes of a size as the schema allows it; `u64::MAX` for `on`, `None` for `off`.
pub(super) fn bytes(size: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 6] = [
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];
    match size {
        "off" => None,
        "on" => Some(u64::MAX),
        size => UNITS.iter().find_map(|(unit, bytes)| {
            let number: u64 = size.strip_suffix(unit)?.trim_end().parse().unwrap_or(u64::MAX);
            Some(number.saturating_mul(*bytes))
        }),
    }
}

impl Default for Run {
    fn default() -> Self {
        Self {
            device: "auto".into(),
            threads: None,
            workers: None,
            checkpoint_seconds: 60.0,
            keep_training_state: true,
            tensorboard: false,
            slurm: None,
            image_cache: "1GiB".into(),
            feature_cache: "32GiB".into(),
        }
    }
}
