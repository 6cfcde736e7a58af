//! Tests of the loss: against PyTorch, and at the edges.

mod distillation;
mod edges;
mod reference;

use candle_core::{DType, Tensor};

use super::anchors::Anchors;
use super::assign::{Assigned, assign};
use super::image::ImageLogits;
use super::*;
use crate::autograd::{Tape, Value};
use crate::ops::float::{Float, with_slices};
use crate::ops::testing::normal;

const GAINS: DetectionGains = DetectionGains { box_gain: 7.5, class_gain: 0.5, dfl_gain: 1.5 };
const STRIDES: [usize; 3] = [8, 16, 32];

/// Logits of all anchor points [N, A, channels], cut into feature maps: boxes and classes of each level in turn.
fn cut(size: [usize; 2], boxes: &Tensor, classes: &Tensor) -> Vec<Tensor> {
    let (mut maps, mut first) = (Vec::new(), 0);
    for stride in STRIDES {
        let [height, width] = size.map(|side| side / stride);
        for all in [boxes, classes] {
            let (images, _, channels) = all.dims3().unwrap();
            let map = all.narrow(1, first, height * width).unwrap().contiguous().unwrap();
            maps.push(map.reshape((images, height, width, channels)).unwrap());
        }
        first += height * width;
    }
    maps
}

/// The opposite of [`cut`]: the gradients of boxes or of classes.
fn joined(maps: &[Tensor]) -> Tensor {
    let flat: Vec<Tensor> = maps.iter().map(|map| map.flatten(1, 2).unwrap()).collect();
    Tensor::cat(&flat, 1).unwrap()
}

fn levels(maps: &[Value]) -> Vec<DetectionLevel<'_>> {
    let pairs = maps.chunks(2).zip(STRIDES);
    pairs
        .map(|(maps, stride)| DetectionLevel { stride, box_logits: &maps[0], class_logits: &maps[1] })
        .collect()
}

/// Random logits, as a head that is not trained has.
fn random_maps(images: usize, [height, width]: [usize; 2], classes: usize, dtype: DType) -> Vec<Tensor> {
    let points = STRIDES.iter().map(|stride| (height / stride) * (width / stride)).sum();
    let boxes = (normal("boxes", &[images, points, 64]) * 1.5).unwrap();
    let classes = (normal("classes", &[images, points, classes]) - 1.0).unwrap();
    let maps = cut([height, width], &boxes, &classes);
    maps.iter().map(|map| map.to_dtype(dtype).unwrap()).collect()
}

fn target(class: u32, corners: [f64; 4]) -> TargetBox {
    TargetBox { class, corners }
}

/// The loss, its terms, and the gradients of all maps.
fn run(maps: &[Tensor], targets: &[Vec<TargetBox>]) -> (Tensor, Vec<f64>, Vec<Tensor>) {
    let mut tape = Tape::new();
    let leaves: Vec<Value> = maps.iter().map(|map| tape.leaf(map.clone())).collect();
    let loss = detection_loss(&mut tape, &levels(&leaves), targets, &GAINS).unwrap();
    let mut grads = tape.backward(&loss.total).unwrap();
    let grads = leaves.iter().map(|leaf| grads.take(leaf).expect("the loss depends on every map"));
    (loss.total.tensor().clone(), loss.terms.wait().unwrap(), grads.collect())
}

/// The assigned anchor points of each image.
fn assigned<T: Float>(maps: &[Tensor], targets: &[Vec<TargetBox>]) -> Vec<Vec<Assigned>> {
    let values: Vec<Value> = maps.iter().cloned().map(Value::constant).collect();
    let anchors = Anchors::of(&levels(&values)).unwrap();
    let every_other = |first| maps.iter().skip(first).step_by(2).collect::<Vec<&Tensor>>();
    with_slices(&every_other(0), |boxes: &[&[T]]| {
        with_slices(&every_other(1), |classes: &[&[T]]| {
            let image = |(image, objects): (usize, &Vec<TargetBox>)| {
                assign(&ImageLogits::of(&anchors, image, boxes, classes), objects)
            };
            targets.iter().enumerate().map(image).collect()
        })
    })
    .unwrap()
    .unwrap()
}

/// The maps of boxes, or of classes if `first` is 1.
fn every(maps: &[Tensor], first: usize) -> Vec<Tensor> {
    maps.iter().skip(first).step_by(2).cloned().collect()
}
