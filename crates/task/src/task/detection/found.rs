//! The boxes that a network finds, in pixels of the pictures.

use candle_core::Tensor;
use rayon::prelude::*;

use super::targets;
use crate::error::{Error, Result};
use crate::metrics::detection::{Detection, Kept, NmsSettings, non_maximum_suppression};
use crate::model::Outputs;
use crate::ops::{self, DecodedBoxes, DetectionLevel};
use crate::task::InputObjects;

/// The strides of the head's levels in pixels, with the names of their outputs.
const LEVELS: [(usize, &str, &str); 3] = [
    (8, "box_logits_8", "class_logits_8"),
    (16, "box_logits_16", "class_logits_16"),
    (32, "box_logits_32", "class_logits_32"),
];

/// The outputs of the head, level by level.
pub fn levels(outputs: &Outputs) -> Result<Vec<DetectionLevel<'_>>> {
    let level = |(stride, boxes, classes): (usize, &str, &str)| {
        Ok(DetectionLevel { stride, box_logits: outputs.get(boxes)?, class_logits: outputs.get(classes)? })
    };
    LEVELS.into_iter().map(level).collect()
}

/// Width and height of the network's input in pixels.
pub fn input_size(levels: &[DetectionLevel]) -> Result<[f64; 2]> {
    let first = levels.first().ok_or_else(|| Error::bug("a detection head without levels"))?;
    let (_, height, width, _) = first.box_logits.tensor().dims4()?;
    Ok([width, height].map(|cells| (cells * first.stride) as f64))
}

/// The objects found in each row: in pixels of its picture, or of the network's input if its picture is unknown.
pub fn detections(
    outputs: &Outputs,
    frames: &[Option<&InputObjects>],
    settings: &NmsSettings,
) -> Result<Vec<Vec<Detection>>> {
    let levels = levels(outputs)?;
    let size = input_size(&levels)?;
    let DecodedBoxes { boxes, scores } = ops::decode(&levels)?;
    let (rows, _, classes) = scores.dims3()?;
    if rows != frames.len() {
        return Err(Error::bug(format!("{} pictures of {rows} rows", frames.len())));
    }
    let (boxes, scores) = (numbers(&boxes)?, numbers(&scores)?);
    let (box_count, score_count) = (boxes.len() / rows.max(1), scores.len() / rows.max(1));
    let row = |(row, frame): (usize, &Option<&InputObjects>)| {
        let boxes = &boxes[row * box_count..][..box_count];
        let scores = &scores[row * score_count..][..score_count];
        let kept = non_maximum_suppression(boxes, scores, classes, settings)?;
        let detection = |kept: &Kept| {
            let corners: [f64; 4] =
                std::array::from_fn(|side| f64::from(boxes[kept.anchor as usize * 4 + side]));
            let corners = frame.map_or(corners, |frame| targets::in_picture(frame, corners, size));
            Detection { class: kept.class, score: kept.score, corners }
        };
        Ok(kept.iter().map(detection).collect())
    };
    frames.par_iter().enumerate().map(row).collect()
}

fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}
