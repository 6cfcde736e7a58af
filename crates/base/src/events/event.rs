//! Events, and those who observe them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a stage is come by, or a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Computed from its beginning.
    Ran,
    /// Found finished in the store.
    Cached,
    /// Continued from a checkpoint.
    Resumed,
}

impl Outcome {
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
pub enum Stopped {
    /// By an error.
    Failed,
    /// On request, after a checkpoint where it makes any.
    Interrupted,
}

impl Stopped {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What happened. The wire form is one JSON object per event, told apart by `event`.
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
    },
    StageStarted {
        stage: String,
        kind: String,
        outcome: Outcome,
        /// Why it is computed, or by whom it was: `optimizer.lr 1e-4 → 3e-5`.
        reason: Option<String>,
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
    /// The weights that are loaded have other names than the model's own: whose.
    WeightsNamed {
        stage: String,
        names: String,
    },
    /// The frozen layers' output computed for more images, once for all epochs.
    Features {
        stage: String,
        done: u64,
        of: u64,
        images_per_second: f64,
    },
    /// How many of the images that a stage needs have their features already.
    FeaturesFound {
        stage: String,
        images: u64,
        stored: u64,
    },
    /// The frozen layers run anew for every batch, and why.
    FeaturesRecomputed {
        stage: String,
        reason: String,
    },
    EpochFinished {
        stage: String,
        epoch: u32,
        epochs: u32,
        /// The row of `history.csv`, column by column.
        row: Vec<(String, f64)>,
        /// Whether this epoch is the best so far.
        best: bool,
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
        outcome: Outcome,
        seconds: f64,
        metrics: BTreeMap<String, f64>,
    },
    /// A stage ended without a result; [`Event::RunFinished`] says why.
    StageStopped {
        stage: String,
        how: Stopped,
        seconds: f64,
    },
    /// A train stage whose best epoch is worse than the weights it started from.
    StageDeclined {
        stage: String,
        /// The train stage it started from.
        source: String,
        /// What the numbers say, and the likely causes with what to try.
        message: String,
        causes: Vec<String>,
    },
    /// What a computed stage took, and what was expected where something was.
    StageCost {
        stage: String,
        seconds: f64,
        expected_seconds: Option<f64>,
        /// The most memory of the process so far; unknown on some systems.
        memory_bytes: Option<u64>,
        expected_memory_bytes: Option<u64>,
    },
    /// The state a run ends in: `complete`, `interrupted` or `failed`, and the error if there is one, with its cure.
    RunFinished {
        state: String,
        seconds: f64,
        error: Option<String>,
        #[serde(default)]
        hint: Option<String>,
    },
}

/// Whoever wants to know what happens. Called from the computing thread: be quick.
pub trait Observer: Sync {
    fn event(&self, event: &Event);
}

/// Tells several observers, in order.
pub struct Fanout<'a>(pub Vec<&'a dyn Observer>);

impl Observer for Fanout<'_> {
    fn event(&self, event: &Event) {
        self.0.iter().for_each(|observer| observer.event(event));
    }
}

/// Observes nothing.
pub struct Quiet;

impl Observer for Quiet {
    fn event(&self, _: &Event) {}
}
