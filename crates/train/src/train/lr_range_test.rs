//! The learning rate range test: Smith, *Cyclical Learning Rates for Training Neural Networks* (WACV 2017), §3.3.
//!
//! The normal loop runs, with the stage's own rules and batches, while the learning rate grows from step to
//! step. The trained weights are discarded. The suggestions are fastai's.

use std::collections::BTreeSet;

use super::{
    BatchSource, Batches, EpochRow, Optimizer, StepReport, TrainCallbacks, TrainCheckpoint, TrainContext,
    TrainProgress, TrainTask, fit,
};
use crate::error::{Error, ErrorKind, Result};
use crate::freeze::ParameterTable;
use crate::model::StateDict;
use crate::pipeline::{self, Exponential, Schedule};
use crate::ranks::{BatchShare, Team};

/// The decay of the smoothed loss: it averages about ten steps. fastai's 0.98 averages about fifty; it lags by
/// half of a test's range, and the suggestion is several times too high.
const SMOOTHING: f64 = 0.9;
/// A smoothed loss this many times the minimum is a divergence.
const DIVERGED: f64 = 4.0;

/// The learning rates to try, each in one optimizer step, evenly spaced in their logarithm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrRange {
    pub low: f64,
    pub high: f64,
    /// At least 2.
    pub steps: usize,
}

impl LrRange {
    fn lr(&self, step: usize) -> f64 {
        self.low * libm::pow(self.high / self.low, step as f64 / (self.steps - 1) as f64)
    }
}

/// One optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrPoint {
    pub lr: f64,
    /// The loss of the weights before the step.
    pub loss: f64,
    /// The smoothed loss: an average of this and earlier losses, with decaying weights.
    pub smoothed: f64,
}

/// The results of the test.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LrRangeTest {
    pub points: Vec<LrPoint>,
    /// Whether it ended before the highest rate because training diverged.
    pub diverged: bool,
}

impl LrRangeTest {
    /// Adds the loss of the next step; false once it has diverged.
    fn push(&mut self, lr: f64, loss: f64) -> bool {
        if !loss.is_finite() {
            self.diverged = true;
            return false;
        }
        // Bias-corrected: the weights of the steps so far sum to 1.
        let seen = self.points.len() as f64;
        let weight = |steps: f64| 1.0 - libm::pow(SMOOTHING, steps);
        let before = self.points.last().map_or(0.0, |point| point.smoothed * weight(seen));
        let smoothed = (SMOOTHING * before + (1.0 - SMOOTHING) * loss) / weight(seen + 1.0);
        self.points.push(LrPoint { lr, loss, smoothed });
        let least = self.points.iter().map(|point| point.smoothed).fold(f64::INFINITY, f64::min);
        self.diverged = smoothed > DIVERGED * least;
        !self.diverged
    }

    /// The rate of the steepest descent of the smoothed loss over the logarithm of the rate, before its minimum;
    /// `None` if it never falls. The first tenth is ignored, because smoothing is unreliable there.
    pub fn lr_of_steepest_descent(&self) -> Option<f64> {
        let points = &self.points;
        let slope = |at: usize| {
            let (before, after) = (&points[at - 1], &points[at + 1]);
            (after.smoothed - before.smoothed) / libm::log(after.lr / before.lr)
        };
        let inner = (points.len() / 10).max(1)..self.lowest()?.min(points.len().checked_sub(1)?);
        let steepest = inner.map(|at| (at, slope(at))).min_by(|a, b| a.1.total_cmp(&b.1))?;
        (steepest.1 < 0.0).then(|| points[steepest.0].lr)
    }

    /// A rate in the longest valley of the smoothed loss: halfway through its longest falling subsequence, which is less
    /// sensitive to noise than a slope. `None` if it never falls. The rule of fastai, at its default position.
    pub fn lr_of_valley(&self) -> Option<f64> {
        let loss = |at: usize| self.points[at].smoothed;
        // The length of the longest falling subsequence that ends at each point.
        let mut lengths = vec![1usize; self.points.len()];
        for at in 1..lengths.len() {
            let before = (0..at).filter(|before| loss(*before) > loss(at)).map(|before| lengths[before]);
            lengths[at] = 1 + before.max().unwrap_or(0);
        }
        let (end, length) =
            (0..lengths.len()).rev().map(|at| (at, lengths[at])).max_by_key(|(_, length)| *length)?;
        let start = (end + 1).saturating_sub(length);
        (length > 1).then(|| self.points[start + (end - start) / 2].lr)
    }

    /// The mean of several tests over the same rates, up to the end of the shortest.
    pub fn mean(tests: &[Self]) -> Self {
        let steps = tests.iter().map(|test| test.points.len()).min().unwrap_or(0);
        let mut mean = Self::default();
        for step in 0..steps {
            let loss = tests.iter().map(|test| test.points[step].loss).sum::<f64>() / tests.len() as f64;
            mean.push(tests[0].points[step].lr, loss);
        }
        mean.diverged = tests.iter().any(|test| test.diverged);
        mean
    }

