//! How the learning rate moves: a factor for each optimizer step, a pure function of its number.

use std::f64::consts::PI;

use crate::pipeline::{OneCycle, Schedule};

/// What the learning rate is multiplied by in `step`, counted from 0 over the whole stage of `epochs` epochs.
///
/// The first W = round(warmup_epochs · steps_per_epoch) steps rise linearly from the share w of the full rate:
/// w + (1 − w) · (step + 1) / W, so that no step is wasted on a rate of 0 and the last of them has the full one. A
/// warmup longer than the stage never ends. Durations count from the end of the warmup, milestones, being dates,
/// from the beginning of the stage. What falls over the rest of the stage would reach its end in step T, one after
/// the last, as with PyTorch's schedulers. What a plateau of the monitor takes off is not in here: see
/// [`Plateau`](super::Plateau).
pub fn lr_factor(schedule: &Schedule, step: u64, steps_per_epoch: u64, epochs: u32) -> f64 {
    let (warmup_epochs, warmup_start) = schedule.warmup();
    let warmup = (warmup_epochs * steps_per_epoch as f64).round() as u64;
    if step < warmup {
        return warmup_start + (1.0 - warmup_start) * ((step + 1) as f64 / warmup as f64);
    }
    let total = steps_per_epoch * u64::from(epochs);
    let since = step - warmup;
    let progress = || (since as f64 / total.saturating_sub(warmup).max(1) as f64).min(1.0);
    match schedule {
        Schedule::Constant(_) | Schedule::ReduceOnPlateau(_) => 1.0,
        Schedule::Step(decay) => {
            let falls = since / (u64::from(decay.step_size) * steps_per_epoch).max(1);
            libm::pow(decay.gamma, falls as f64)
        }
        Schedule::MultiStep(decay) => {
            let past = |epochs: &&u32| step >= u64::from(**epochs) * steps_per_epoch;
            libm::pow(decay.gamma, decay.milestones.iter().filter(past).count() as f64)
        }
        Schedule::Exponential(decay) => libm::pow(decay.gamma, since as f64 / steps_per_epoch.max(1) as f64),
        Schedule::Polynomial(polynomial) => {
            let left = libm::pow(1.0 - progress(), polynomial.power);
            polynomial.final_scale + (1.0 - polynomial.final_scale) * left
        }
        Schedule::Cosine(cosine) => {
            let progress = match cosine.restart_epochs {
                None => progress(),
                Some(epochs) => {
                    let period = u64::from(epochs) * steps_per_epoch;
                    since_restart(since, period, cosine.restart_multiplier)
                }
            };
            cosine.final_scale + (1.0 - cosine.final_scale) * (1.0 + libm::cos(PI * progress)) / 2.0
        }
        Schedule::OneCycle(cycle) => one_cycle(cycle, step as f64, total as f64),
    }
}

/// How far the fall has come that `step` is in, the first taking `period` steps and each of the others `multiplier`
/// times those of the one before.
fn since_restart(mut step: u64, mut period: u64, multiplier: u32) -> f64 {
    period = period.max(1);
    if multiplier == 1 {
        step %= period;
    }
    while step >= period {
        step -= period;
        period = period.saturating_mul(u64::from(multiplier));
    }
    step as f64 / period as f64
}

