//! Batches without objects, objects without area, equal objects, logits that are no numbers, threads.

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::error::Result;
use crate::ops::binary_cross_entropy;
use crate::ops::testing::{assert_close, assert_same_on_any_threads, numbers, weighted_sum};

#[test]
fn without_objects_only_classes_count() {
    let maps = random_maps(2, [64, 96], 3, DType::F64);
    let (_, terms, grads) = run(&maps, &[vec![], vec![]]);
    let logits = joined(&every(&maps, 1)).reshape(((), 3)).unwrap();
    let count = logits.elem_count();
    let zeros = vec![0.0; count];
    let (mean, _) = binary_cross_entropy(&mut Tape::new(), &Value::constant(logits), &zeros, None).unwrap();
    assert!((terms[1] / (0.5 * numbers(mean.tensor())[0] * count as f64) - 1.0).abs() < 1e-12);
    assert_eq!([terms[0], terms[2]], [0.0; 2]);
    assert!(every(&grads, 0).iter().all(|grad| numbers(grad).iter().all(|x| *x == 0.0)));

    // An image without objects adds its part of the class term, and changes nothing else.
    let object = vec![target(1, [8.0, 8.0, 60.0, 50.0])];
    let both = assigned::<f64>(&maps, &[object.clone(), vec![]]);
    assert!(!both[0].is_empty() && both[1].is_empty());
    let first: Vec<Tensor> = maps.iter().map(|map| map.narrow(0, 0, 1).unwrap()).collect();
    assert_eq!(assigned::<f64>(&first, &[object]), both[..1]);
}

#[test]
fn of_equal_boxes_the_first_keeps_all_that_it_takes() {
    let maps = random_maps(1, [64, 96], 3, DType::F64);
    let corners = [8.0, 8.0, 60.0, 50.0];
    for classes in [[0, 2], [2, 0], [1, 1]] {
        let objects = classes.map(|class| target(class, corners));
        let alone = &assigned::<f64>(&maps, &[vec![objects[0]]])[0];
        let both = &assigned::<f64>(&maps, &[objects.to_vec()])[0];
        let first: Vec<Assigned> = both.iter().filter(|one| one.object == 0).copied().collect();
        assert_eq!((alone.len(), alone), (10, &first), "{classes:?}");
        // Anchor points that only the second takes stay with it.
        assert_eq!(both.len() > 10, classes[0] != classes[1], "{classes:?}");
    }
}

#[test]
fn boxes_without_area_have_no_anchor_points() {
    let maps = random_maps(1, [64, 96], 3, DType::F64);
    let flat = [[20.0, 20.0, 20.0, 20.0], [20.0, 20.0, 20.0, 40.0], [30.0, 30.0, 20.0, 20.0], [0.0; 4]];
    let outside = [[-50.0, -50.0, -20.0, -20.0], [200.0, 200.0, 300.0, 250.0]];
    for corners in flat.into_iter().chain(outside) {
        let targets = [vec![target(0, corners)]];
        assert_eq!(assigned::<f64>(&maps, &targets), [[]], "{corners:?}");
        assert!(run(&maps, &targets).1.iter().all(|term| term.is_finite()));
    }
}

#[test]
fn each_object_has_at_most_ten_anchor_points_and_scores_up_to_its_overlap() {
    let maps = random_maps(1, [128, 128], 3, DType::F32);
    let found = assigned::<f32>(&maps, &[vec![target(0, [4.0, 4.0, 120.0, 124.0])]]);
    assert_eq!(found[0].len(), 10);
    assert!(found[0].windows(2).all(|pair| pair[0].anchor < pair[1].anchor));
    assert!(found[0].iter().all(|one| 0.0 < one.score && one.score < 1.0));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let maps = random_maps(3, [160, 160], 80, DType::F32);
    let object = |index: u32| {
        let at = f64::from(index * 7 % 90);
        target(index % 80, [at, 90.0 - at, at + 20.0 + f64::from(index), 150.0 - at])
    };
    let targets: Vec<Vec<TargetBox>> = (0..3).map(|image| (0..image * 20).map(object).collect()).collect();
    assert_same_on_any_threads(|| {
        let (total, _, mut tensors) = run(&maps, &targets);
        let values: Vec<Value> = maps.iter().cloned().map(Value::constant).collect();
        let decoded = decode(&levels(&values)).unwrap();
        tensors.extend([total, decoded.boxes, decoded.scores]);
        tensors
    });
}

