use serde::Deserialize;

use super::*;
use crate::pipeline::Schedule;

/// A case of `tests/fixtures/train/make_schedules.py`.
#[derive(Deserialize)]
struct Case {
    monitor: Monitor,
    settings: String,
    values: Vec<f64>,
    factors: Vec<f64>,
}

#[derive(Deserialize)]
struct Fixture {
    plateaus: Vec<Case>,
}

fn rule(settings: &str) -> ReduceOnPlateau {
    let schedule: Schedule = toml::from_str(settings).unwrap();
    schedule.settings().plateau().unwrap().clone()
}

#[test]
fn every_plateau_takes_off_what_pytorch_s_does() {
    let fixture: Fixture =
        serde_json::from_str(include_str!("../../../../../tests/fixtures/train/schedules.json")).unwrap();
    for case in fixture.plateaus {
        let rule = rule(&case.settings);
        let mut plateau = Plateau::default();
        let observe = |value: &f64| {
            plateau.observe(&rule, case.monitor, *value);
            // Through serialization, as in a checkpoint.
            plateau = toml::from_str(&toml::to_string(&plateau).unwrap()).unwrap();
            plateau.scale()
        };
        let actual: Vec<f64> = case.values.iter().map(observe).collect();
        assert_eq!(actual.len(), case.factors.len());
        let close = actual.iter().zip(&case.factors).all(|(a, e)| (a - e).abs() < 1e-15);
        assert!(close, "{}: {actual:?}, expected {:?}", case.settings, case.factors);
    }
}

#[test]
fn a_value_that_is_not_finite_is_no_improvement() {
    let rule = rule("kind = \"reduce_on_plateau\"\npatience = 1");
    let mut plateau = Plateau::default();
    for value in [f64::NAN, f64::INFINITY] {
        assert_eq!(plateau.scale(), 1.0);
        plateau.observe(&rule, Monitor::ValidationLoss, value);
    }
    assert_eq!(plateau.scale(), 0.1);
}
