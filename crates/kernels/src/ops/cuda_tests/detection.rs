//! The loss of detection heads, and decoded predictions.

use candle_core::{DType, Device, Tensor};

use super::check::{HalfSupport, LONG, SHORT, check, nearest_half, on_device_of, to_gpu};
use crate::autograd::{Tape, Value};
use crate::ops::testing::{normal, numbers, relative_error};
use crate::ops::*;

const GAINS: DetectionGains = DetectionGains { box_gain: 7.5, class_gain: 0.5, dfl_gain: 1.5 };
const STRIDES: [usize; 3] = [8, 16, 32];
const CLASSES: usize = 7;
/// The input's height and width.
const SIZE: [usize; 2] = [160, 128];

/// Box logits and class logits of each level in turn.
fn maps(images: usize) -> Vec<Tensor> {
    let map = |name: &str, stride: usize, channels, scale, offset| {
        let shape = [images, SIZE[0] / stride, SIZE[1] / stride, channels];
        normal(&format!("{name} {stride}"), &shape).affine(scale, offset).unwrap()
    };
    let level = |stride| [map("boxes", stride, 64, 1.5, 0.0), map("classes", stride, CLASSES, 1.0, -1.0)];
    STRIDES.into_iter().flat_map(level).collect()
}

fn levels(maps: &[Value]) -> Vec<DetectionLevel<'_>> {
    let pairs = maps.chunks(2).zip(STRIDES);
    pairs
        .map(|(maps, stride)| DetectionLevel { stride, box_logits: &maps[0], class_logits: &maps[1] })
        .collect()
}

/// Objects of all sizes, most of which share anchor points with others; the first two have equal boxes.
fn objects(count: u32) -> Vec<TargetBox> {
    let object = |index: u32| {
        let place = index.saturating_sub(1);
        let (left, top) = (f64::from(place * 37 % 100), f64::from(place * 53 % 120));
        let (width, height) = (4.0 + f64::from(place * 29 % 70), 3.0 + f64::from(place * 17 % 90));
        TargetBox { class: index % CLASSES as u32, corners: [left, top, left + width, top + height] }
    };
    (0..count).map(object).collect()
}

fn constants(maps: &[Tensor], convert: impl Fn(&Tensor) -> Tensor) -> Vec<Value> {
    maps.iter().map(|map| Value::constant(convert(map))).collect()
}

fn terms(maps: &[Value], targets: &[Vec<TargetBox>]) -> Vec<f64> {
    let loss = detection_loss(&mut Tape::new(), &levels(maps), targets, &GAINS).unwrap();
    loss.terms.wait().unwrap()
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_detection_loss() {
    // Gradients are rounded once, when they are written.
    let half = HalfSupport { f32: &[], roundings: &[0, 1, 1, 1, 1, 1, 1] };
    let maps = maps(3);
    for counts in [[30, 0, 9], [0, 0, 0], [1, 2, 3]] {
        let targets = counts.map(objects).to_vec();
        check(&format!("detection loss of {counts:?}"), &maps, LONG, &half, &|tape, maps| {
            Ok(detection_loss(tape, &levels(maps), &targets, &GAINS)?.total)
        });
        let rounded: Vec<Tensor> = maps.iter().map(nearest_half).collect();
        let exact = terms(&constants(&rounded, Tensor::clone), &targets);
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let found = terms(&constants(&rounded, |map| to_gpu(map, dtype)), &targets);
            let close = |(found, exact): (&f64, &f64)| (found - exact).abs() <= 1e-7 * exact;
            assert!(found.iter().zip(&exact).all(close), "{counts:?}: {found:?} for {exact:?}");
        }
    }
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_detection_distillation() {
    // Gradients are rounded when they are copied back, and once more when they are multiplied.
    let half = HalfSupport { f32: &[], roundings: &[0, 2, 2, 2, 2, 2, 2] };
    let gains = DistillationGains { class_gain: 0.5, box_gain: 2.0, temperature: 4.0 };
    let (student, teacher) = (maps(2), maps(2).iter().map(|map| (map * -1.5).unwrap()).collect::<Vec<_>>());
    check("detection distillation", &student, LONG, &half, &|tape, maps| {
        let teacher = constants(&teacher, |map| on_device_of(maps[0].tensor(), map));
        Ok(detection_distillation(tape, &levels(maps), &levels(&teacher), &gains)?.total)
    });
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_detection_loss_of_no_numbers() {
    let targets = vec![vec![TargetBox { class: 1, corners: [0.0, 0.0, 128.0, 160.0] }]];
    for map in 0..6 {
        let mut maps = maps(1);
        let mut changed = numbers(&maps[map]);
        changed[1] = f64::NAN;
        maps[map] = Tensor::from_vec(changed, maps[map].shape(), &Device::Cpu).unwrap();
        let found = terms(&constants(&maps, |map| to_gpu(map, DType::F32)), &targets);
        assert!(found.iter().any(|term| term.is_nan()), "map {map}: {found:?}");
    }
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_detection_gradients_of_some_maps() {
    let (maps, targets) = (maps(2), [objects(4), objects(2)]);
    let gradient = |wanted: &[usize]| {
        let mut tape = Tape::new();
        let mut values = constants(&maps, |map| to_gpu(map, DType::F32));
        for map in wanted {
            values[*map] = tape.leaf(values[*map].tensor().clone());
        }
        let loss = detection_loss(&mut tape, &levels(&values), &targets, &GAINS).unwrap();
        let mut gradients = tape.backward(&loss.total).unwrap();
        let take =
            |map: &usize| numbers(&gradients.take(&values[*map]).unwrap().to_device(&Device::Cpu).unwrap());
        wanted.iter().map(take).collect::<Vec<_>>()
    };
    let all = gradient(&[0, 1, 2, 3, 4, 5]);
    for (map, expected) in all.iter().enumerate() {
        assert_eq!(&gradient(&[map])[0], expected, "map {map}");
    }
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_detections_are_decoded() {
    let maps: Vec<Tensor> = maps(2).iter().map(nearest_half).collect();
    let exact = decode(&levels(&constants(&maps, Tensor::clone))).unwrap();
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let found = decode(&levels(&constants(&maps, |map| to_gpu(map, dtype)))).unwrap();
        for (found, exact) in [(found.boxes, &exact.boxes), (found.scores, &exact.scores)] {
            assert!(relative_error(&found.to_device(&Device::Cpu).unwrap(), exact) <= SHORT);
        }
    }
}
