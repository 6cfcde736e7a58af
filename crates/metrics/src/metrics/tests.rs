//! Embeddings and similarities against `tests/fixtures/metrics/make_embeddings.py`, which asks scikit-learn.

use serde_json::Value;

use super::*;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../../../../tests/fixtures/metrics/embeddings.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn close(found: f64, expected: &Value) -> bool {
    (found - expected.as_f64().unwrap()).abs() < 1e-12
}

/// Similarities may be given directly, or come from f32 embeddings, whose thresholds then have f32 precision.
fn agrees(similarities: &Similarities, fars: &[f64], expected: &Value, precision: f64) {
    let found = similarities.verification(fars).unwrap();
    assert!(close(found.auc, &expected["auc"]), "{} {}", found.auc, expected["auc"]);
    assert!(close(found.eer, &expected["eer"]), "{} {}", found.eer, expected["eer"]);
    assert!(close(found.accuracy, &expected["accuracy"]));
    let thresholds = (found.accuracy_threshold, expected["accuracy_threshold"].as_f64());
    assert_eq!(thresholds.0.is_some(), thresholds.1.is_some());
    assert!((thresholds.0.unwrap_or(0.0) - thresholds.1.unwrap_or(0.0)).abs() < precision, "{thresholds:?}");
    for (at, expected_tar) in found.tar_at_far.iter().zip(expected["tar_at_far"].as_array().unwrap()) {
        assert!(close(at.tar, expected_tar), "at {}: {} {expected_tar}", at.far, at.tar);
    }
    let false_accepts: Vec<u64> = found.tar_at_far.iter().map(|at| at.false_accepts).collect();
    assert_eq!(serde_json::to_value(false_accepts).unwrap(), expected["false_accepts"]);
    let curve = similarities.roc();
    let rates = |of: fn(&RocPoint) -> f64| curve.iter().map(of).collect::<Vec<f64>>();
    assert_eq!(rates(|point| point.far), numbers(&expected["far"]));
    assert_eq!(rates(|point| point.tar), numbers(&expected["tar"]));
}

#[test]
fn equal_similarities_are_counted_as_scikit_learn_does() {
    let fixture = fixture();
    for case in fixture["ties"].as_array().unwrap() {
        let sorted = |side: &str| {
            let mut similarities: Vec<f32> = numbers(&case[side]).iter().map(|&x| x as f32).collect();
            similarities.sort_by(|a, b| b.total_cmp(a));
            similarities
        };
        let (genuine, impostor) = (sorted("genuine"), sorted("impostor"));
        let similarities = Similarities { genuine, impostor, ..Similarities::default() };
        agrees(&similarities, &numbers(&fixture["fars"]), case, 1e-12);
    }
}

#[test]
fn embeddings_are_judged_as_scikit_learn_does() {
    let fixture = fixture();
    for case in fixture["embeddings"].as_array().unwrap() {
        let dimension = case["dimension"].as_u64().unwrap() as usize;
        let rows: Vec<f32> = numbers(&case["rows"]).iter().map(|&x| x as f32).collect();
        let mut identities: Vec<u32> = numbers(&case["identities"]).iter().map(|&x| x as u32).collect();
        let all = Embeddings::new(rows.clone(), dimension, identities.clone()).unwrap();
        let similarities = Similarities::of_all(&all).unwrap();
        agrees(&similarities, &numbers(&fixture["fars"]), &case["verification"], 1e-6);

        let found = IdentificationMetrics::search_within(&all).unwrap();
        assert_eq!(found.gallery, identities.len() as u64 - 1);
        identified(&found, &case["among"]);

        identities[0] = u32::MAX;
        let half = identities.len() / 2;
        let (query_rows, gallery_rows) = rows.split_at(half * dimension);
        let part = |rows: &[f32], identities: &[u32]| {
            Embeddings::new(rows.to_vec(), dimension, identities.to_vec()).unwrap()
        };
        let queries = part(query_rows, &identities[..half]);
        let gallery = part(gallery_rows, &identities[half..]);
        identified(&IdentificationMetrics::search_gallery(&queries, &gallery).unwrap(), &case["half"]);
    }
}

fn identified(found: &IdentificationMetrics, expected: &Value) {
    assert_eq!(serde_json::json!(found.queries), expected["queries"]);
    assert_eq!(serde_json::json!(found.unmatched_queries), expected["unmatched"]);
    assert!(close(found.mean_average_precision, &expected["map"]));
    assert_eq!(found.cmc, numbers(&expected["cmc"]));
    assert_eq!(found.rank1, found.cmc[0]);
    assert_eq!(found.rank5, found.cmc[4]);
}

#[test]
fn embeddings_that_are_all_the_same_find_nobody_and_tell_nothing() {
    let same = Embeddings::new(vec![1.0; 8], 2, vec![0, 0, 1, 1]).unwrap();
    let found = IdentificationMetrics::search_within(&same).unwrap();
    assert_eq!((found.rank1, found.cmc.as_slice()), (0.0, [0.0, 0.0, 1.0].as_slice()));
    let similarities = Similarities::of_all(&same).unwrap();
    let found = similarities.verification(&[0.1]).unwrap();
    assert_eq!((found.auc, found.eer), (0.5, 0.5));
    assert_eq!((found.tar_at_far[0].tar, found.tar_at_far[0].threshold), (0.0, None));
    assert_eq!(
        found.accuracy_threshold, None,
        "of 2 genuine pairs and 4 impostors it is best to accept none"
    );
    assert!(similarities.verification(&[1.5]).is_err());
}

#[test]
fn a_long_curve_is_thinned_to_what_a_picture_shows() {
    // Every other pair is genuine: a staircase of 100,000 corners near the diagonal.
    let side = |odd: usize| (0..50_000).map(|i| -((2 * i + odd) as f32)).collect();
    let similarities = Similarities { genuine: side(0), impostor: side(1), ..Similarities::default() };
    let curve = similarities.roc();
    assert!((2000..3000).contains(&curve.len()), "{}", curve.len());
    assert!(curve.is_sorted_by(|a, b| a.far <= b.far && a.tar <= b.tar));
    let early = curve.iter().filter(|point| point.far < 1e-3).count();
    assert!(early >= 50, "a logarithmic axis shows low rates of false accepts: {early}");
    assert_eq!((curve[0].far, curve[curve.len() - 1].tar), (0.0, 1.0));
}
