//! All rows of one kind: the images that have a row, and batches of rows as tensors.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::segment::{Segment, SegmentWriter};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::pipeline::FeatureType;

/// The minimum number of elements per thread.
const TASK: usize = 1 << 14;

/// The location of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLocation {
    segment: u32,
    row: u32,
}

/// The outcome of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureLookup {
    Row(RowLocation),
    /// The image is known to be unreadable.
    Unreadable,
}

/// The rows of a set when it was opened, and the rows added since.
pub struct FeatureSet {
    kind: FeatureType,
    segments: Vec<Segment>,
    places: HashMap<Digest, FeatureLookup>,
}

impl FeatureSet {
    pub(super) fn new(kind: FeatureType) -> Self {
        Self { kind, segments: Vec::new(), places: HashMap::new() }
    }

    /// Adds a file's rows; returns false if its type or shape differs.
    pub(super) fn add(&mut self, segment: Segment) -> bool {
        if segment.kind != self.kind || self.shapes().is_some_and(|shapes| shapes != segment.shapes) {
            return false;
        }
        let number = self.segments.len() as u32;
        for (key, row) in segment.keys() {
            let found = row.map_or(FeatureLookup::Unreadable, |row| {
                FeatureLookup::Row(RowLocation { segment: number, row })
            });
            self.places.entry(key).or_insert(found);
        }
        self.segments.push(segment);
        true
    }

    /// A writer for new rows.
    pub fn writer(&self) -> SegmentWriter {
        SegmentWriter::new(self.kind)
    }

    /// The shape of each tensor of a row, if there is a row.
    pub fn shapes(&self) -> Option<&[Vec<usize>]> {
        self.segments.first().map(|segment| &segment.shapes[..])
    }

    /// The bytes of a row on disk, if there is one.
    pub fn row_bytes(&self) -> Option<usize> {
        let numbers =
            |shapes: &[Vec<usize>]| shapes.iter().map(|shape| shape.iter().product::<usize>()).sum::<usize>();
        self.shapes().map(|shapes| numbers(shapes) * self.kind.bytes())
    }

    pub fn find(&self, key: &Digest) -> Option<FeatureLookup> {
        self.places.get(key).copied()
    }

    /// The tensors of some rows, each [N, …] in f32.
    pub fn gather(&self, places: &[RowLocation]) -> Result<Vec<Tensor>> {
        let shapes = self.shapes().ok_or_else(|| Error::bug("an empty set has no rows"))?;
        let mut first = 0;
        let tensor = |shape: &Vec<usize>| {
            let tensor = self.gather_tensor(places, shape, first);
            first += shape.iter().product::<usize>();
            tensor
        };
        shapes.iter().map(tensor).collect()
    }

    /// The tensor that begins with value `first` of each row.
    fn gather_tensor(&self, places: &[RowLocation], shape: &[usize], first: usize) -> Result<Tensor> {
        let width = shape.iter().product::<usize>().max(1);
        let mut numbers = vec![0f32; places.len() * width];
        numbers
            .par_chunks_mut(width)
            .zip(places)
            .with_min_len((TASK / width).max(1))
            .for_each(|(row, place)| self.segments[place.segment as usize].read(place.row, first, row));
        let shape = [&[places.len()], shape].concat();
        Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
    }
}
