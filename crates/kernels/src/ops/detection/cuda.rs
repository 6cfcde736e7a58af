//! Detection on CUDA: the loss without waiting for the host, and decoded predictions.

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{DType, Tensor};

use super::anchors::{Anchors, DetectionLevel};
use super::decode::DecodedBoxes;
use super::iou::aspect;
use super::loss::{DetectionGains, DetectionLoss, TargetBox};
use crate::autograd::{Backward, Tape, Value};
use crate::cuda::{Address, Engine, KernelArgument, address, argument, arguments, kernel};
use crate::error::{Error, Result};
use crate::ops::buffer::ELEMENTS_PER_TASK;
use crate::ops::deferred::Deferred;

/// The maximum number of levels, and the anchor points that an object takes, as in kernels/detection.cuh.
const LEVELS: usize = 5;
const TAKEN: usize = 10;

/// The layout of kernels/detection.cuh.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Head {
    images: i32,
    classes: i32,
    bins: i32,
    levels: i32,
    points: i32,
    stride: [i32; LEVELS],
    height: [i32; LEVELS],
    width: [i32; LEVELS],
    first: [i32; LEVELS],
    unused: i32,
    /// Addresses, here and below.
    boxes: [u64; LEVELS],
    scores: [u64; LEVELS],
}

/// The layout of kernels/detection.cuh.
#[repr(C)]
#[derive(Clone, Copy)]
struct Gains {
    boxes: f64,
    classes: f64,
    distances: f64,
}
argument!(Head => "Head", Gains => "Gains");

impl Head {
    /// With the addresses of box logits and class logits of each level, or of their gradients.
    fn of(anchors: &Anchors, tensors: &[[Option<&Tensor>; 2]]) -> Result<Self> {
        if anchors.grids.len() > LEVELS {
            return Err(Error::bug(format!("a detection head of more than {LEVELS} levels")));
        }
        let mut head = Self {
            images: anchors.images as i32,
            classes: anchors.classes as i32,
            bins: anchors.bins as i32,
            levels: anchors.grids.len() as i32,
            points: anchors.count() as i32,
            ..Self::default()
        };
        let at = |tensor: Option<&Tensor>| -> Result<u64> {
            tensor.map_or(Ok(Address::NONE), address).map(KernelArgument::passed)
        };
        for (level, (grid, [boxes, scores])) in anchors.grids.iter().zip(tensors).enumerate() {
            head.stride[level] = grid.stride as i32;
            head.height[level] = grid.height as i32;
            head.width[level] = grid.width as i32;
            head.first[level] = grid.first as i32;
            (head.boxes[level], head.scores[level]) = (at(*boxes)?, at(*scores)?);
        }
        Ok(head)
    }
}

/// The logits of each level, kept while kernels may read them.
fn logits(levels: &[DetectionLevel]) -> Vec<[Tensor; 2]> {
    levels
        .iter()
        .map(|level| [level.box_logits, level.class_logits].map(|value| value.tensor().clone()))
        .collect()
}

fn some(tensors: &[[Tensor; 2]]) -> Vec<[Option<&Tensor>; 2]> {
    tensors.iter().map(|[boxes, scores]| [Some(boxes), Some(scores)]).collect()
}

/// As [`super::decode`]; results are f32.
pub fn decode(levels: &[DetectionLevel], anchors: &Anchors) -> Result<DecodedBoxes> {
    let logits = logits(levels);
    let (head, dtype) = (Head::of(anchors, &some(&logits))?, logits[0][0].dtype());
    let (engine, rows) = (Engine::of(&logits[0][0])?, anchors.images * anchors.count());
    let (boxes, to_boxes) = engine.tensor(DType::F32, (anchors.images, anchors.count(), 4))?;
    engine.numbers(&kernel("detection_decode", dtype)?, rows, arguments![head, rows as i64, to_boxes])?;
    let (scores, to_scores) =
        engine.tensor(DType::F32, (anchors.images, anchors.count(), anchors.classes))?;
    let count = scores.elem_count();
    engine.numbers(&kernel("detection_scores", dtype)?, count, arguments![head, count as i64, to_scores])?;
    Ok(DecodedBoxes { boxes, scores })
}

