//! Types of errors and their costs against `tests/fixtures/metrics/make_errors.py`, which asks tidecv.

use proptest::prelude::*;
use serde_json::Value;

use super::tests::{Image, close, measure, names, sets};
use super::*;

fn analysis(classes: usize, images: &[Image]) -> ErrorAnalysis {
    let evaluated: Vec<EvaluatedImage> =
        images.iter().map(|(detections, truth)| EvaluatedImage { detections, truth }).collect();
    ErrorAnalysis::of(classes, &evaluated).unwrap()
}

fn errors(classes: usize, images: &[Image], confidence: Option<f64>) -> DetectionErrors {
    analysis(classes, images).finish(&names(classes), confidence).unwrap()
}

fn detection(class: u32, score: f32, left: f64) -> Detection {
    Detection { class, score, corners: [left, 0.0, left + 10.0, 10.0] }
}

fn object(class: u32, left: f64) -> GroundTruth {
    let corners = [left, 0.0, left + 10.0, 10.0];
    GroundTruth { class, corners, area: 100.0, crowd: false, ignored: false }
}

#[test]
fn agrees_with_tidecv() {
    let fixture: Value =
        serde_json::from_str(include_str!("../../../../../tests/fixtures/metrics/errors.json")).unwrap();
    let mut costed = 0;
    for mut set in sets() {
        let expected = &fixture[&set.name];
        if expected.is_null() {
            continue;
        }
        set.images.iter_mut().for_each(|(_, truth)| truth.retain(GroundTruth::counts));
        let found = errors(set.classes, &set.images, None);
        for kind in ErrorKind::ALL {
            let about = format!("{}, {}", set.name, kind.name());
            let counts: Vec<u64> = found.classes.iter().map(|class| class.errors.cost(kind).count).collect();
            let expected_counts = match kind {
                ErrorKind::FalsePositive => continue,
                ErrorKind::FalseNegative => &expected["unfound"],
                _ => &expected["counts"][kind.name()],
            };
            assert_eq!(serde_json::json!(counts), *expected_counts, "{about}");
        }
        if expected["ap50"].is_null() {
            continue;
        }
        for kind in ErrorKind::ALL {
            let fixed = &expected["fixed"][kind.name()];
            let all = std::iter::once(&found.all).chain(found.classes.iter().map(|class| &class.errors));
            for (place, summary) in all.enumerate() {
                let about = format!("{}, {}, {place}", set.name, kind.name());
                close(summary.ap50, &expected["ap50"][place], &about);
                let after = summary.ap50.zip(summary.cost(kind).dap).map(|(ap50, dap)| ap50 + dap);
                close(after, &fixed[place], &about);
                costed += 1;
            }
        }
    }
    assert!(costed > 100);
}

#[test]
fn costs_are_measured_from_the_ap50_of_the_scores() {
    for set in sets() {
        let scores = measure(set.classes, &set.images).finish(&names(set.classes)).unwrap();
        let found = errors(set.classes, &set.images, scores.best_confidence);
        assert_eq!(found.all.ap50, scores.ap50, "{}", set.name);
        for (class, scores) in found.classes.iter().zip(&scores.classes) {
            assert_eq!((class.errors.ap50, class.instances), (scores.ap50, scores.instances), "{}", set.name);
        }
    }
}

#[test]
fn an_oracle_corrects_the_best_detection_of_an_object() {
    let truth = vec![object(0, 0.0), object(1, 100.0)];
    let found = vec![
        detection(0, 0.9, 0.0),
        detection(0, 0.8, 100.0),
        detection(0, 0.7, 101.0),
        detection(1, 0.6, 106.0),
    ];
    let found = errors(2, &[(found, truth)], Some(0.75));
    assert_eq!(found.all.ap50, Some(0.5));
    let of = |kind| found.all.cost(kind);
    // The better of two; the other is removed. The badly placed detection stays behind the correct one.
    assert_eq!(of(ErrorKind::Classification), ErrorCost { count: 2, confident: Some(1), dap: Some(0.5) });
    // One hit behind nothing else of its class.
    assert_eq!(of(ErrorKind::Localisation), ErrorCost { count: 1, confident: Some(0), dap: Some(0.5) });
    assert_eq!(of(ErrorKind::Missed), ErrorCost { count: 0, confident: Some(0), dap: Some(0.0) });
    // The class without a hit is part of no mean once its object is left out.
    assert_eq!(of(ErrorKind::FalseNegative), ErrorCost { count: 1, confident: Some(1), dap: Some(0.5) });
    assert_eq!(found.classes[1].errors.false_negative.dap, None);
    assert_eq!(of(ErrorKind::FalsePositive), ErrorCost { count: 3, confident: Some(1), dap: Some(0.0) });
    assert_eq!(found.all.hits, Tally { count: 1, confident: Some(1) });
    let confusion = |count, confident| ClassConfusion {
        predicted: "0".to_owned(),
        truth: "1".to_owned(),
        count,
        confident,
    };
    assert_eq!(found.confusions, [confusion(2, Some(1))]);
}

