//! Comparison with scikit-learn and numpy, and properties of intervals.

use crate::metrics::Intervals;
use serde_json::Value;

use super::*;
use crate::metrics::Rankings;

/// The cases of `tests/fixtures/metrics/make_probabilities.py`.
fn cases() -> Vec<(LabelledProbabilities, Value)> {
    let text = include_str!("../../../../../tests/fixtures/metrics/probabilities.json");
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    let read = |case: Value| {
        let probabilities = numbers(&case["probabilities"]).iter().map(|p| *p as f32).collect();
        let truths = numbers(&case["truths"]);
        let truths = match case["kind"].as_str().unwrap() {
            "classes" => Truths::Classes(truths.iter().map(|class| *class as u32).collect()),
            _ => Truths::Labels(truths.iter().map(|truth| *truth == 1.0).collect()),
        };
        let classes = case["classes"].as_u64().unwrap() as usize;
        (LabelledProbabilities::new(classes, probabilities, truths).unwrap(), case)
    };
    cases.into_iter().map(read).collect()
}

/// All numbers of a nested list.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

fn close(a: f64, b: &Value, bound: f64) {
    assert!((a - b.as_f64().unwrap()).abs() <= bound, "{a} {b}");
}

const RULES: [ThresholdRule; 4] = [
    ThresholdRule::BestF1,
    ThresholdRule::Youden,
    ThresholdRule::Specificity(0.8),
    ThresholdRule::Sensitivity(0.7),
];

#[test]
fn rankings_and_thresholds_agree_with_scikit_learn() {
    let mut compared = 0;
    for (images, expected) in cases() {
        for class in 0..images.classes() {
            let ranking = images.ranking(class);
            let expected = &expected["ranked"][class];
            if expected.is_null() {
                assert_eq!((ranking.auc(), ranking.sensitivity_at(0.9)), (None, None));
                assert_eq!(RULES.map(|rule| ranking.threshold(rule)), [None; 4]);
                continue;
            }
            close(ranking.auc().unwrap(), &expected["auc"], 1e-12);
            close(ranking.average_precision(), &expected["average_precision"], 1e-12);
            close(ranking.sensitivity_at(0.9).unwrap(), &expected["sensitivity_at_90"], 1e-12);
            let curves = ranking.curves(&[0.05, 0.3, 1.0]);
            for (place, sensitivity) in curves.sensitivity.iter().enumerate() {
                close(*sensitivity, &expected["tpr_at_rates"][place], 1e-12);
            }
            for (rule, expected) in RULES.iter().zip(expected["thresholds"].as_array().unwrap()) {
                let threshold = ranking.threshold(*rule).map(f64::from);
                assert_eq!(threshold, expected.as_f64(), "{rule:?} of class {class}");
                compared += usize::from(threshold.is_some());
            }
        }
    }
    assert!(compared > 40, "{compared} thresholds");
}

#[test]
fn calibration_agrees_with_scikit_learn_and_numpy() {
    for (images, expected) in cases() {
        let calibration = Calibration::of(&images);
        close(calibration.ece, &expected["ece"], 1e-12);
        close(calibration.brier, &expected["brier"], 1e-12);
        close(calibration.log_loss, &expected["log_loss"], 1e-12);
        let counted: u64 = calibration.reliability.iter().map(|bin| bin.count).sum();
        let each = if matches!(images.truths(), Truths::Classes(_)) { 1 } else { images.classes() };
        assert_eq!(counted as usize, images.len() * each);
    }
}

#[test]
fn the_temperature_agrees_with_an_optimizer_and_lowers_the_loss() {
    for (images, expected) in cases() {
        let temperature = fit_temperature(&images);
        close(temperature.ln(), &Value::from(expected["temperature"].as_f64().unwrap().ln()), 1e-6);
        let tempered = images.tempered(temperature);
        for (image, row) in expected["tempered"].as_array().unwrap().iter().enumerate() {
            for (p, expected) in tempered.row(image).iter().zip(row.as_array().unwrap()) {
                close(f64::from(*p), expected, 1e-6);
            }
        }
        assert!(Calibration::of(&tempered).log_loss <= Calibration::of(&images).log_loss);
        assert_eq!(images.tempered(1.0).most_likely(0), images.most_likely(0));
    }
}

#[test]
fn a_temperature_exists_for_probabilities_of_zero_and_one() {
    let truths = Truths::Classes(vec![0, 1, 1]);
    let certain = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0].to_vec();
    let certain = LabelledProbabilities::new(2, certain, truths).unwrap();
    let labels = LabelledProbabilities::new(1, vec![1.0, 0.0], Truths::Labels(vec![false, false])).unwrap();
    for images in [certain, labels] {
        let temperature = fit_temperature(&images);
        assert!((0.009..=101.0).contains(&temperature), "{temperature}");
        assert!(images.tempered(temperature).row(0).iter().all(|p| p.is_finite()));
        assert!(Calibration::of(&images).log_loss.is_finite());
    }
}

#[test]
fn decisions_count_every_image_once() {
    let (images, _) = cases().swap_remove(1);
    for class in 0..images.classes() {
        let ranking = images.ranking(class);
        for threshold in [None, Some(0.0), Some(0.5), ranking.threshold(ThresholdRule::BestF1), Some(1.1)] {
            let counts = ranking.decisions(threshold);
            let told = |image: &usize| threshold.is_some_and(|least| images.row(*image)[class] >= least);
            let positives = (0..images.len()).filter(|image| images.has(*image, class));
            assert_eq!(counts.true_positives as usize, positives.clone().filter(told).count());
            assert_eq!(counts.false_negatives as usize, positives.filter(|image| !told(image)).count());
            let predicted = (0..images.len()).filter(told).count() as u64;
            assert_eq!(counts.true_positives + counts.false_positives, predicted);
            let all = predicted + counts.false_negatives + counts.true_negatives;
            assert_eq!(all as usize, images.len());
        }
    }
}