/// The objects of a batch on the device.
struct Objects {
    count: usize,
    /// The first object of each image, and the end.
    firsts: CudaSlice<u32>,
    /// Image and class of each object.
    labels: CudaSlice<u32>,
    /// Corners, the area of anchor points, and the aspect of each object.
    numbers: CudaSlice<f64>,
}

impl Objects {
    fn copied(engine: &Engine, anchors: &Anchors, targets: &[Vec<TargetBox>]) -> Result<Self> {
        let (mut firsts, mut labels, mut numbers) = (vec![0], Vec::new(), Vec::new());
        for (image, objects) in targets.iter().enumerate() {
            for object in objects {
                labels.extend([image as u32, object.class]);
                numbers.extend(object.corners);
                numbers.extend(anchors.search_area(&object.corners));
                numbers.push(aspect(&object.corners));
            }
            firsts.push(labels.len() as u32 / 2);
        }
        let count = labels.len() / 2;
        // No empty copies.
        labels.resize(labels.len().max(2), 0);
        numbers.resize(numbers.len().max(9), 0.0);
        Ok(Self {
            count,
            firsts: engine.copy_to_device(&firsts)?,
            labels: engine.copy_to_device(&labels)?,
            numbers: engine.copy_to_device(&numbers)?,
        })
    }
}

/// As [`super::detection_loss`], for checked targets.
pub fn forward(
    tape: &mut Tape,
    levels: &[DetectionLevel],
    anchors: Anchors,
    targets: &[Vec<TargetBox>],
    gains: &DetectionGains,
) -> Result<DetectionLoss> {
    let logits = logits(levels);
    let (head, dtype) = (Head::of(&anchors, &some(&logits))?, logits[0][0].dtype());
    let engine = Engine::of(&logits[0][0])?;
    let gains = Gains { boxes: gains.box_gain, classes: gains.class_gain, distances: gains.dfl_gain };
    let objects = Objects::copied(&engine, &anchors, targets)?;
    let positives = Positives::assigned(&engine, &anchors, head, dtype, objects, gains)?;

    let chunks: Vec<usize> =
        logits.iter().map(|[_, scores]| scores.elem_count().div_ceil(ELEMENTS_PER_TASK)).collect();
    let all_chunks: usize = chunks.iter().sum();
    let sums = engine.buffer::<f64>(all_chunks)?;
    let mut to = engine.address(&sums);
    for ([_, scores], chunks) in logits.iter().zip(chunks) {
        let arguments =
            arguments![scores.elem_count() as i64, ELEMENTS_PER_TASK as i64, address(scores)?, to];
        engine.rows(&kernel("detection_against_zero", dtype)?, chunks, arguments)?;
        to = to.plus(chunks * size_of::<f64>());
    }
    // The three terms and the divisor.
    let terms = engine.buffer::<f64>(4)?;
    let (total, to_total) = engine.tensor(DType::F32, ())?;
    let (parts, to_terms) = (engine.address(&positives.parts), engine.address(&terms));
    let claims = positives.claims as i32;
    let arguments =
        arguments![claims, all_chunks as i32, gains, parts, engine.address(&sums), to_terms, to_total];
    engine.rows("detection_total", 1, arguments)?;
    let deferred = Deferred::from_readback(engine.read_back(to_terms, 3)?);
    let inputs: Vec<&Value> =
        levels.iter().flat_map(|level| [level.box_logits, level.class_logits]).collect();
    let total = tape.record(&inputs, total, || LossGradient { anchors, logits, gains, positives, terms });
    Ok(DetectionLoss { total, terms: deferred })
}

/// The anchor points that objects claim, `TAKEN` each, and what the assigned ones of them contribute.
struct Positives {
    claims: usize,
    objects: Objects,
    anchors: CudaSlice<u32>,
    owners: CudaSlice<u32>,
    parts: CudaSlice<f64>,
    slopes: CudaSlice<f32>,
}

