//! Sources of operands, and right operands packed once for many products.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::buffer::Buffer;
use super::kernel::{Kernel, PackLayout, depth_blocks};
use super::matrix::Matrix;
use crate::ops::float::Float;
use crate::ops::profile::Profile;

/// How a block of a left operand is split into tiles.
#[derive(Clone, Copy)]
pub(in crate::ops) struct TileLayout {
    /// The rows of each tile but the last.
    pub height: usize,
    /// The stride between two k in [`PackLayout::Columns`].
    pub lanes: usize,
    /// The stride between two tiles.
    pub stride: usize,
}

/// A left operand, rows × depth, that can pack any part of itself into the kernels' layout.
///
/// # Safety
/// [`LeftSource::pack`] must write everything that it documents: kernels read it.
pub(in crate::ops) unsafe trait LeftSource<T>: Sync {
    /// The operand as a matrix in memory, if it is one: kernels may then read it in place.
    fn as_matrix(&self) -> Option<Matrix<'_, T>> {
        None
    }

    fn layout(&self) -> PackLayout;

    /// Writes `rows` × `depth` in [`Self::layout`] to `block`, tile by tile. Gaps need not be written.
    fn pack(
        &self,
        profile: Profile,
        rows: Range<usize>,
        depth: Range<usize>,
        tiles: TileLayout,
        block: &mut [MaybeUninit<T>],
    );
}

/// A right operand, depth × columns, that can pack any part of itself into the kernels' layout.
///
/// # Safety
/// [`RightSource::pack`] must write everything that it documents: kernels read it.
pub(in crate::ops) unsafe trait RightSource<T>: Sync {
    /// The operand as a matrix in memory, if it is one: kernels may then read it in place.
    fn as_matrix(&self) -> Option<Matrix<'_, T>> {
        None
    }

    /// Writes `depth` × `columns` to `block`, panel by panel of `width` columns, in order of k. Missing columns
    /// of the last panel are zeros.
    fn pack(
        &self,
        profile: Profile,
        depth: Range<usize>,
        columns: Range<usize>,
        width: usize,
        block: &mut [MaybeUninit<T>],
    );
}

/// The right operand of a product: packed before, or on demand.
///
/// Packing on demand is faster if each part is used once: if the left operand has few rows.
pub(in crate::ops) enum Right<'a, T> {
    Packed(&'a Packed<T>),
    Source(&'a dyn RightSource<T>),
}

/// A completely packed right operand: weights, used for every row and batch.
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
        let fill = |block, columns, width, panels: &mut [&mut [MaybeUninit<T>]]| {
            source.pack(profile, block, columns, width, panels[0]);
        };
        // SAFETY: a source writes every element of a panel.
        unsafe { Self::many(profile, depth, columns, 1, fill) }.remove(0)
    }

    /// Packs `count` operands of one shape together. `fill` gets a range of the depth, the columns of a panel,
    /// its width, and the memory of each operand: `width` elements for each k.
    ///
    /// # Safety
    /// `fill` must write all of the memory.
    pub unsafe fn many(
        profile: Profile,
        depth: usize,
        columns: usize,
        count: usize,
        fill: impl Fn(Range<usize>, Range<usize>, usize, &mut [&mut [MaybeUninit<T>]]) + Sync,
    ) -> Vec<Self> {
        let width = Kernel::<T>::of(profile).columns;
        let panels = columns.div_ceil(width);
        let mut buffers: Vec<Buffer> = (0..count).map(|_| Buffer::new::<T>(depth * panels * width)).collect();
        let mut rests: Vec<&mut [MaybeUninit<T>]> =
            buffers.iter_mut().map(|buffer| &mut buffer.as_mut_slice()[..depth * panels * width]).collect();
        let mut jobs = Vec::new();
        for block in depth_blocks(depth).filter(|block| !block.is_empty()) {
            for panel in 0..panels {
                let mut memory = Vec::with_capacity(count);
                for rest in &mut rests {
                    memory.push(rest.split_off_mut(..block.len() * width).expect("memory for every panel"));
                }
                jobs.push((block.clone(), panel * width..columns.min((panel + 1) * width), memory));
            }
        }
        jobs.into_par_iter().with_min_len(4usize.div_ceil(count.max(1))).for_each(
            |(block, columns, mut memory)| {
                fill(block, columns, width, &mut memory);
            },
        );
        let packed =
            |buffer| Self { profile, depth, columns, width, buffer, numbers: std::marker::PhantomData };
        buffers.into_iter().map(packed).collect()
    }

    pub fn depth(&self) -> usize {
        self.depth
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The panel that starts at `column`, for one block of the depth; it is completely written.
    pub(super) fn panel(&self, block: Range<usize>, column: usize) -> &[MaybeUninit<T>] {
        let width = self.width;
        let start = block.start * self.columns.next_multiple_of(width) + block.len() * column;
        &self.buffer.as_slice::<T>()[start..start + block.len() * width]
    }
}
