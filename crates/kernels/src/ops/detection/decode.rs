//! Boxes from distributions over distances, and scores from logits.
//!
//! A side's distance from its anchor point is the expected bin of a softmax, in units of the stride: Li et al.,
//! *Generalized Focal Loss* (NeurIPS 2020, arXiv 2006.04388), eq. 5.

use std::mem::MaybeUninit;

use candle_core::Tensor;

use super::anchors::{AnchorGrid, Anchors, DetectionLevel};
use super::iou::Corners;
use crate::error::Result;
use crate::ops::buffer::build;
use crate::ops::float::{Float, by_dtype, tensor, with_slices};
use crate::ops::multiversion::multiversion;
use crate::ops::on_cuda::on_cuda;

/// The predictions of a batch for each of its A anchor points, numbered by level, row and column.
pub struct DecodedBoxes {
    /// [N, A, 4] in pixels of the network's input: left, top, right, bottom. Boxes may be partly outside.
    pub boxes: Tensor,
    /// [N, A, C]: the probability of each class independently.
    pub scores: Tensor,
}

/// Boxes and scores of a head's outputs. For inference: nothing is recorded, and the result of an image does not
/// depend on the others.
pub fn decode(levels: &[DetectionLevel]) -> Result<DecodedBoxes> {
    let anchors = Anchors::of(levels)?;
    let first = levels[0].box_logits.tensor();
    on_cuda!(first, super::cuda::decode(levels, &anchors));
    by_dtype!(first, T => on_cpu::<T>(levels, &anchors))
}

fn on_cpu<T: Float>(levels: &[DetectionLevel], anchors: &Anchors) -> Result<DecodedBoxes> {
    let (images, points, classes) = (anchors.images, anchors.count(), anchors.classes);
    let box_logits: Vec<&Tensor> = levels.iter().map(|level| level.box_logits.tensor()).collect();
    let boxes = with_slices(&box_logits, |levels: &[&[T]]| {
        let write = |image: usize, mut out: &mut [MaybeUninit<T>]| {
            for (logits, grid) in levels.iter().zip(&anchors.grids) {
                let (own, rest) = out.split_at_mut(grid.cells() * 4);
                let length = grid.cells() * 4 * anchors.bins;
                boxes_of(&logits[image * length..][..length], *grid, anchors.bins, own);
                out = rest;
            }
        };
        // SAFETY: `boxes_of` writes the boxes of all cells, and the grids have all cells of an image.
        unsafe { build(images * points * 4, points * 4, write) }
    })?;
    let class_logits: Vec<&Tensor> = levels.iter().map(|level| level.class_logits.tensor()).collect();
    let scores = with_slices(&class_logits, |levels: &[&[T]]| {
        let write = |image: usize, mut out: &mut [MaybeUninit<T>]| {
            for (logits, grid) in levels.iter().zip(&anchors.grids) {
                let length = grid.cells() * classes;
                let (own, rest) = out.split_at_mut(length);
                sigmoids(&logits[image * length..][..length], own);
                out = rest;
            }
        };
        // SAFETY: `sigmoids` writes every element, and the grids have all cells of an image.
        unsafe { build(images * points * classes, points * classes, write) }
    })?;
    Ok(DecodedBoxes {
        boxes: tensor(boxes, (images, points, 4))?,
        scores: tensor(scores, (images, points, classes))?,
    })
}

multiversion! {
    /// The boxes of one image and level in pixels.
    fn boxes_of<T: Float>(logits: &[T], grid: AnchorGrid, bins: usize, out: &mut [MaybeUninit<T>]) {
        let mut scratch = vec![T::ZERO; 4 * bins];
        for (cell, (logits, out)) in logits.chunks_exact(4 * bins).zip(out.chunks_exact_mut(4)).enumerate() {
            let corners = corners(grid.point(cell), &distances_of(logits, &mut scratch));
            for (out, corner) in out.iter_mut().zip(corners) {
                out.write(T::from_f64(corner * grid.stride));
            }
        }
    }
}

multiversion! {
    fn sigmoids<T: Float>(logits: &[T], out: &mut [MaybeUninit<T>]) {
        for (logit, out) in logits.iter().zip(out) {
            out.write(logit.sigmoid());
        }
    }
}

multiversion! {
    /// The expected bin of each side, from [4 · bins] logits. NaN if a logit is NaN or +∞.
    pub fn distances<T: Float>(logits: &[T], scratch: &mut [T]) -> [f64; 4] {
        distances_of(logits, scratch)
    }
}

/// Sums are in f64, so f32 and f64 differ only by the exponentials.
#[inline(always)]
fn distances_of<T: Float>(logits: &[T], scratch: &mut [T]) -> [f64; 4] {
    let bins = logits.len() / 4;
    let mut distances = [0.0; 4];
    let sides = logits.chunks_exact(bins).zip(scratch.chunks_exact_mut(bins));
    for ((logits, exponentials), distance) in sides.zip(&mut distances) {
        exponentials_of(logits, exponentials);
        let (mut sum, mut weighted) = (0.0, 0.0);
        for (bin, exponential) in exponentials.iter().enumerate() {
            sum += exponential.widen();
            weighted += bin as f64 * exponential.widen();
        }
        *distance = weighted / sum;
    }
    distances
}

/// e^(logit − maximum) of each logit, and the maximum.
#[inline(always)]
pub fn exponentials_of<T: Float>(logits: &[T], exponentials: &mut [T]) -> T {
    let largest = logits.iter().fold(logits[0], |most, x| if *x > most { *x } else { most });
    for (exponential, logit) in exponentials.iter_mut().zip(logits) {
        *exponential = (*logit - largest).exponential();
    }
    largest
}

/// The box at these distances from a point, in the same unit.
#[inline(always)]
pub fn corners([x, y]: [f64; 2], [left, top, right, bottom]: &[f64; 4]) -> Corners {
    [x - left, y - top, x + right, y + bottom]
}