    /// A tenth of the rate with the minimum smoothed loss.
    pub fn tenth_of_lr_of_lowest_loss(&self) -> Option<f64> {
        Some(self.points[self.lowest()?].lr / 10.0)
    }

    fn lowest(&self) -> Option<usize> {
        let smoothed = |at: &usize| self.points[*at].smoothed;
        (0..self.points.len()).min_by(|a, b| smoothed(a).total_cmp(&smoothed(b)))
    }
}

/// Runs the test from `state`; `watch` receives every point and decides whether to stop.
///
/// # Errors
/// Those of the loop, except a non-finite loss, which ends the test. [`ErrorKind::Interrupted`] if `watch` stops
/// it.
pub fn lr_range_test<T: TrainTask>(
    context: &TrainContext<T>,
    range: &LrRange,
    state: StateDict,
    optimizer: impl FnOnce(&ParameterTable) -> Result<Optimizer>,
    watch: &mut dyn FnMut(&LrPoint) -> bool,
) -> Result<LrRangeTest> {
    let steps_per_epoch = context.steps_per_epoch().max(1);
    let per_epoch = steps_per_epoch as f64 / (range.steps - 1) as f64;
    let growth = Exponential {
        gamma: libm::pow(range.high / range.low, per_epoch),
        warmup_epochs: 0.0,
        warmup_start: 0.0,
    };
    let settings = pipeline::Train {
        // One more than needed: the last step must not be the stage's last.
        epochs: (range.steps as u64).div_ceil(steps_per_epoch) as u32 + 1,
        schedule: Schedule::Exponential(growth),
        early_stop: None,
        ema: None,
        unfreeze: Vec::new(),
        ..context.settings.clone()
    };
    // The parameters that train from the start, without warmups. All rates keep their ratio to the optimizer's
    // own, which begins at the lowest.
    let mut table = context.table.during(context.table.first());
    let scale = range.low / settings.optimizer.lr();
    for row in &mut table.rows {
        (row.lr, row.warmup_epochs) = (row.lr.map(|lr| lr * scale), 0.0);
    }
    let batch_source = TrainingOnly(context.batch_source);
    let context = TrainContext {
        model: context.model,
        table: &table,
        task: context.task,
        batch_source: &batch_source,
        seed: context.seed,
        settings: &settings,
        team: Team::alone(),
    };
    let mut progress = TrainProgress::start(&context, state, optimizer(&table)?);
    let accumulate = settings.accumulate as usize;
    let mut sweep = LossRecorder {
        range,
        accumulate,
        means: Vec::new(),
        last: 0.0,
        test: LrRangeTest::default(),
        over: false,
        stopped: false,
        watch,
    };
    let outcome = fit(&context, &mut progress, &mut sweep);
    let LossRecorder { mut test, over, stopped, last, .. } = sweep;
    let lost = test.diverged || !last.is_finite();
    match outcome {
        Err(error) if error.kind == ErrorKind::Interrupted && !stopped => Ok(test),
        Err(error) if error.kind == ErrorKind::Interrupted => Err(Error::interrupted("stopped on request")),
        Err(_) if lost => {
            test.diverged = true;
            Ok(test)
        }
        Ok(()) if !over => Err(Error::bug("the range test ended before its steps")),
        outcome => outcome.map(|()| test),
    }
}

/// A batch source without its validation batches.
struct TrainingOnly<'a, Targets>(&'a dyn BatchSource<Targets>);

impl<Targets> BatchSource<Targets> for TrainingOnly<'_, Targets> {
    fn batches_per_epoch(&self) -> usize {
        self.0.batches_per_epoch()
    }

    fn train(&self, epoch: u32, share: BatchShare) -> Result<Batches<'_, Targets>> {
        self.0.train(epoch, share)
    }

    fn validation(&self, _: u32, _: BatchShare) -> Option<Result<Batches<'_, Targets>>> {
        None
    }

    fn broken(&self) -> BTreeSet<String> {
        self.0.broken()
    }
}

/// Records points from the losses, and stops the loop at the end of the test.
struct LossRecorder<'a> {
    range: &'a LrRange,
    /// Batches per optimizer step.
    accumulate: usize,
    /// For the batches since the last optimizer step: each summand of the loss times its weight, and the
    /// weights.
    means: Vec<[f64; 2]>,
    /// The loss of the last batch.
    last: f64,
    test: LrRangeTest,
    over: bool,
    /// Whether `watch` has stopped the test.
    stopped: bool,
    watch: &'a mut dyn FnMut(&LrPoint) -> bool,
}

