//! Learns from a run how long its phases take.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::forecast::mapped_bytes;
use super::{Calibration, Workload};
use crate::events::{Event, Observer, StageOutcome};

/// The additional memory that shows that a stage needed it.
const CLEARLY: f64 = 1.05;

/// An observer that learns the duration of phases.
pub struct Learner<'a> {
    /// By stage.
    workloads: BTreeMap<String, Workload>,
    /// Whether the memory in events is a GPU's.
    of_gpu: bool,
    clock: &'a (dyn Fn() -> f64 + Sync),
    seen: Mutex<LearnedPhases>,
}

#[derive(Default)]
struct LearnedPhases {
    stage: ActiveStage,
    /// The peak memory of the process before.
    memory: u64,
    /// The memory of stages that needed more than those before.
    memories: Vec<(String, u64)>,
    /// What was learned, in order.
    learnt: Vec<(String, f64)>,
}

/// A stage in progress.
#[derive(Default)]
struct ActiveStage {
    /// Seconds and images of features so far.
    features: (f64, u64),
    /// When the last step or epoch ended.
    last: Option<f64>,
    /// Seconds of steps, and the number of timed steps.
    steps: (f64, u64),
    /// Seconds of validation, and the number of epochs.
    validation: (f64, u64),
}

impl<'a> Learner<'a> {
    pub fn new(
        workloads: BTreeMap<String, Workload>,
        of_gpu: bool,
        clock: &'a (dyn Fn() -> f64 + Sync),
    ) -> Self {
        Self { workloads, of_gpu, clock, seen: Mutex::default() }
    }

    /// Stores what was learned.
    pub fn save_into(self, known: &mut Calibration) {
        let seen = self.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        seen.learnt.iter().for_each(|(key, seconds)| known.learn(key, *seconds));
        for (stage, bytes) in &seen.memories {
            let Some(work) = self.workloads.get(stage).filter(|work| !work.phases.is_empty()) else {
                continue;
            };
            let host = if self.of_gpu {
                Some(0)
            } else {
                mapped_bytes(work, known).map(|bytes| bytes + work.cache_bytes)
            };
            let Some(host) = host else { continue };
            known.learn(&work.memory_key(), bytes.saturating_sub(host) as f64);
        }
    }
}

impl Observer for Learner<'_> {
    fn event(&self, event: &Event) {
        let now = (self.clock)();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = &mut seen.stage;
        match event {
            Event::StageStarted { .. } => *watched = ActiveStage::default(),
            Event::Features { done, images_per_second, .. } => {
                watched.features = (*done as f64 / images_per_second.max(1e-9), *done);
            }
            Event::Step { .. } => {
                // The first step has no known start.
                if let Some(last) = watched.last.replace(now) {
                    watched.steps = (watched.steps.0 + now - last, watched.steps.1 + 1);
                }
            }
            Event::EpochFinished { .. } => {
                if let Some(last) = watched.last.replace(now) {
                    watched.validation = (watched.validation.0 + now - last, watched.validation.1 + 1);
                }
            }
            Event::StageFinished { stage, outcome: StageOutcome::Ran, seconds, .. } => {
                if let Some(workload) = self.workloads.get(stage) {
                    let watched = std::mem::take(watched);
                    seen.learnt.extend(watched.learnt(workload, *seconds));
                }
            }
            Event::StageCost { stage, memory_bytes: Some(bytes), .. } => {
                // The process never returns memory, so only a stage that needed clearly more shows its own use.
                if *bytes as f64 > CLEARLY * seen.memory as f64 {
                    seen.memories.push((stage.clone(), *bytes));
                }
                seen.memory = *bytes;
            }
            _ => {}
        }
    }
}

