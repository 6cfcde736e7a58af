//! Detection against `tests/fixtures/metrics/make_detection.py`, which asks pycocotools, ultralytics and torchvision.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../../../../../tests/fixtures/metrics/detection.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

pub(super) fn names(classes: usize) -> Vec<String> {
    (0..classes).map(|class| class.to_string()).collect()
}

#[track_caller]
pub(super) fn close(found: Option<f64>, expected: &Value, about: &str) {
    match (found, expected.as_f64()) {
        (Some(found), Some(expected)) => {
            assert!((found - expected).abs() < 1e-9, "{about}: {found} {expected}")
        }
        (found, expected) => assert_eq!(found, expected, "{about}"),
    }
}

pub(super) type Image = (Vec<Detection>, Vec<GroundTruth>);

pub(super) struct Set {
    pub(super) name: String,
    pub(super) classes: usize,
    pub(super) images: Vec<Image>,
    expected: Value,
}

pub(super) fn sets() -> Vec<Set> {
    let rows = |value: &Value| -> Vec<Vec<f64>> { value.as_array().unwrap().iter().map(numbers).collect() };
    let detection = |row: &Vec<f64>| Detection {
        class: row[0] as u32,
        score: row[1] as f32,
        corners: [row[2], row[3], row[4], row[5]],
    };
    let object = |row: &Vec<f64>| GroundTruth {
        class: row[0] as u32,
        corners: [row[1], row[2], row[3], row[4]],
        area: row[5],
        crowd: row[6] == 1.0,
        ignored: row[7] == 1.0,
    };
    let image = |image: &Value| {
        let detections = rows(&image["detections"]).iter().map(detection).collect();
        (detections, rows(&image["truth"]).iter().map(object).collect())
    };
    let set = |set: &Value| Set {
        name: set["name"].as_str().unwrap().to_owned(),
        classes: set["classes"].as_u64().unwrap() as usize,
        images: set["images"].as_array().unwrap().iter().map(image).collect(),
        expected: set.clone(),
    };
    fixture()["sets"].as_array().unwrap().iter().map(set).collect()
}

pub(super) fn measure(classes: usize, images: &[Image]) -> DetectionMetrics {
    let mut metrics = DetectionMetrics::new(classes);
    images.iter().for_each(|(detections, truth)| metrics.update(detections, truth).unwrap());
    metrics
}

#[test]
fn agrees_with_pycocotools() {
    for Set { name, classes, images, expected } in sets() {
        let metrics = measure(classes, &images);
        let scores = metrics.finish(&names(classes)).unwrap();
        let summary = [
            scores.ap50_95,
            scores.ap50,
            scores.ap75,
            scores.ap_small,
            scores.ap_medium,
            scores.ap_large,
            scores.ar_1,
            scores.ar_10,
            scores.ar_100,
            scores.ar_small,
            scores.ar_medium,
            scores.ar_large,
        ];
        let coco = &expected["coco"];
        for (i, found) in summary.into_iter().enumerate() {
            close(found, &coco["stats"][i], &format!("{name}, number {i} of COCO's twelve"));
        }
        for (class, averages) in metrics.averages().iter().enumerate() {
            for (threshold, iou) in IOU_THRESHOLDS.into_iter().enumerate() {
                let about = |what: &str| format!("{name}, class {class}, IoU {iou}, {what}");
                for range in SizeRange::EVERY {
                    let found = averages.by_size[range as usize].map(|of_size| of_size.precision[threshold]);
                    close(
                        found,
                        &coco["ap"][class][range as usize][threshold],
                        &about(&format!("{range:?}")),
                    );
                }
                let recalls = &coco["recall"][class];
                let all = averages.by_size[0].map(|all| all.recall[threshold]);
                close(all, &recalls[2][threshold], &about("recall"));
                for first in 0..2 {
                    let found = averages.first_recalls.map(|recalls| recalls[first][threshold]);
                    close(found, &recalls[first][threshold], &about("recall of few"));
                }
            }
            let found = &scores.classes[class];
            close(found.ap50, &coco["ap"][class][0][0], &name);
            close(found.ap75, &coco["ap"][class][0][5], &name);
            assert_eq!(found.note.is_some(), found.instances == 0);
        }
    }
}

