//! Runs for the tests of this room.

use super::{ComparedRun, Heading, MetricSplit, RunComparison, RunGroup};
use crate::metrics::{Direction, Metric, MetricFormat};

static VALIDATION: Metric =
    Metric::new("accuracy", "accuracy", MetricFormat::Percent, Direction::Higher).column(0);
static TEST: Metric = Metric::new("accuracy", "accuracy", MetricFormat::Percent, Direction::Higher).column(2);

fn run(seed: u64, accuracy: f64) -> ComparedRun {
    let measured = [
        ("test/accuracy", accuracy, MetricSplit::Test),
        ("test/odd", 1.0, MetricSplit::Test),
        ("fit/validation_accuracy", accuracy / 2.0, MetricSplit::Validation),
    ];
    let metrics = measured.iter().map(|(name, value, _)| ((*name).to_owned(), *value)).collect();
    let parts = measured.iter().map(|(name, _, part)| ((*name).to_owned(), *part)).collect();
    let headings = [
        ("test/accuracy".to_owned(), Heading::of("test accuracy".to_owned(), &TEST)),
        (
            "fit/validation_accuracy".to_owned(),
            Heading::of("fit validation accuracy".to_owned(), &VALIDATION),
        ),
    ];
    let curve = vec![[1.0, accuracy]];
    ComparedRun { seed, metrics, parts, headings: headings.into(), curve, ..ComparedRun::default() }
}

/// A group of three seeds, and one of a single seed.
pub fn comparison() -> RunComparison {
    let group = RunGroup::new("a".into(), vec![run(1, 0.7), run(2, 0.8), run(3, 0.9)], Some((10, 1000)));
    RunComparison {
        title: "t".into(),
        groups: vec![group, RunGroup::new("b".into(), vec![run(1, 0.5)], None)],
        averaged_over: vec!["seed".into()],
        ..RunComparison::default()
    }
}

#[test]
fn seeds_come_to_mean_and_sample_deviation() {
    let group = &comparison().groups[0];
    let accuracy = group.metrics["test/accuracy"];
    assert!((accuracy.mean - 0.8).abs() < 1e-12 && (accuracy.sd.unwrap() - 0.1).abs() < 1e-12);
    assert_eq!(accuracy.n, 3);
}
