//! The loss against the package `ultralytics`, and its gradients against finite differences.

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::ops::detection::decode::{corners, distances};
use crate::ops::detection::iou::{Ciou, aspect};
use crate::ops::detection::loss::forward;
use crate::ops::detection::positive::positive;
use crate::ops::testing::{Fixture, assert_close, check_gradients, numbers};

struct Case {
    size: [usize; 2],
    logits: [Tensor; 2],
    targets: Vec<Vec<TargetBox>>,
}

impl Case {
    const NAMES: [&str; 6] = ["first", "none", "tall", "tiny", "twins", "trained"];

    fn open(fixture: &Fixture, name: &str) -> Self {
        let source = if name == "trained" { "trained" } else { "noise" };
        let logits =
            ["box_logits", "class_logits"].map(|kind| fixture.input(&format!("{source}.{kind}"), DType::F64));
        let size = numbers(&fixture.get(&format!("{name}.size")));
        let mut targets = vec![Vec::new(); 3];
        for row in numbers(&fixture.get(&format!("{name}.boxes"))).chunks(6) {
            targets[row[0] as usize].push(target(row[1] as u32, [row[2], row[3], row[4], row[5]]));
        }
        Self { size: [size[0] as usize, size[1] as usize], logits, targets }
    }

    fn maps(&self, dtype: DType) -> Vec<Tensor> {
        let maps = cut(self.size, &self.logits[0], &self.logits[1]);
        maps.iter().map(|map| map.to_dtype(dtype).unwrap()).collect()
    }
}

#[test]
fn ultralytics_agrees() {
    let fixture = Fixture::open("detection");
    for name in Case::NAMES {
        let case = Case::open(&fixture, name);
        let get = |what: &str| fixture.get(&format!("{name}.{what}"));
        for (dtype, bound) in [(DType::F64, 1e-9), (DType::F32, 1e-5)] {
            let maps = case.maps(dtype);
            let (total, terms, grads) = run(&maps, &case.targets);
            let expected = numbers(&get("terms"));
            for (found, expected) in terms.iter().zip(&expected) {
                assert!((found - expected).abs() <= bound * expected, "{name}: {terms:?} for {expected:?}");
            }
            let sum: f64 = expected.iter().sum();
            assert!((numbers(&total)[0] - sum).abs() <= bound * sum, "{name}");

            let found = match dtype {
                DType::F64 => assigned::<f64>(&maps, &case.targets),
                _ => assigned::<f32>(&maps, &case.targets),
            };
            let (boxes, classes) = (joined(&every(&grads, 0)), joined(&every(&grads, 1)));
            let (points, width) = (boxes.dim(1).unwrap(), boxes.dim(2).unwrap());
            let (mut map, mut all_boxes) = (vec![-1.0; 3 * points], vec![0.0; 3 * points * width]);
            let rows = numbers(&get("box_gradient"));
            let mut rows = rows.chunks(width);
            for (image, one) in
                found.iter().enumerate().flat_map(|(image, all)| all.iter().map(move |one| (image, one)))
            {
                let place = image * points + one.anchor;
                map[place] = one.object as f64;
                all_boxes[place * width..][..width].copy_from_slice(rows.next().unwrap());
            }
            assert_eq!(map, numbers(&get("map")), "{name}");
            let scores: Vec<f64> = found.iter().flatten().map(|one| one.score).collect();
            let count = scores.len();
            let divisor = scores.iter().sum::<f64>().max(1.0);
            assert!((divisor / numbers(&get("Z"))[0] - 1.0).abs() < bound, "{name}");
            let column = |values: Vec<f64>| Tensor::from_vec(values, count, &Device::Cpu).unwrap();
            assert_close(&format!("t of {name}"), &column(scores), &column(numbers(&get("t"))), bound);
            let all_boxes = Tensor::from_vec(all_boxes, boxes.shape(), &Device::Cpu).unwrap();
            assert_close(&format!("box gradient of {name} in {dtype:?}"), &boxes, &all_boxes, bound);
            assert_close(
                &format!("class gradient of {name} in {dtype:?}"),
                &classes,
                &get("class_gradient"),
                bound,
            );
        }
    }
}

/// With fixed targets, as for the gradient. α of CIoU is a constant too, so the box term is checked below and in
/// `iou`.
#[test]
fn gradients_of_classes_and_distances_agree_with_finite_differences() {
    let maps: Vec<Tensor> = [("a", 4), ("b", 2), ("c", 1)]
        .iter()
        .flat_map(|(name, side)| {
            let box_logits = normal(&format!("boxes {name}"), &[2, *side, *side, 16]);
            [box_logits, normal(&format!("classes {name}"), &[2, *side, *side, 3])]
        })
        .collect();
    let targets = [vec![target(2, [3.0, 1.0, 20.0, 25.0]), target(0, [10.0, 12.0, 31.0, 30.0])], vec![]];
    let gains = DetectionGains { box_gain: 0.0, ..GAINS };
    let one = |anchor, object, score| Assigned { anchor, object, score };
    let chosen =
        [vec![one(1, 0, 0.75), one(5, 0, 0.5), one(10, 1, 0.25), one(17, 0, 0.9), one(20, 1, 0.8)], vec![]];
    check_gradients(&maps, |tape, maps| {
        let levels = levels(maps);
        let anchors = Anchors::of(&levels)?;
        Ok(forward::<f64>(tape, &levels, anchors, &targets, &gains, |_, image, _| chosen[image].clone())?
            .total)
    });
}

/// The gradient of Σ slope · distance, with the slopes of CIoU fixed.
#[test]
fn gradients_of_boxes_are_those_of_their_corners() {
    let gains = DetectionGains { box_gain: 7.5, class_gain: 0.0, dfl_gain: 0.0 };
    let maps = random_maps(1, [32, 32], 2, DType::F64);
    let values: Vec<Value> = maps.iter().cloned().map(Value::constant).collect();
    let anchors = Anchors::of(&levels(&values)).unwrap();
    let object = target(1, [3.0, 1.0, 20.0, 25.0]);
    let (boxes, classes) = (numbers(&maps[0]), numbers(&maps[1]));
    let logits = ImageLogits::of(&anchors, 0, &[&boxes[..]], &[&classes[..]]);
    let one = Assigned { anchor: 5, object: 0, score: 0.5 };
    let found = positive(&logits, 0, one, &object, &gains).slopes;
    let row = &boxes[5 * 64..][..64];
    let predicted = |row: &[f64]| corners([1.5, 1.5], &distances(row, &mut [0.0; 64]));
    let goal = object.corners.map(|corner| corner / 8.0);
    let now = predicted(row);
    let slopes = Ciou::of((&goal, aspect(&goal)), (&now, aspect(&now))).gradient();
    for (at, found) in found.iter().enumerate() {
        let moved = |by: f64| -> f64 {
            let mut row = row.to_vec();
            row[at] += by;
            predicted(&row).iter().zip(slopes).map(|(corner, slope)| -7.5 * 0.5 * corner * slope).sum()
        };
        let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        assert!((found - expected).abs() < 1e-8, "{at}: {found} for {expected}");
    }
}