impl Positives {
    fn assigned(
        engine: &Engine,
        anchors: &Anchors,
        head: Head,
        dtype: DType,
        objects: Objects,
        gains: Gains,
    ) -> Result<Self> {
        let (claims, rows) = (objects.count * TAKEN, anchors.images * anchors.count());
        let new = Self {
            claims,
            objects,
            anchors: engine.buffer(claims)?,
            owners: engine.buffer(claims)?,
            parts: engine.buffer(4 * claims)?,
            slopes: engine.buffer(4 * anchors.bins * claims)?,
        };
        if claims == 0 {
            return Ok(new);
        }
        let (predicted, alignments) = (engine.buffer::<f64>(5 * rows)?, engine.buffer::<f64>(2 * claims)?);
        let [predicted, alignments] = [&predicted, &alignments].map(|buffer| engine.address(buffer));
        let objects = &new.objects;
        let [firsts, labels] = [&objects.firsts, &objects.labels].map(|buffer| engine.address(buffer));
        let [taken, owners] = [&new.anchors, &new.owners].map(|buffer| engine.address(buffer));
        let (numbers, count) = (engine.address(&objects.numbers), claims as i64);
        engine.numbers(&kernel("detection_boxes", dtype)?, rows, arguments![head, rows as i64, predicted])?;
        let arguments = arguments![head, labels, numbers, predicted, taken];
        engine.rows(&kernel("detection_claims", dtype)?, objects.count, arguments)?;
        let arguments =
            arguments![head, count, firsts, labels, numbers, predicted, taken, owners, alignments];
        engine.numbers(&kernel("detection_owners", dtype)?, claims, arguments)?;
        let (parts, slopes) = (engine.address(&new.parts), engine.address(&new.slopes));
        let arguments =
            arguments![head, count, gains, firsts, labels, numbers, taken, owners, alignments, parts, slopes];
        engine.numbers(&kernel("detection_positives", dtype)?, claims, arguments)?;
        Ok(new)
    }
}

struct LossGradient {
    anchors: Anchors,
    logits: Vec<[Tensor; 2]>,
    gains: Gains,
    positives: Positives,
    terms: CudaSlice<f64>,
}

impl Backward for LossGradient {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let engine = Engine::of(&grad)?;
        let dtype = self.logits[0][0].dtype();
        let (terms, grad) = (engine.address(&self.terms), address(&grad)?);
        let mut gradients = Vec::with_capacity(wanted.len());
        for (input, wanted) in wanted.iter().enumerate() {
            let logits = &self.logits[input / 2][input % 2];
            if !wanted {
                gradients.push(None);
                continue;
            }
            let (gradient, to) = engine.tensor(dtype, logits.shape())?;
            let count = gradient.elem_count();
            if input % 2 == 0 {
                engine.numbers(&kernel("detection_zeros", dtype)?, count, arguments![count as i64, to])?;
            } else {
                let arguments =
                    arguments![count as i64, self.gains.classes, address(logits)?, terms, grad, to];
                engine.numbers(&kernel("detection_class_gradient", dtype)?, count, arguments)?;
            }
            gradients.push(Some(gradient));
        }
        let pairs: Vec<[Option<&Tensor>; 2]> =
            gradients.chunks(2).map(|pair| [pair[0].as_ref(), pair[1].as_ref()]).collect();
        let (head, towards) =
            (Head::of(&self.anchors, &some(&self.logits))?, Head::of(&self.anchors, &pairs)?);
        let of = &self.positives;
        let [labels, claims, owners] =
            [&of.objects.labels, &of.anchors, &of.owners].map(|buffer| engine.address(buffer));
        let (parts, slopes) = (engine.address(&of.parts), engine.address(&of.slopes));
        let count = of.claims * (4 * self.anchors.bins + 1);
        let arguments = arguments![
            head,
            towards,
            count as i64,
            self.gains,
            labels,
            claims,
            owners,
            parts,
            slopes,
            terms,
            grad
        ];
        engine.numbers(&kernel("detection_positive_gradient", dtype)?, count, arguments)?;
        Ok(gradients)
    }
}