#[test]
fn logits_that_are_no_numbers_make_a_loss_that_is_none() {
    let targets = [vec![target(1, [0.0, 0.0, 96.0, 64.0])]];
    for dtype in [DType::F32, DType::F64] {
        for map in 0..6 {
            for bad in [f64::NAN, f64::INFINITY] {
                let mut maps = random_maps(1, [64, 96], 3, dtype);
                let mut changed = numbers(&maps[map]);
                changed[1] = bad;
                let changed = Tensor::from_vec(changed, maps[map].shape(), &Device::Cpu).unwrap();
                maps[map] = changed.to_dtype(dtype).unwrap();
                let (total, ..) = run(&maps, &targets);
                assert!(!numbers(&total)[0].is_finite(), "map {map}, {bad}");
            }
        }
    }
}

#[test]
fn only_the_wanted_gradients_are_computed() {
    let maps = random_maps(1, [64, 96], 3, DType::F64);
    let targets = [vec![target(1, [8.0, 8.0, 60.0, 50.0])]];
    let (total, _, all) = run(&maps, &targets);
    for wanted in 0..6 {
        let mut tape = Tape::new();
        let mut values: Vec<Value> = maps.iter().cloned().map(Value::constant).collect();
        values[wanted] = tape.leaf(maps[wanted].clone());
        let loss = detection_loss(&mut tape, &levels(&values), &targets, &GAINS).unwrap();
        assert_eq!(numbers(loss.total.tensor()), numbers(&total));
        let halved = weighted_sum(&mut tape, &loss.total, &Tensor::new(0.5, &Device::Cpu).unwrap());
        let grad = tape.backward(&halved).unwrap().take(&values[wanted]).unwrap();
        assert_close("half of the gradient", &grad, &(&all[wanted] * 0.5).unwrap(), 1e-15);
    }
}

#[test]
fn predictions_are_decoded_in_the_order_of_levels() {
    let maps = random_maps(2, [64, 96], 3, DType::F64);
    let values: Vec<Value> = maps.iter().cloned().map(Value::constant).collect();
    let decoded = decode(&levels(&values)).unwrap();
    assert_eq!((decoded.boxes.dims(), decoded.scores.dims()), (&[2, 126, 4][..], &[2, 126, 3][..]));
    let (boxes, scores) = (numbers(&decoded.boxes), numbers(&decoded.scores));
    let logits = numbers(&joined(&every(&maps, 0)));
    // The cell in row 2, column 3 of the second level of the second image.
    let place = 126 + 96 + 2 * 6 + 3;
    let distance = |side: usize| {
        let row: Vec<f64> = logits[place * 64 + side * 16..][..16].iter().map(|x| x.exp()).collect();
        row.iter().enumerate().map(|(bin, x)| bin as f64 * x).sum::<f64>() / row.iter().sum::<f64>()
    };
    let expected = [
        (3.5 - distance(0)) * 16.0,
        (2.5 - distance(1)) * 16.0,
        (3.5 + distance(2)) * 16.0,
        (2.5 + distance(3)) * 16.0,
    ];
    for (found, expected) in boxes[place * 4..][..4].iter().zip(expected) {
        assert!((found - expected).abs() < 1e-12 * 96.0);
    }
    let logit = numbers(&joined(&every(&maps, 1)))[place * 3 + 2];
    assert!((scores[place * 3 + 2] - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-15);

    let single: Vec<Value> =
        values.iter().map(|value| Value::constant(value.tensor().to_dtype(DType::F32).unwrap())).collect();
    let single = decode(&levels(&single)).unwrap();
    assert_close("boxes in f32", &single.boxes, &decoded.boxes, 1e-6);
    assert_close("scores in f32", &single.scores, &decoded.scores, 1e-6);
}

#[test]
fn other_shapes_and_targets_are_errors() {
    let maps = random_maps(1, [64, 96], 3, DType::F32);
    let loss = |maps: &[Tensor], targets: &[Vec<TargetBox>]| -> Result<Value> {
        let values: Vec<Value> = maps.iter().cloned().map(Value::constant).collect();
        Ok(detection_loss(&mut Tape::new(), &levels(&values), targets, &GAINS)?.total)
    };
    assert!(loss(&maps, &[vec![]]).is_ok());
    assert!(loss(&[], &[vec![]]).is_err() && loss(&maps, &[]).is_err());
    assert!(loss(&maps, &[vec![target(3, [1.0, 1.0, 9.0, 9.0])]]).is_err());
    assert!(loss(&maps, &[vec![target(0, [1.0, f64::NAN, 9.0, 9.0])]]).is_err());
    let mut swapped = maps.clone();
    swapped.swap(0, 1);
    assert!(loss(&swapped, &[vec![]]).is_err());
    let mut other = maps.clone();
    other[3] = other[3].to_dtype(DType::F64).unwrap();
    assert!(loss(&other, &[vec![]]).is_err());
}
