//! Watching a run to know better next time: what its phases took.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::{Calibration, Workload};
use crate::events::{Event, Observer, Outcome};

/// An observer that learns what the phases of the stages take.
pub struct Learner<'a> {
    /// By stage.
    workloads: BTreeMap<String, Workload>,
    clock: &'a (dyn Fn() -> f64 + Sync),
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    stage: Watched,
    /// What was learnt, in order.
    learnt: Vec<(String, f64)>,
}

/// A stage in progress.
#[derive(Default)]
struct Watched {
    /// Seconds and images of the features so far.
    features: (f64, u64),
    /// When the last step or the last epoch ended.
    last: Option<f64>,
    /// Seconds of steps, and how many of them were timed.
    steps: (f64, u64),
    /// Seconds of validation, and how many epochs.
    validation: (f64, u64),
}

impl<'a> Learner<'a> {
    pub fn new(workloads: BTreeMap<String, Workload>, clock: &'a (dyn Fn() -> f64 + Sync)) -> Self {
        Self { workloads, clock, seen: Mutex::default() }
    }

    /// Hands over what was learnt.
    pub fn teach(self, known: &mut Calibration) {
        let seen = self.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        seen.learnt.iter().for_each(|(key, seconds)| known.learn(key, *seconds));
    }
}

impl Observer for Learner<'_> {
    fn event(&self, event: &Event) {
        let now = (self.clock)();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = &mut seen.stage;
        match event {
            Event::StageStarted { .. } => *watched = Watched::default(),
            Event::Features { done, images_per_second, .. } => {
                watched.features = (*done as f64 / images_per_second.max(1e-9), *done);
            }
            Event::Step { .. } => {
                // The first one has no beginning that could be seen.
                if let Some(last) = watched.last.replace(now) {
                    watched.steps = (watched.steps.0 + now - last, watched.steps.1 + 1);
                }
            }
            Event::EpochFinished { .. } => {
                if let Some(last) = watched.last.replace(now) {
                    watched.validation = (watched.validation.0 + now - last, watched.validation.1 + 1);
                }
            }
            Event::StageFinished { stage, outcome: Outcome::Ran, seconds, .. } => {
                if let Some(workload) = self.workloads.get(stage) {
                    let watched = std::mem::take(watched);
                    seen.learnt.extend(watched.learnt(workload, *seconds));
                }
            }
            _ => {}
        }
    }
}

impl Watched {
    /// Seconds of an image in each phase, and of all that is beside the phases.
    fn learnt(&self, workload: &Workload, seconds: f64) -> Vec<(String, f64)> {
        let mut learnt = Vec::new();
        let mut beside = seconds;
        let features = workload.phases.iter().filter(|phase| phase.name == "features").count();
        for phase in &workload.phases {
            let images = phase.images as f64 / phase.batches.max(1) as f64;
            let (spent, each) = match phase.name {
                // Of several sets it is not known whose they were.
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
            beside -= spent;
            learnt.push((phase.key.clone(), each));
        }
        learnt.push((workload.beside.clone(), beside.max(0.0)));
        learnt
    }
}