/// Half a cosine up to 1 in step p · T − 1, which may lie between two, and half a cosine down in step T − 1.
fn one_cycle(cycle: &OneCycle, step: f64, total: f64) -> f64 {
    let first = 1.0 / cycle.div_factor;
    let last = first / cycle.final_div_factor;
    let (peak, end) = (cycle.pct_start * total - 1.0, total - 1.0);
    let between = |from: f64, to: f64, share: f64| to + (from - to) * (1.0 + libm::cos(PI * share)) / 2.0;
    match step <= peak {
        true if peak > 0.0 => between(first, 1.0, step / peak),
        true => 1.0,
        false => between(1.0, last, ((step - peak) / (end - peak)).min(1.0)),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::pipeline::Monitor;
    use crate::train::Plateau;

    fn schedule(settings: &str) -> Schedule {
        toml::from_str(settings).unwrap()
    }

    fn factors(settings: &str, steps_per_epoch: u64, epochs: u32) -> Vec<f64> {
        let schedule = schedule(settings);
        let steps = 0..steps_per_epoch * u64::from(epochs);
        steps.map(|step| lr_factor(&schedule, step, steps_per_epoch, epochs)).collect()
    }

    #[track_caller]
    fn assert_near(settings: &str, actual: &[f64], expected: &[f64], bound: f64) {
        assert_eq!(actual.len(), expected.len());
        let close = actual.iter().zip(expected).all(|(a, e)| (a - e).abs() < bound);
        assert!(close, "{settings}: {actual:?}, expected {expected:?}");
    }

    /// What `tests/fixtures/train/make_schedules.py` writes.
    #[derive(Deserialize)]
    struct Fixture {
        steps_per_epoch: u64,
        epochs: u32,
        schedules: Vec<Case>,
        plateaus: Vec<PlateauCase>,
    }

    #[derive(Deserialize)]
    struct Case {
        settings: String,
        factors: Vec<f64>,
    }

    #[derive(Deserialize)]
    struct PlateauCase {
        monitor: Monitor,
        settings: String,
        values: Vec<f64>,
        factors: Vec<f64>,
    }

    fn fixture() -> Fixture {
        serde_json::from_str(include_str!("../../../../tests/fixtures/train/schedules.json")).unwrap()
    }

    #[test]
    fn every_step_has_pytorch_s_learning_rate() {
        let fixture = fixture();
        for case in fixture.schedules {
            let actual = factors(&case.settings, fixture.steps_per_epoch, fixture.epochs);
            assert_near(&case.settings, &actual, &case.factors, 1e-12);
        }
    }

    #[test]
    fn every_plateau_takes_off_what_pytorch_s_does() {
        for case in fixture().plateaus {
            let Schedule::ReduceOnPlateau(rule) = schedule(&case.settings) else { panic!("no plateau") };
            let mut plateau = Plateau::default();
            let observe = |value: &f64| {
                plateau.observe(&rule, case.monitor, *value);
                // As through a checkpoint.
                plateau = toml::from_str(&toml::to_string(&plateau).unwrap()).unwrap();
                plateau.scale()
            };
            let actual: Vec<f64> = case.values.iter().map(observe).collect();
            assert_near(&case.settings, &actual, &case.factors, 1e-15);
        }
    }

    #[test]
    fn a_value_that_is_not_finite_is_no_improvement() {
        let Schedule::ReduceOnPlateau(rule) = schedule("kind = \"reduce_on_plateau\"\npatience = 1") else {
            panic!("no plateau")
        };
        let mut plateau = Plateau::default();
        for value in [f64::NAN, f64::INFINITY] {
            assert_eq!(plateau.scale(), 1.0);
            plateau.observe(&rule, Monitor::ValidationLoss, value);
        }
        assert_eq!(plateau.scale(), 0.1);
    }

    #[test]
    fn a_warmup_longer_than_the_stage_only_rises() {
        let endless = "kind = \"cosine\"\nwarmup_epochs = 2\nfinal_scale = 0.5";
        assert_near(endless, &factors(endless, 2, 1), &[0.25, 0.5], 1e-15);
        assert_near(endless, &factors(endless, 2, 2), &[0.25, 0.5, 0.75, 1.0], 1e-15);
    }

    /// Shares of an epoch are rounded to steps.
    #[test]
    fn a_warmup_may_end_within_an_epoch() {
        let warm = "kind = \"constant\"\nwarmup_epochs = 1.5";
        assert_near(warm, &factors(warm, 2, 3), &[1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0, 1.0, 1.0], 1e-15);
    }
}
