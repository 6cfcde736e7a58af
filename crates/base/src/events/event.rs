//! Events and observers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a stage obtains its result, or how a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageOutcome {
    /// Computed from the beginning.
    Ran,
    /// Found finished in the store (a cache hit).
    Cached,
    /// Resumed from a checkpoint.
    Resumed,
}

impl StageOutcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ran => "ran",
            Self::Cached => "cached",
            Self::Resumed => "resumed",
        }
    }
}

/// How a stage ends without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// An error occurred.
    Failed,
    /// Interrupted, after writing a checkpoint if the stage has any.
    Interrupted,
}

impl StopReason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Something that happened. In files, one JSON object per event; the field `event` gives the kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    RunStarted {
        name: String,
        run_dir: String,
        stages: Vec<String>,
        /// The task of each stage that has one, such as `classification`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        tasks: BTreeMap<String, String>,
        /// The folder of the images of each stage that reads any.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        images: BTreeMap<String, String>,
        /// Folders outside of it, by the names that paths of images begin with, of each stage that reads any.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        outside: BTreeMap<String, BTreeMap<String, String>>,
    },
    StageStarted {
        stage: String,
        kind: String,
        outcome: StageOutcome,
        /// Why the stage is computed (`optimizer.lr 1e-4 → 3e-5`), or on which profile it was computed.
        reason: Option<String>,
    },
    /// What a train stage freezes and trains when it begins.
    Trainable {
        stage: String,
        frozen_parameters: u64,
        trainable_parameters: u64,
        /// The same for people, with layers and norms.
        summary: String,
    },
    /// One optimizer step, or one batch of an evaluation.
    Step {
        stage: String,
        /// From 1.
        epoch: u32,
        epochs: u32,
        /// From 1, within the epoch.
        step: u64,
        steps: u64,
        /// Means over the epoch so far, by metric, each a key of its own.
        #[serde(flatten, with = "super::scores")]
        scores: BTreeMap<String, f64>,
        images_per_second: f64,
        seconds_left: f64,
    },
    /// The weight file uses other names than the model: those of this tool.
    WeightsNamed {
        stage: String,
        names: String,
    },
    /// Weights that fit the model only in part were taken over in a way that the stage asks for.
    WeightsAdapted {
        stage: String,
        what: String,
    },
    /// The features of the frozen layers were computed for more images, once for all epochs.
    Features {
        stage: String,
        done: u64,
        of: u64,
        images_per_second: f64,
    },
    /// How many of the images that a stage needs already have features.
    FeaturesFound {
        stage: String,
        images: u64,
        stored: u64,
    },
    /// The frozen layers run again for every batch; the reason.
    FeaturesRecomputed {
        stage: String,
        reason: String,
    },
    EpochFinished {
        stage: String,
        epoch: u32,
        epochs: u32,
        /// The row of `history.csv`, by column.
        row: Vec<(String, f64)>,
        /// Whether this is the best epoch so far.
        best: bool,
    },
    /// The time of the network alone for an image, in a batch of this size: of the fastest of a few batches.
    InferenceTime {
        stage: String,
        batch: u64,
        seconds_per_image: f64,
    },
    CheckpointWritten {
        stage: String,
        epoch: u32,
        step: u64,
    },
    Warning {
        stage: Option<String>,
        message: String,
    },
    StageFinished {
        stage: String,
        outcome: StageOutcome,
        seconds: f64,
        metrics: BTreeMap<String, f64>,
    },
    /// A stage ended without a result; [`Event::RunFinished`] says why.
    StageStopped {
        stage: String,
        how: StopReason,
        seconds: f64,
    },
    /// A train stage whose best epoch is worse than its starting weights.
    StageDeclined {
        stage: String,
        /// The train stage that provided the starting weights.
        source: String,
        /// The numbers, the likely causes, and what to try.
        message: String,
        causes: Vec<String>,
    },
    /// The duration and memory of a computed stage, with the estimates if there were any.
    StageCost {
        stage: String,
        seconds: f64,
        expected_seconds: Option<f64>,
        /// The peak memory of the process so far; unknown on some systems.
        memory_bytes: Option<u64>,
        expected_memory_bytes: Option<u64>,
    },
    /// The final state of a run: `complete`, `interrupted` or `failed`. An error comes with its hint.
    RunFinished {
        state: String,
        seconds: f64,
        error: Option<String>,
        #[serde(default)]
        hint: Option<String>,
    },
}

/// Receives events. It is called from the computing thread, so it must return quickly.
pub trait Observer: Sync {
    fn event(&self, event: &Event);
}

/// Forwards events to several observers, in order.
pub struct Fanout<'a>(pub Vec<&'a dyn Observer>);

impl Observer for Fanout<'_> {
    fn event(&self, event: &Event) {
        self.0.iter().for_each(|observer| observer.event(event));
    }
}

/// Ignores all events.
pub struct NullObserver;

impl Observer for NullObserver {
    fn event(&self, _: &Event) {}
}