impl TrainCallbacks for LossRecorder<'_> {
    fn step(&mut self, step: &StepReport) {
        self.last = step.loss;
        self.means.resize(step.parts.len(), [0.0; 2]);
        for ([sum, weight], part) in self.means.iter_mut().zip(step.parts) {
            *sum += part.loss * part.weight;
            *weight += part.weight;
        }
        if !step.done.is_multiple_of(self.accumulate) && step.done < step.of {
            return;
        }
        // The loss of one batch of them all.
        let loss = std::mem::take(&mut self.means).iter().map(|[sum, weight]| sum / weight).sum();
        let goes_on = self.test.push(self.range.lr(self.test.points.len()), loss);
        self.over = !goes_on || self.test.points.len() == self.range.steps;
        if let Some(point) = self.test.points.last() {
            self.stopped = (self.watch)(point);
        }
    }

    fn epoch(&mut self, _: &EpochRow) -> Result<()> {
        Ok(())
    }

    fn describe_samples(&self, _: &[usize]) -> String {
        "these images".to_owned()
    }

    fn checkpoint_due(&self) -> bool {
        false
    }

    fn interrupted(&self) -> bool {
        self.over || self.stopped
    }

    fn save(&mut self, _: &TrainCheckpoint, _: u32, _: u64) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(range: &LrRange, mut loss: impl FnMut(f64) -> f64) -> LrRangeTest {
        let mut test = LrRangeTest::default();
        let _ = (0..range.steps).map(|step| range.lr(step)).all(|lr| test.push(lr, loss(lr)));
        test
    }

    /// A loss that falls along a logistic curve centred at 10⁻³, and explodes from 0.1.
    #[test]
    fn the_steepest_fall_is_found_and_a_divergence_ends_it() {
        let range = LrRange { low: 1e-6, high: 10.0, steps: 200 };
        let fall = |lr: f64| 2.0 / (1.0 + lr / 1e-3);
        let test = test(&range, |lr| fall(lr) + if lr > 0.1 { libm::exp(60.0 * (lr - 0.1)) } else { 0.0 });
        assert!(test.diverged && test.points.len() < 200);
        let steepest = test.lr_of_steepest_descent().unwrap();
        // Smoothing lags by nine steps, which here are a factor of two.
        assert!((1e-3..2.5e-3).contains(&steepest), "{steepest}");
        assert!((3e-3..0.1).contains(&test.tenth_of_lr_of_lowest_loss().unwrap()));
    }

    #[test]
    fn the_valley_is_found_under_noise_that_misleads_a_slope() {
        let range = LrRange { low: 1e-6, high: 1.0, steps: 100 };
        let fall = |lr: f64| 2.0 / (1.0 + lr / 1e-3) + 3.0 * lr;
        let clean = test(&range, fall).lr_of_valley().unwrap();
        assert!((1e-4..2e-2).contains(&clean), "{clean}");
        let tests: Vec<LrRangeTest> = (0..8)
            .map(|seed| {
                let mut state = 2 * seed + 1u32;
                test(&range, |lr| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    fall(lr) + 0.2 * f64::from(state >> 8) / f64::from(1u32 << 24) - 0.1
                })
            })
            .collect();
        // One test may be far off; their mean is not.
        assert!(tests.iter().all(|test| test.lr_of_valley().is_some()));
        let ratio = LrRangeTest::mean(&tests).lr_of_valley().unwrap() / clean;
        assert!((0.2..5.0).contains(&ratio), "{ratio}");
        let mean = LrRangeTest::mean(&tests);
        assert!(mean.points.len() > 90 && mean.points[7].lr == range.lr(7));
        assert_eq!(LrRangeTest::mean(&tests[..1]).points, tests[0].points);
    }

    #[test]
    fn a_loss_that_never_falls_suggests_nothing() {
        let range = LrRange { low: 1e-6, high: 1.0, steps: 30 };
        assert_eq!(test(&range, |lr| 1.0 + lr).lr_of_steepest_descent(), None);
        let one = test(&range, |_| f64::NAN);
        assert!(one.points.is_empty() && one.diverged);
        assert_eq!((one.lr_of_steepest_descent(), one.tenth_of_lr_of_lowest_loss()), (None, None));
        assert_eq!((one.lr_of_valley(), test(&range, |lr| 1.0 + lr).lr_of_valley()), (None, None));
        assert!(LrRangeTest::mean(&[one]).points.is_empty());
    }

    #[test]
    fn smoothing_is_a_mean_of_what_there_is() {
        let test = test(&LrRange { low: 1e-3, high: 1.0, steps: 3 }, |lr| if lr < 0.01 { 1.0 } else { 2.0 });
        let smoothed: Vec<f64> = test.points.iter().map(|point| point.smoothed).collect();
        let weights = [SMOOTHING * SMOOTHING, SMOOTHING, 1.0];
        let mean = |losses: &[f64], weights: &[f64]| {
            losses.iter().zip(weights).map(|(l, w)| l * w).sum::<f64>() / weights.iter().sum::<f64>()
        };
        let expected = [1.0, mean(&[1.0, 2.0], &weights[1..]), mean(&[1.0, 2.0, 2.0], &weights)];
        assert!(smoothed.iter().zip(expected).all(|(s, e)| (s - e).abs() < 1e-12), "{smoothed:?}");
    }
}
