use serde::Deserialize;

use super::*;

fn schedule(settings: &str) -> Schedule {
    toml::from_str(settings).unwrap()
}

fn factors(settings: &str, steps_per_epoch: u64, epochs: u32) -> Vec<f64> {
    let schedule = schedule(settings);
    let steps = 0..steps_per_epoch * u64::from(epochs);
    steps.map(|step| schedule.lr_factor(step, steps_per_epoch, epochs)).collect()
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
}

#[derive(Deserialize)]
struct Case {
    settings: String,
    factors: Vec<f64>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../../../../../tests/fixtures/train/schedules.json")).unwrap()
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