#[test]
fn a_class_whose_best_images_are_others_has_no_threshold_without_a_hit() {
    // The image with the highest probability lacks the class: no threshold has full specificity.
    let ranking = ClassRanking::new(&[0.9, 0.8, 0.1], &[false, true, false]);
    assert_eq!(ranking.threshold(ThresholdRule::Specificity(1.0)), None);
    assert_eq!(ranking.threshold(ThresholdRule::Specificity(0.5)), Some(0.8));
    assert_eq!(ranking.threshold(ThresholdRule::Sensitivity(1.0)), Some(0.8));
    assert_eq!(ranking.decisions(None).sensitivity(), 0.0);
    let curves = ranking.curves(&[0.0, 0.25, 0.5, 1.0]);
    assert_eq!(curves.sensitivity, [0.0, 0.0, 1.0, 1.0]);
    assert_eq!(curves.precision, [0.5; 4]);
}

/// Two classes, of which the second is predicted for `right` of its images.
fn binary(images: usize, right: usize) -> LabelledProbabilities {
    let p = |image: usize| if image % 2 == 1 && image / 2 < right { 0.8 } else { 0.2 };
    let rows = (0..images).flat_map(|image| [1.0 - p(image), p(image)]).collect();
    let truths = Truths::Classes((0..images).map(|image| image as u32 % 2).collect());
    LabelledProbabilities::new(2, rows, truths).unwrap()
}

#[test]
fn intervals_hold_the_score_and_narrow_with_more_images() {
    let of = |images: usize| {
        let all = binary(images, images / 2 * 3 / 5);
        intervals(&all, &(0..images).collect::<Vec<_>>())
    };
    let (few, many) = (of(40), of(640));
    assert_eq!(few.keys().collect::<Vec<_>>(), ["accuracy", "auc", "macro_f1", "map"]);
    let width = |[low, high]: [f64; 2]| high - low;
    for (name, interval) in &many {
        assert!(width(*interval) < width(few[name]) / 3.0, "{name}");
    }
    let [low, high] = many["accuracy"];
    assert!(low < 0.8 && 0.8 < high);
    // The normal approximation of the binomial distribution.
    let expected = 2.0 * 1.96 * (0.8 * 0.2 / 640.0_f64).sqrt();
    assert!((width([low, high]) / expected - 1.0).abs() < 0.1, "{low} {high} {expected}");
    assert_eq!(of(40), few);
}

#[test]
fn intervals_of_groups_are_wider_than_of_single_images() {
    let all = binary(80, 24);
    let alone = intervals(&all, &(0..80).collect::<Vec<_>>());
    // Eight images of each group: all right, or half wrong.
    let grouped = intervals(&all, &(0..80).map(|image| image / 8).collect::<Vec<_>>());
    let width = |intervals: &Intervals| intervals["accuracy"][1] - intervals["accuracy"][0];
    assert!(width(&grouped) > 1.5 * width(&alone), "{} {}", width(&grouped), width(&alone));
}

#[test]
fn labels_have_intervals_too_and_nothing_has_none() {
    let (images, _) = cases().swap_remove(3);
    let found = intervals(&images, &(0..images.len()).collect::<Vec<_>>());
    assert_eq!(found.keys().collect::<Vec<_>>(), ["accuracy", "auc", "macro_f1", "map", "micro_f1"]);
    assert!(found.values().all(|[low, high]| low < high && (0.0..=1.0).contains(low) && *high <= 1.0));
    let none = LabelledProbabilities::new(2, Vec::new(), Truths::Classes(Vec::new())).unwrap();
    assert!(none.is_empty());
    assert_eq!(intervals(&none, &[])["accuracy"], [0.0, 0.0]);
}

#[test]
fn the_scores_of_a_validation_are_those_of_an_evaluation() {
    let (images, expected) = cases().swap_remove(1);
    let Truths::Classes(labels) = images.truths() else { panic!("classes") };
    let mut rankings = Rankings::default();
    for (image, label) in labels.iter().enumerate() {
        rankings.add(images.row(image), &[*label]);
    }
    let [auc, map] = rankings.scores(images.classes()).unwrap();
    let ranked: Vec<&Value> =
        expected["ranked"].as_array().unwrap().iter().filter(|class| !class.is_null()).collect();
    let mean = |name: &str| {
        ranked.iter().map(|class| class[name].as_f64().unwrap()).sum::<f64>() / ranked.len() as f64
    };
    close(auc, &mean("auc").into(), 1e-12);
    close(map, &mean("average_precision").into(), 1e-12);
    let kept: Rankings =
        serde_json::from_str(&serde_json::to_string(&rankings.finalize(images.classes())).unwrap()).unwrap();
    assert_eq!(kept.scores(images.classes()), Some([auc, map]));
}

#[test]
fn refuses_what_does_not_fit() {
    let of = |classes, scores: usize, truths| LabelledProbabilities::new(classes, vec![0.5; scores], truths);
    assert!(of(2, 3, Truths::Classes(vec![0, 1])).is_err());
    assert!(of(2, 2, Truths::Classes(vec![2])).is_err());
    assert!(of(2, 4, Truths::Labels(vec![true; 3])).is_err());
    assert!(of(0, 0, Truths::Labels(Vec::new())).is_err());
}
