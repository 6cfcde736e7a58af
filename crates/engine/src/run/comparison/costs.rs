//! The cost of stages in the runs that computed them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::digest::Digest;
use crate::error::Result;
use crate::events::Event;
use crate::run::{RunDirectory, RunRecord, all_runs, read_events};

/// The cost of stages where they were computed, by key. A run with a cache hit did not pay this cost.
pub(super) struct Costs {
    by_key: BTreeMap<Digest, (f64, Option<u64>)>,
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
        let mut by_key = BTreeMap::new();
        for run in all {
            let Ok(record) = run.record() else { continue };
            for (_, event) in read_events(&run) {
                let Event::StageCost { stage, seconds, memory_bytes, .. } = event else { continue };
                if let Some(key) = record.stage(&stage).and_then(|stage| stage.key) {
                    by_key.insert(key, (seconds, memory_bytes));
                }
            }
        }
        Ok(Self { by_key })
    }

    /// `None` if the time of a stage is unknown.
    pub(super) fn seconds(&self, record: &RunRecord) -> Option<f64> {
        record.stages.iter().map(|stage| Some(self.by_key.get(&stage.key?)?.0)).sum()
    }

    /// `None` if the peak of a stage is unknown, because it might be the highest.
    pub(super) fn memory(&self, record: &RunRecord) -> Option<u64> {
        let peaks: Option<Vec<u64>> =
            record.stages.iter().map(|stage| self.by_key.get(&stage.key?)?.1).collect();
        peaks?.into_iter().max()
    }
}
