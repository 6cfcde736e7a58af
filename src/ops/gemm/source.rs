//! Where operands come from, and right operands packed once for many products.

use std::ops::Range;

use rayon::prelude::*;

use super::buffer::Buffer;
use super::kernel::{Kernel, Layout, depth_blocks};
use crate::ops::float::Float;
use crate::ops::profile::Profile;

/// How a block of a left operand is cut into tiles.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Tiles {
    /// The rows of each tile but the last.
    pub height: usize,
    /// The distance of two k in [`Layout::Columns`].
    pub lanes: usize,
    /// The distance of two tiles.
    pub stride: usize,
}

/// A left operand, rows × depth, that can copy any part of itself into the kernel's layout.
pub(in crate::ops) trait LeftSource<T>: Sync {
    fn layout(&self) -> Layout;

    /// Writes `rows` × `depth` in [`Self::layout`] to `block`, tile after tile. What lies between need not be written.
    fn pack(&self, profile: Profile, rows: Range<usize>, depth: Range<usize>, tiles: Tiles, block: &mut [T]);
}

/// A right operand, depth × columns, that can copy any part of itself into the kernel's layout.
pub(in crate::ops) trait RightSource<T>: Sync {
    /// Writes `depth` × `columns` to `block`, panel after panel of `width` columns, each k after k. The columns
    /// missing from the last panel are zeros.
    fn pack(
        &self,
        profile: Profile,
        depth: Range<usize>,
        columns: Range<usize>,
        width: usize,
        block: &mut [T],
    );
}

/// The right operand of a product: packed before, or as it is needed.
///
/// The latter pays where the same part is not needed again: where the left operand has few rows.
pub(in crate::ops) enum Right<'a, T> {
    Packed(&'a Packed<T>),
    Source(&'a dyn RightSource<T>),
}

/// A right operand packed whole: weights, used for every row and batch.
pub(in crate::ops) struct Packed<T> {
    pub(super) profile: Profile,
    pub(super) depth: usize,
    pub(super) columns: usize,
    width: usize,
    buffer: Buffer,
    numbers: std::marker::PhantomData<T>,
}

impl<T: Float> Packed<T> {
    pub fn new(profile: Profile, depth: usize, columns: usize, source: &dyn RightSource<T>) -> Self {
        let width = Kernel::<T>::of(profile).columns;
        let panels = columns.div_ceil(width);
        let mut buffer = Buffer::zeroed::<T>(depth * panels * width);
        let mut rest = &mut buffer.as_mut_slice::<T>()[..depth * panels * width];
        let mut jobs = Vec::new();
        for block in depth_blocks(depth).filter(|block| !block.is_empty()) {
            for panel in 0..panels {
                let (memory, after) = rest.split_at_mut(block.len() * width);
                rest = after;
                jobs.push((block.clone(), panel * width..columns.min((panel + 1) * width), memory));
            }
        }
        jobs.into_par_iter().with_min_len(4).for_each(|(block, columns, memory)| {
            source.pack(profile, block, columns, width, memory);
        });
        Self { profile, depth, columns, width, buffer, numbers: std::marker::PhantomData }
    }

    /// The panel that starts at `column`, for one block of the depth.
    pub(super) fn panel(&self, block: Range<usize>, column: usize) -> &[T] {
        let width = self.width;
        let start = block.start * self.columns.next_multiple_of(width) + block.len() * column;
        &self.buffer.as_slice::<T>()[start..start + block.len() * width]
    }
}