/// ultralytics samples every 37th point.
#[test]
fn curves_agree_with_ultralytics() {
    let mut compared = 0;
    for Set { name, classes, images, expected } in sets() {
        let Some(expected) = expected.get("curves") else { continue };
        compared += 1;
        let metrics = measure(classes, &images);
        let (curves, scores) = (metrics.curves(), metrics.finish(&names(classes)).unwrap());
        let present: Vec<usize> = (0..classes).filter(|class| curves.classes[*class].is_some()).collect();
        assert_eq!(serde_json::json!(present), expected["present"]);
        for (row, class) in present.iter().enumerate() {
            let found = curves.classes[*class].as_ref().unwrap();
            let pairs = [(&found.precision, "precision"), (&found.recall, "recall"), (&found.f1, "f1_curve")];
            for (curve, what) in pairs {
                for (i, value) in curve.iter().step_by(37).enumerate() {
                    close(Some(*value), &expected[what][row][i], &format!("{name} {class} {what} {i}"));
                }
            }
            let class = &scores.classes[*class];
            close(class.precision, &expected["p"][row], &name);
            close(class.recall, &expected["r"][row], &name);
            close(class.f1, &expected["f1"][row], &name);
        }
        let best = scores.best_confidence.unwrap();
        assert!(numbers(&expected["best"]).iter().any(|x| (x - best).abs() < 1e-12), "{name}: {best}");
        let mean = numbers(&expected["p"]).iter().sum::<f64>() / present.len() as f64;
        assert!((scores.precision.unwrap() - mean).abs() < 1e-9);
    }
    assert_eq!(compared, 4);
}

#[test]
fn the_confusion_matrix_agrees_with_ultralytics() {
    for Set { name, classes, images, expected } in sets() {
        // ultralytics knows neither crowds nor ignored objects; the script leaves them out.
        let counted = |(detections, truth): Image| {
            (detections, truth.into_iter().filter(GroundTruth::counts).collect())
        };
        let images: Vec<Image> = images.into_iter().map(counted).collect();
        let metrics = measure(classes, &images);
        let rows: Vec<&[u64]> = metrics.confusion().rows().collect();
        assert_eq!(serde_json::json!(rows), expected["confusion"], "{name}");
    }
}

#[test]
fn suppression_agrees_with_torchvision() {
    let case = &fixture()["nms"];
    let floats = |key: &str| -> Vec<f32> { numbers(&case[key]).iter().map(|x| *x as f32).collect() };
    let (boxes, scores) = (floats("boxes"), floats("scores"));
    let classes = case["classes"].as_u64().unwrap() as usize;
    let few = NmsSettings { kept: 25, ..NmsSettings::EVALUATION };
    let all =
        [(NmsSettings::EVALUATION, "evaluation"), (NmsSettings::PREDICTION, "prediction"), (few, "few")];
    for (settings, name) in all {
        let kept = non_maximum_suppression(&boxes, &scores, classes, &settings).unwrap();
        let pairs: Vec<[u32; 2]> = kept.iter().map(|kept| [kept.anchor, kept.class]).collect();
        assert_eq!(serde_json::json!(pairs), case[name], "{name}");
    }
}

#[test]
fn a_checkpoint_between_images_changes_nothing() {
    for Set { classes, images, .. } in sets() {
        let mut parts = DetectionMetrics::new(classes);
        for (detections, truth) in &images {
            parts.update(detections, truth).unwrap();
            parts = serde_json::from_str(&serde_json::to_string(&parts).unwrap()).unwrap();
        }
        assert_eq!(parts, measure(classes, &images));
    }
}

#[test]
fn without_ground_truth_there_are_no_numbers() {
    let mut metrics = DetectionMetrics::new(2);
    let scores = metrics.finish(&names(2)).unwrap();
    assert_eq!((scores.ap50_95, scores.f1, scores.best_confidence), (None, None, None));
    let corners = [0.0, 0.0, 10.0, 10.0];
    let object = GroundTruth { class: 0, corners, area: 100.0, crowd: false, ignored: false };
    metrics.update(&[Detection { class: 1, score: 0.9, corners }], &[object]).unwrap();
    let scores = metrics.finish(&names(2)).unwrap();
    assert_eq!((scores.ap50_95, scores.ap_large, scores.ar_1), (Some(0.0), None, Some(0.0)));
    assert_eq!((scores.precision, scores.f1, scores.best_confidence), (Some(0.0), Some(0.0), None));
    let json = serde_json::to_value(&scores).unwrap();
    assert_eq!((&json["classes"][1]["ap50"], &json["classes"][1]["f1"]), (&Value::Null, &Value::Null));
    assert_eq!(
        (&json["classes"][1]["note"], &json["classes"][0].get("note")),
        (&"no ground truth".into(), &None)
    );
    assert_eq!(serde_json::from_value::<DetectionScores>(json).unwrap(), scores);
}