#[test]
fn without_objects_or_detections() {
    let nothing = errors(2, &[], Some(0.5));
    assert_eq!(nothing.all.missed, ErrorCost { count: 0, confident: Some(0), dap: None });
    let empty = errors(1, &[(vec![], vec![object(0, 0.0)])], None);
    assert_eq!(empty.all.missed, ErrorCost { count: 1, confident: None, dap: None });
    assert_eq!((empty.all.ap50, empty.all.background.dap), (Some(0.0), Some(0.0)));
    let unfounded = errors(1, &[(vec![detection(0, 0.5, 0.0), detection(0, f32::NAN, 0.0)], vec![])], None);
    assert_eq!(unfounded.all.background, ErrorCost { count: 1, confident: None, dap: None });
    let image = EvaluatedImage { detections: &[detection(2, 0.5, 0.0)], truth: &[] };
    assert!(ErrorAnalysis::of(2, &[image]).is_err());
}

#[test]
fn the_most_confident_errors_come_first() {
    let images = [
        (vec![detection(0, 0.3, 50.0), detection(0, 0.9, 0.0)], vec![object(0, 0.0)]),
        (vec![detection(1, 0.7, 0.0)], vec![object(0, 0.0)]),
    ];
    let analysis = analysis(2, &images);
    let worst = analysis.most_confident(5);
    let brief: Vec<_> =
        worst.iter().map(|(image, verdict)| (*image, verdict.detection, verdict.error)).collect();
    let expected = [(1, 0, Some(ErrorKind::Classification)), (0, 0, Some(ErrorKind::Background))];
    assert_eq!(brief, expected);
    assert_eq!(analysis.most_confident(1).len(), 1);
}

fn drawn_image() -> impl Strategy<Value = Image> {
    let place = || (0u32..3, 0u32..30);
    let found = prop::collection::vec((place(), 0u32..8), 0..12);
    let truth = prop::collection::vec((place(), 0u32..12), 0..6);
    (found, truth).prop_map(|(found, truth)| {
        let found = found.into_iter().map(|((class, left), score)| {
            detection(class, if score == 7 { f32::NAN } else { score as f32 / 8.0 }, f64::from(left))
        });
        let truth = truth.into_iter().map(|((class, left), kind)| GroundTruth {
            crowd: kind == 0,
            ignored: kind == 1,
            ..object(class, f64::from(left))
        });
        (found.collect(), truth.collect())
    })
}

proptest! {
    #[test]
    fn every_detection_and_object_is_counted_once_and_no_correction_costs(
        images in prop::collection::vec(drawn_image(), 0..5)
    ) {
        let scores = measure(3, &images).finish(&names(3)).unwrap();
        let found = errors(3, &images, scores.best_confidence);
        prop_assert_eq!(found.all.ap50, scores.ap50);
        let count = |kind: ErrorKind| found.all.cost(kind).count;
        let wrong: u64 = ErrorKind::ALL[..5].iter().map(|kind| count(*kind)).sum();
        prop_assert_eq!(wrong, count(ErrorKind::FalsePositive));
        prop_assert_eq!(found.all.hits.count + count(ErrorKind::FalseNegative), scores.instances);
        prop_assert!(count(ErrorKind::Missed) <= count(ErrorKind::FalseNegative));
        for summary in std::iter::once(&found.all).chain(found.classes.iter().map(|class| &class.errors)) {
            for kind in ErrorKind::ALL {
                let cost = summary.cost(kind);
                prop_assert!(cost.dap.is_none_or(|dap| dap >= 0.0), "{:?} {:?}", kind, cost);
                let is_detection = (kind as usize) < 5 || kind == ErrorKind::FalsePositive;
                prop_assert!(!is_detection || cost.confident.is_none_or(|confident| confident <= cost.count));
            }
        }
    }
}
