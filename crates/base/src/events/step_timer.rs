//! The speed of a stage, step by step.

use std::collections::BTreeMap;

use super::Event;

/// Times the steps of a stage from the moment it is made.
pub struct StepTimer {
    started: f64,
    images: usize,
    steps: usize,
}

/// Which step of a stage was taken.
pub struct StepPosition<'a> {
    pub stage: &'a str,
    /// From 1.
    pub epoch: u32,
    pub epochs: u32,
    /// From 1, within the epoch.
    pub step: usize,
    pub steps: usize,
    /// The steps of the whole stage that are left.
    pub left: usize,
}

impl StepTimer {
    /// `now` and all later times are seconds since some moment.
    pub fn new(now: f64) -> Self {
        Self { started: now, images: 0, steps: 0 }
    }

    /// Counts a step of so many images and makes its event. `scores` are means over the epoch so far.
    pub fn step(
        &mut self,
        now: f64,
        images: usize,
        position: StepPosition,
        scores: BTreeMap<String, f64>,
    ) -> Event {
        self.images += images;
        self.steps += 1;
        let elapsed = (now - self.started).max(1e-9);
        let StepPosition { stage, epoch, epochs, step, steps, left } = position;
        Event::Step {
            stage: stage.to_owned(),
            epoch,
            epochs,
            step: step as u64,
            steps: steps as u64,
            scores,
            images_per_second: self.images as f64 / elapsed,
            seconds_left: left as f64 * elapsed / self.steps as f64,
        }
    }
}