#[test]
fn refuses_what_does_not_fit() {
    let mut metrics = DetectionMetrics::new(2);
    let corners = [0.0, 0.0, 10.0, 10.0];
    assert!(metrics.update(&[Detection { class: 2, score: 0.9, corners }], &[]).is_err());
    let object = GroundTruth { class: u32::MAX, corners, area: 100.0, crowd: true, ignored: false };
    assert!(metrics.update(&[], &[object]).is_err());
    assert_eq!(metrics, DetectionMetrics::new(2));
    assert!(metrics.finish(&names(3)).is_err());
}

/// Small whole coordinates, so that boxes often overlap.
fn image(classes: u32) -> impl Strategy<Value = Image> {
    let corners = || {
        let side = || 4..40i32;
        (0..60i32, 0..60i32, side(), side()).prop_map(|(x, y, w, h)| [x, y, x + w, y + h].map(f64::from))
    };
    let detection =
        (0..classes, corners()).prop_map(|(class, corners)| Detection { class, score: 0.0, corners });
    let object = (0..classes, corners(), 0..8u8).prop_map(|(class, corners, kind)| GroundTruth {
        class,
        corners,
        area: box_area(corners),
        crowd: kind == 0,
        ignored: kind == 1,
    });
    (prop::collection::vec(detection, 0..25), prop::collection::vec(object, 0..8))
}

/// A number, often a hostile one.
fn hostile() -> impl Strategy<Value = f64> {
    let special = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        1.0,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        -5.0,
    ];
    prop_oneof![prop::sample::select(special.to_vec()), -100.0..100.0f64]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_changes_nothing_where_scores_differ(
        mut images in prop::collection::vec(image(3), 1..5),
        seed in prop::collection::vec(any::<u32>(), 150),
    ) {
        // Scores that differ in all images, in a random order.
        let count: usize = images.iter().map(|(detections, _)| detections.len()).sum();
        let mut places: Vec<usize> = (0..count).collect();
        places.sort_by_key(|place| seed[*place]);
        let detections = images.iter_mut().flat_map(|(detections, _)| detections);
        detections.zip(&places).for_each(|(each, place)| each.score = (*place + 1) as f32 / (count + 1) as f32);
        let before = measure(3, &images);
        let mut turned = images.clone();
        turned.reverse();
        turned.iter_mut().for_each(|(detections, _)| detections.reverse());
        let after = measure(3, &turned);
        prop_assert_eq!(before.finish(&names(3)).unwrap(), after.finish(&names(3)).unwrap());
        prop_assert_eq!(before.curves(), after.curves());
        prop_assert_eq!(before.confusion(), after.confusion());

        let suppress = |detections: &[&Detection]| {
            let boxes: Vec<f32> = detections.iter().flat_map(|each| each.corners.map(|x| x as f32)).collect();
            let scores: Vec<f32> = detections.iter().map(|each| each.score).collect();
            let kept = non_maximum_suppression(&boxes, &scores, 1, &NmsSettings { iou: 0.3, ..NmsSettings::EVALUATION });
            kept.unwrap().iter().map(|kept| *detections[kept.anchor as usize]).collect::<Vec<_>>()
        };
        let all: Vec<&Detection> = images.iter().flat_map(|(detections, _)| detections).collect();
        let reversed: Vec<&Detection> = all.iter().rev().copied().collect();
        prop_assert_eq!(suppress(&all), suppress(&reversed));
    }

    #[test]
    fn hostile_numbers_do_not_panic(
        found in prop::collection::vec((0..2u32, hostile(), prop::array::uniform4(hostile())), 0..12),
        there in prop::collection::vec((0..2u32, hostile(), prop::array::uniform4(hostile()), any::<bool>()), 0..6),
    ) {
        let detections: Vec<Detection> =
            found.iter().map(|(class, score, corners)| Detection { class: *class, score: *score as f32, corners: *corners }).collect();
        let truth: Vec<GroundTruth> = there
            .iter()
            .map(|(class, area, corners, crowd)| GroundTruth { class: *class, corners: *corners, area: *area, crowd: *crowd, ignored: false })
            .collect();
        let metrics = measure(2, &[(detections.clone(), truth)]);
        let scores = metrics.finish(&names(2)).unwrap();
        let shares = [scores.ap50_95, scores.ap50, scores.ap_small, scores.ar_100, scores.precision, scores.f1];
        prop_assert!(shares.iter().flatten().all(|share| (0.0..=1.0).contains(share)), "{:?}", shares);
        let back: DetectionMetrics = serde_json::from_str(&serde_json::to_string(&metrics).unwrap()).unwrap();
        prop_assert_eq!(&back, &metrics);
        let boxes: Vec<f32> = detections.iter().flat_map(|each| each.corners.map(|x| x as f32)).collect();
        let rows: Vec<f32> = detections.iter().map(|each| each.score).collect();
        non_maximum_suppression(&boxes, &rows, 1, &NmsSettings::EVALUATION).unwrap();
    }
}
