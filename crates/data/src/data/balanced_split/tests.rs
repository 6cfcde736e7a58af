use proptest::prelude::*;

use super::super::split::HeldOutFold;
use super::*;

const SHARES: [(Split, f64); 3] = [(Split::Train, 0.7), (Split::Validation, 0.2), (Split::Test, 0.1)];

fn fractions(seed: u64) -> SplitFractions {
    SplitFractions { seed, validation: 0.2, test: 0.1, folds: None }
}

/// Images in groups of 1 to 20; a group shows one class mostly, and a third of its images another.
fn scene(groups: u64, classes: u32, draw: u64) -> (Vec<String>, Vec<Vec<u32>>) {
    let hash = |what: String| {
        SplitFractions { seed: draw, validation: 0.0, test: 0.0, folds: None }.hash(&what) >> 20
    };
    let (mut keys, mut shown) = (Vec::new(), Vec::new());
    for group in 0..groups {
        let size = 1 + hash(format!("size {group}")) % 20;
        // Class c is half as common as class c - 1.
        let class = |what: &str| (hash(format!("{what} {group}")).trailing_ones()).min(classes - 1);
        for image in 0..size {
            keys.push(format!("g{group}"));
            shown.push(vec![class(if image % 3 == 2 { "other" } else { "class" })]);
        }
    }
    (keys, shown)
}

fn deal(keys: &[String], shown: &[Vec<u32>], seed: u64) -> Vec<Split> {
    let shown: Vec<&[u32]> = shown.iter().map(Vec::as_slice).collect();
    balanced(keys, &shown, &fractions(seed), true)
}

/// The largest distances from the shares: of all images, and of those of one class.
fn errors(shown: &[Vec<u32>], parts: &[Split]) -> (f64, f64) {
    let off = |class: Option<u32>| {
        let of = |place: &usize| class.is_none_or(|class| shown[*place].contains(&class));
        let all: Vec<usize> = (0..parts.len()).filter(of).collect();
        let got = |part| all.iter().filter(|place| parts[**place] == part).count() as f64;
        SHARES
            .map(|(part, share)| (got(part) / all.len() as f64 - share).abs())
            .into_iter()
            .fold(0.0, f64::max)
    };
    (off(None), (0..4).map(|class| off(Some(class))).fold(0.0, f64::max))
}

#[test]
fn shares_and_proportions_are_near_where_thresholds_stray() {
    let (mut worst, mut by_hash) = ((0.0f64, 0.0f64), (0.0f64, 0.0f64));
    for draw in 0..20 {
        let (keys, shown) = scene(120, 4, draw);
        let (all, class) = errors(&shown, &deal(&keys, &shown, draw));
        worst = (worst.0.max(all), worst.1.max(class));
        let parts: Vec<Split> = keys.iter().map(|key| fractions(draw).part(key)).collect();
        let (all, class) = errors(&shown, &parts);
        by_hash = (by_hash.0.max(all), by_hash.1.max(class));
    }
    assert!(worst.0 < 0.005 && worst.1 < 0.02, "{worst:?}");
    assert!(by_hash.0 > 0.05 && by_hash.1 > 0.1, "{by_hash:?}");
}

#[test]
fn single_images_are_counted_off_exactly() {
    let keys: Vec<String> = (0..1000).map(|image| format!("a/{image}.png")).collect();
    let shown: Vec<Vec<u32>> = (0..1000).map(|image| vec![u32::from(image % 10 == 0)]).collect();
    let parts = deal(&keys, &shown, 3);
    let count = |class: u32, part| {
        (0..1000).filter(|image| shown[*image] == [class] && parts[*image] == part).count()
    };
    assert_eq!(SHARES.map(|(part, _)| count(0, part)), [630, 180, 90]);
    assert_eq!(SHARES.map(|(part, _)| count(1, part)), [70, 20, 10]);
}

#[test]
fn a_rare_class_is_in_every_part_and_labels_and_images_without_any_are_shared_out() {
    let keys: Vec<String> = (0..103).map(|image| format!("{image}.png")).collect();
    let shown: Vec<Vec<u32>> = (0..103)
        .map(|image| match image {
            0..50 => vec![0, 1],
            50..80 => vec![1],
            80..100 => vec![],
            _ => vec![2],
        })
        .collect();
    let parts = deal(&keys, &shown, 0);
    let count = |places: std::ops::Range<usize>, part| parts[places].iter().filter(|p| **p == part).count();
    assert_eq!(SHARES.map(|(part, _)| count(100..103, part)), [1, 1, 1]);
    assert_eq!(SHARES.map(|(part, _)| count(80..100, part)), [14, 4, 2]);
    assert_eq!(SHARES.map(|(part, _)| count(0..50, part)), [35, 10, 5]);
}

#[test]
fn every_class_of_a_small_set_is_in_the_small_part() {
    let keys: Vec<String> = (0..8).map(|image| format!("{image}.png")).collect();
    let shown: Vec<&[u32]> = (0..8).map(|image| if image < 4 { &[0u32][..] } else { &[1] }).collect();
    for seed in 0..20 {
        let parts =
            balanced(&keys, &shown, &SplitFractions { seed, validation: 0.1, test: 0.0, folds: None }, true);
        for class in [0..4, 4..8] {
            let held_out = parts[class].iter().filter(|part| **part == Split::Validation).count();
            assert_eq!(held_out, 1, "{parts:?}");
        }
    }
}

#[test]
fn folds_divide_every_class_evenly_and_hold_each_image_out_once() {
    let keys: Vec<String> = (0..60).map(|image| format!("p{}", image / 2)).collect();
    let shown: Vec<&[u32]> = (0..60).map(|image| if image < 40 { &[0u32][..] } else { &[1] }).collect();
    let of_fold = |held_out| {
        let folds = Some(HeldOutFold { count: 5, held_out });
        balanced(&keys, &shown, &SplitFractions { seed: 1, validation: 0.2, test: 0.0, folds }, true)
    };
    let mut held_out = vec![0; 60];
    for parts in (0..5).map(of_fold) {
        for (image, part) in parts.iter().enumerate() {
            held_out[image] += usize::from(*part == Split::Validation);
        }
        let of_class = |images: std::ops::Range<usize>| {
            parts[images].iter().filter(|part| **part == Split::Validation).count()
        };
        assert_eq!((of_class(0..40), of_class(40..60)), (8, 4));
        assert!((0..60).step_by(2).all(|image| parts[image] == parts[image + 1]), "groups stay whole");
    }
    assert_eq!(held_out, [1; 60]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn groups_stay_whole_and_the_order_of_files_does_not_matter(draw in 0u64..1000, seed: u64, groups in 3u64..60) {
        let (mut keys, mut shown) = scene(groups, 3, draw);
        let parts = deal(&keys, &shown, seed);
        let mut by_key: BTreeMap<String, Split> = BTreeMap::new();
        for (key, part) in keys.iter().zip(&parts) {
            prop_assert_eq!(*by_key.entry(key.clone()).or_insert(*part), *part);
        }
        keys.reverse();
        shown.reverse();
        for (key, part) in keys.iter().zip(deal(&keys, &shown, seed)) {
            prop_assert_eq!(by_key[key], part);
        }
    }
}
