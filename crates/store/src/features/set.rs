//! All rows of one kind: which images have theirs, and a batch of them as one tensor.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::segment::{Rows, Segment};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::pipeline::FeatureType;

/// Fewer numbers than these are not worth another thread.
const TASK: usize = 1 << 14;

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    segment: u32,
    row: u32,
}

/// What a set has of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Row(Place),
    /// The image was tried and cannot be read.
    Unreadable,
}

/// The rows of a set as they were when it was opened, and those added since.
pub struct FeatureSet {
    kind: FeatureType,
    segments: Vec<Segment>,
    places: HashMap<Digest, Found>,
}

impl FeatureSet {
    pub(super) fn new(kind: FeatureType) -> Self {
        Self { kind, segments: Vec::new(), places: HashMap::new() }
    }

    /// Adds a segment's rows; false for one that is not of this set's kind.
    pub(super) fn add(&mut self, segment: Segment) -> bool {
        if segment.kind != self.kind || self.shape().is_some_and(|shape| *shape != segment.shape) {
            return false;
        }
        let number = self.segments.len() as u32;
        for (key, row) in segment.keys() {
            let found = row.map_or(Found::Unreadable, |row| Found::Row(Place { segment: number, row }));
            self.places.entry(key).or_insert(found);
        }
        self.segments.push(segment);
        true
    }

    /// Rows to be added, none yet.
    pub fn draft(&self) -> Rows {
        Rows::new(self.kind)
    }

    /// The shape of a row, if there is one.
    pub fn shape(&self) -> Option<&Vec<usize>> {
        self.segments.first().map(|segment| &segment.shape)
    }

    /// What a row takes on the disk, if there is one.
    pub fn row_bytes(&self) -> Option<usize> {
        self.shape().map(|shape| shape.iter().product::<usize>() * self.kind.bytes())
    }

    pub fn find(&self, key: &Digest) -> Option<Found> {
        self.places.get(key).copied()
    }

    /// The rows of some places, one beside the other: [N, …] in f32.
    pub fn gather(&self, places: &[Place]) -> Result<Tensor> {
        let shape = self.shape().ok_or_else(|| Error::bug("an empty set has no rows"))?;
        let width = shape.iter().product::<usize>().max(1);
        let mut numbers = vec![0f32; places.len() * width];
        numbers
            .par_chunks_mut(width)
            .zip(places)
            .with_min_len((TASK / width).max(1))
            .for_each(|(row, place)| self.segments[place.segment as usize].read(place.row, row));
        let shape = [&[places.len()], &shape[..]].concat();
        Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
    }
}