impl ActiveStage {
    /// Seconds per image in each phase, and outside the phases.
    fn learnt(&self, workload: &Workload, seconds: f64) -> Vec<(String, f64)> {
        let mut learnt = Vec::new();
        // With several phases of a schedule, or several models, it is unknown which took how long.
        if workload.phases.iter().filter(|phase| ["step", "evaluation"].contains(&phase.name)).count() > 1 {
            return learnt;
        }
        let mut overhead = seconds;
        let features = workload.phases.iter().filter(|phase| phase.name == "features").count();
        for phase in &workload.phases {
            let images = phase.images as f64 / phase.batches.max(1) as f64;
            let (spent, each) = match phase.name {
                // With several feature sets it is unknown which they belong to.
                "features" if features == 1 && self.features.1 > 0 => {
                    (self.features.0, self.features.0 / self.features.1 as f64)
                }
                "step" | "evaluation" if self.steps.1 > 0 => {
                    let step = self.steps.0 / self.steps.1 as f64;
                    (step * (self.steps.1 + 1) as f64, step / images)
                }
                "validation" if self.validation.1 > 0 => {
                    let epoch = self.validation.0 / self.validation.1 as f64;
                    (self.validation.0, epoch * phase.epochs as f64 / phase.images.max(1) as f64)
                }
                _ => continue,
            };
            overhead -= spent;
            learnt.push((phase.key.clone(), each));
        }
        learnt.push((workload.overhead.clone(), overhead.max(0.0)));
        learnt
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::WorkloadPhase;
    use super::*;

    /// Two epochs of three steps and a validation.
    #[test]
    fn a_run_teaches_what_its_phases_took() {
        let phase = |name, batches, images| WorkloadPhase {
            name,
            epochs: 2,
            batches,
            images,
            batch: 8,
            pieces: Vec::new(),
            reading: Vec::new(),
            area: [1.0; 2],
            key: name.to_owned(),
        };
        let work = Workload {
            phases: vec![phase("step", 6, 48), phase("validation", 2, 20)],
            overhead: "overhead".to_owned(),
            cache_bytes: 100,
            ..Workload::default()
        };
        let now = AtomicU32::new(0);
        let clock = || f64::from(now.load(Ordering::Relaxed));
        let learner = Learner::new(BTreeMap::from([("one".to_owned(), work.clone())]), false, &clock);
        let at = |moment: u32, event: serde_json::Value| {
            now.store(moment, Ordering::Relaxed);
            learner.event(&serde_json::from_value(event).unwrap());
        };
        let json = |event: &str, rest: serde_json::Value| {
            let mut event = serde_json::json!({ "event": event, "stage": "one" });
            event.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            event
        };
        at(
            0,
            json("stage_started", serde_json::json!({ "kind": "train", "outcome": "ran", "reason": null })),
        );
        for epoch in 0..2 {
            for step in 1..=3 {
                let rest = serde_json::json!({ "epoch": epoch + 1, "epochs": 2, "step": step, "steps": 3, "loss": 0.0,
                    "accuracy": null, "images_per_second": 1.0, "seconds_left": 0.0 });
                at(10 + 40 * epoch + 8 * step, json("step", rest));
            }
            let rest = serde_json::json!({ "epoch": epoch + 1, "epochs": 2, "row": [], "best": true });
            at(50 + 40 * epoch, json("epoch_finished", rest));
        }
        at(
            100,
            json("stage_finished", serde_json::json!({ "outcome": "ran", "seconds": 100.0, "metrics": {} })),
        );
        let cost = serde_json::json!({ "seconds": 100.0, "expected_seconds": null, "memory_bytes": 5000,
            "expected_memory_bytes": null });
        at(100, json("stage_cost", cost));
        let folder = tempfile::tempdir().unwrap();
        let mut known = Calibration::open(folder.path(), "machine");
        learner.save_into(&mut known);
        assert_eq!(known.learned("step"), Some(1.0), "8 s for 8 images");
        assert_eq!(known.learned("validation"), Some(1.6), "16 s for 10 images");
        assert_eq!(known.learned("overhead"), Some(100.0 - 48.0 - 32.0));
        assert_eq!(known.learned(&work.memory_key()), Some(4900.0));
    }
}
