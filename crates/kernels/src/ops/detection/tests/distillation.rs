//! Distillation against PyTorch, finite differences, and at the edges.

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::ops::testing::{Fixture, assert_same_on_any_threads, check_gradients, numbers};

const GAINS: DistillationGains = DistillationGains { class_gain: 0.5, box_gain: 2.0, temperature: 3.0 };

/// The loss of maps against those of a teacher, its terms, and the gradients of all maps.
fn distilled(
    maps: &[Tensor],
    teacher: &[Tensor],
    gains: &DistillationGains,
) -> (Tensor, Vec<f64>, Vec<Tensor>) {
    let mut tape = Tape::new();
    let leaves: Vec<Value> = maps.iter().map(|map| tape.leaf(map.clone())).collect();
    let teacher = constants(teacher);
    let loss = detection_distillation(&mut tape, &levels(&leaves), &levels(&teacher), gains).unwrap();
    let mut grads = tape.backward(&loss.total).unwrap();
    let grads = leaves.iter().map(|leaf| grads.take(leaf).expect("the loss depends on every map"));
    (loss.total.tensor().clone(), loss.terms.wait().unwrap(), grads.collect())
}

fn constants(maps: &[Tensor]) -> Vec<Value> {
    maps.iter().cloned().map(Value::constant).collect()
}

/// Other logits of the same shapes, with some anchor points that the teacher is sure of.
fn teacher_of(maps: &[Tensor]) -> Vec<Tensor> {
    let other = |(at, map): (usize, &Tensor)| {
        (normal(&format!("teacher {at}"), map.dims()) * 2.0).unwrap().to_dtype(map.dtype()).unwrap()
    };
    maps.iter().enumerate().map(other).collect()
}

#[test]
fn pytorch_agrees() {
    let fixture = Fixture::open("detection_distillation");
    for case in ["usual", "gained", "background"] {
        let numbers_of = numbers(&fixture.get(&format!("{case}.gains")));
        let [class_gain, box_gain, temperature, shift] = numbers_of[..] else { panic!("four numbers") };
        let gains = DistillationGains { class_gain, box_gain, temperature };
        for dtype in [DType::F64, DType::F32] {
            let shifted = (fixture.get("teacher.class_logits").to_dtype(dtype).unwrap() + shift).unwrap();
            let maps =
                cut([32, 64], &fixture.input("box_logits", dtype), &fixture.input("class_logits", dtype));
            let teacher = cut([32, 64], &fixture.input("teacher.box_logits", dtype), &shifted);
            let (total, terms, grads) = distilled(&maps, &teacher, &gains);
            let terms = Tensor::from_vec(terms, 2, &Device::Cpu).unwrap();
            fixture.assert(&format!("{case}.terms"), &terms.to_dtype(dtype).unwrap());
            fixture.assert(&format!("{case}.box_logits"), &joined(&every(&grads, 0)));
            fixture.assert(&format!("{case}.class_logits"), &joined(&every(&grads, 1)));
            let sum: f64 = numbers(&fixture.get(&format!("{case}.terms"))).iter().sum();
            assert!((numbers(&total)[0] / sum - 1.0).abs() < 1e-6);
        }
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    let maps: Vec<Tensor> = [("a", 2), ("b", 1), ("c", 1)]
        .iter()
        .flat_map(|(name, side)| {
            let box_logits = normal(&format!("boxes {name}"), &[2, *side, *side, 16]);
            [box_logits, normal(&format!("classes {name}"), &[2, *side, *side, 3])]
        })
        .collect();
    let teacher = constants(&teacher_of(&maps));
    check_gradients(&maps, |tape, maps| {
        Ok(detection_distillation(tape, &levels(maps), &levels(&teacher), &GAINS)?.total)
    });
}

#[test]
fn a_student_like_its_teacher_has_nothing_to_learn() {
    let maps = random_maps(2, [64, 96], 3, DType::F64);
    let (_, terms, grads) = distilled(&maps, &maps, &GAINS);
    assert!(terms[1].abs() < 1e-12, "{terms:?}");
    assert!(grads.iter().flat_map(numbers).all(|slope| slope.abs() < 1e-15));
    // The cross-entropy is then the entropy of the teacher's scores.
    let entropy = |logit: &f64| {
        let score = 1.0 / (1.0 + (-logit).exp());
        -score * score.ln() - (1.0 - score) * (1.0 - score).ln()
    };
    let logits = numbers(&joined(&every(&maps, 1)));
    let score = |logits: &[f64]| logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).fold(0.0, f64::max);
    let divisor: f64 = logits.chunks(3).map(score).sum();
    let expected = GAINS.class_gain * logits.iter().map(entropy).sum::<f64>() / divisor;
    assert!((terms[0] / expected - 1.0).abs() < 1e-12, "{terms:?} for {expected}");
}

#[test]
fn boxes_count_where_the_teacher_sees_an_object() {
    let maps = random_maps(1, [64, 96], 3, DType::F64);
    let mut teacher = teacher_of(&maps);
    // Of the last level, with six anchor points, the second alone shows an object.
    let scores = [-60.0, 4.0, -60.0, -60.0, -60.0, -60.0].map(|score| [score; 3]).concat();
    teacher[5] = Tensor::from_vec(scores, (1, 2, 3, 3), &Device::Cpu).unwrap();
    let (_, _, grads) = distilled(&maps, &teacher, &GAINS);
    let slopes = numbers(&grads[4]);
    let largest = |cell: usize| slopes[cell * 64..][..64].iter().fold(0.0f64, |most, x| most.max(x.abs()));
    assert!(largest(1) > 1e-3);
    assert!([0, 2, 3, 4, 5].into_iter().all(|cell| largest(cell) < 1e-20));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let maps = random_maps(3, [160, 160], 80, DType::F32);
    let teacher = teacher_of(&maps);
    assert_same_on_any_threads(|| {
        let (total, _, mut tensors) = distilled(&maps, &teacher, &GAINS);
        tensors.push(total);
        tensors
    });
}

#[test]
fn logits_that_are_no_numbers_make_a_loss_that_is_none() {
    for dtype in [DType::F32, DType::F64] {
        for map in 0..12 {
            let mut maps = [random_maps(1, [64, 96], 3, dtype), random_maps(1, [64, 96], 3, dtype)];
            let broken = &mut maps[map / 6][map % 6];
            let mut changed = numbers(broken);
            changed[1] = f64::NAN;
            *broken =
                Tensor::from_vec(changed, broken.shape(), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
            let (total, ..) = distilled(&maps[0], &maps[1], &GAINS);
            assert!(numbers(&total)[0].is_nan(), "map {map}");
        }
    }
}

#[test]
fn a_teacher_of_another_shape_is_an_error() {
    let maps = constants(&random_maps(1, [64, 96], 3, DType::F32));
    let fits = |teacher: &[Tensor]| {
        let teacher = constants(teacher);
        detection_distillation(&mut Tape::new(), &levels(&maps), &levels(&teacher), &GAINS).is_ok()
    };
    assert!(fits(&random_maps(1, [64, 96], 3, DType::F32)));
    assert!(!fits(&random_maps(1, [64, 96], 4, DType::F32)));
    assert!(!fits(&random_maps(1, [96, 96], 3, DType::F32)));
    assert!(!fits(&random_maps(2, [64, 96], 3, DType::F32)));
}
