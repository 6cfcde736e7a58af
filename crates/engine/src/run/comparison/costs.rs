//! The cost of stages in the runs that computed them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rayon::prelude::*;

use crate::digest::Digest;
use crate::error::Result;
use crate::events::Event;
use crate::run::event_log::events_of;
use crate::run::{RunDirectory, RunRecord, StageRecord, all_runs};

/// The cost of stages where they were computed, by key. A run with a cache hit did not pay this cost.
pub(super) struct Costs {
    by_key: BTreeMap<Digest, StageCost>,
}

/// The cost of one stage. What its run did not record is `None`.
#[derive(Clone, Copy, Default)]
struct StageCost {
    seconds: Option<f64>,
    memory_bytes: Option<u64>,
    inference_seconds: Option<f64>,
}

impl Costs {
    /// Reads the events of the runs, and of all other runs in the same folders.
    pub(super) fn of(runs: &[RunDirectory]) -> Result<Self> {
        let mut roots: Vec<&Path> = runs.iter().filter_map(|run| run.path().parent()?.parent()).collect();
        roots.sort();
        roots.dedup();
        let mut all = Vec::new();
        for root in roots {
            all.extend(all_runs(root)?);
        }
        all.extend(runs.iter().cloned());
        let mut by_key: BTreeMap<Digest, StageCost> = BTreeMap::new();
        let keys: BTreeSet<Digest> = runs
            .iter()
            .filter_map(|run| run.record().ok())
            .flat_map(|record| record.stages.into_iter().filter_map(|stage| stage.key))
            .collect();
        let read = |run: &RunDirectory| {
            // Most other runs share no stage, and need no further reading.
            let has_key = run.keys().ok()?.iter().any(|key| keys.contains(key));
            let record = run.record().ok().filter(|_| has_key)?;
            Some((record, events_of(run, &["stage_cost", "inference_time"])))
        };
        let read: Vec<_> = all.par_iter().filter_map(read).collect();
        for (record, events) in read {
            for (_, event) in events {
                let (Event::StageCost { stage, .. } | Event::InferenceTime { stage, .. }) = &event else {
                    continue;
                };
                let Some(key) = record.stage(stage).and_then(|stage| stage.key) else { continue };
                let cost = by_key.entry(key).or_default();
                match event {
                    Event::StageCost { seconds, memory_bytes, .. } => {
                        (cost.seconds, cost.memory_bytes) = (Some(seconds), memory_bytes);
                    }
                    Event::InferenceTime { seconds_per_image, .. } => {
                        cost.inference_seconds = Some(seconds_per_image);
                    }
                    _ => {}
                }
            }
        }
        Ok(Self { by_key })
    }

    fn of_stage(&self, stage: &StageRecord) -> StageCost {
        stage.key.and_then(|key| self.by_key.get(&key).copied()).unwrap_or_default()
    }

    /// The time to compute all stages; `None` if that of one is unknown.
    pub(super) fn seconds(&self, record: &RunRecord) -> Option<f64> {
        record.stages.iter().map(|stage| self.stage_seconds(stage)).sum()
    }

    pub(super) fn stage_seconds(&self, stage: &StageRecord) -> Option<f64> {
        self.of_stage(stage).seconds
    }

    /// The time of the network for one image of an evaluation.
    pub(super) fn inference_seconds(&self, stage: &StageRecord) -> Option<f64> {
        self.of_stage(stage).inference_seconds
    }

    /// `None` if the peak of a stage is unknown, because it might be the highest.
    pub(super) fn memory(&self, record: &RunRecord) -> Option<u64> {
        let peaks: Option<Vec<u64>> =
            record.stages.iter().map(|stage| self.of_stage(stage).memory_bytes).collect();
        peaks?.into_iter().max()
    }
}
