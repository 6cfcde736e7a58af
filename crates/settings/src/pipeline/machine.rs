//! The machine, as written in a pipeline file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where and how fast: nothing here changes a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// `auto`, `cpu` or `cuda:N`.
    #[schemars(regex(pattern = r"^(auto|cpu|cuda:[0-9]+)$"))]
    pub device: String,
    /// Threads for computing; all processors if left out.
    #[schemars(range(min = 1, max = 1024))]
    pub threads: Option<usize>,
    /// Threads that read and decode images; as many as `threads` if left out.
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<usize>,
    /// At most this many seconds of work are lost when a run is killed.
    #[schemars(range(min = 0))]
    pub checkpoint_seconds: f64,
    /// Memory that a stage may spend on keeping decoded images from epoch to epoch, such as `512MiB`; or `off`.
    #[schemars(regex(pattern = r"^(off|[0-9]{1,6} ?(MB|GB|TB|MiB|GiB|TiB))$"))]
    pub image_cache: String,
    /// The most disk that the features of frozen layers may take, such as `32GiB`; or `on` (no limit), or `off`.
    #[schemars(regex(pattern = r"^(on|off|[0-9]{1,6} ?(MB|GB|TB|MiB|GiB|TiB))$"))]
    pub feature_cache: String,
}

impl Run {
    /// The bytes that decoded images may take.
    pub fn image_bytes(&self) -> usize {
        bytes(&self.image_cache).map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// The most bytes that features of frozen layers may take; none where they are not kept.
    pub fn feature_bytes(&self) -> Option<u64> {
        bytes(&self.feature_cache)
    }
}

/// A size as the schema lets it be written: without a limit where it is `on`, none where it is `off`.
fn bytes(size: &str) -> Option<u64> {
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
            image_cache: "1GiB".into(),
            feature_cache: "32GiB".into(),
        }
    }
}
