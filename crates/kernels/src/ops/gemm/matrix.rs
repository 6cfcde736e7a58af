//! Products of plain strided matrices.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::kernel::{Epilogue, PackLayout, ROW_STRIDE};
use super::output::{Output, RowOffsets};
use super::product::Product;
use super::source::{LeftSource, Packed, Right, RightSource, TileLayout};
use crate::ops::buffer::copy_run;
use crate::ops::float::Float;
use crate::ops::profile::Profile;

/// Lines this many bytes apart share few sets of the first-level cache: those of a tile of rows, read together, and those
/// of all k of a block, read again for each tile.
const ROWS_COMPETE: usize = 4096;
const DEPTH_COMPETES: usize = 512;

/// A matrix in memory: element (r, c) at `r * row_stride + c * column_stride`.
#[derive(Clone, Copy)]
pub struct Matrix<'a, T> {
    pub data: &'a [T],
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A row-major matrix.
    pub fn row_major(data: &'a [T], columns: usize) -> Self {
        Self { data, row_stride: columns, column_stride: 1 }
    }

    /// Whether kernels read it in place as a left operand as fast as when it is packed before, or faster.
    pub(super) fn suits_left(&self) -> bool {
        let bytes = |stride: usize| stride * size_of::<T>();
        match (self.row_stride, self.column_stride) {
            (stride, 1) => !bytes(stride).is_multiple_of(ROWS_COMPETE),
            (1, stride) => !bytes(stride).is_multiple_of(DEPTH_COMPETES),
            _ => false,
        }
    }

    /// Whether kernels read `columns` of it in place as a right operand: in whole vectors, and as fast.
    pub(super) fn suits_right(&self, vector: usize, columns: usize) -> bool {
        let bytes = self.row_stride * size_of::<T>();
        self.column_stride == 1 && columns.is_multiple_of(vector) && !bytes.is_multiple_of(DEPTH_COMPETES)
    }

    /// From the first of these rows and columns to the last.
    ///
    /// # Panics
    /// The matrix ends before.
    pub(super) fn from(&self, rows: &Range<usize>, columns: &Range<usize>) -> &'a [T] {
        let at = |row: usize, column: usize| row * self.row_stride + column * self.column_stride;
        match (rows.is_empty(), columns.is_empty()) {
            (false, false) => &self.data[at(rows.start, columns.start)..=at(rows.end - 1, columns.end - 1)],
            _ => &[],
        }
    }

    /// The transposed view.
    pub fn transposed(self) -> Self {
        Self { row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }
}

/// c (+)= a · b, for a of m × k and b of k × n; c is row-major m × n. All profiles give the same result.
pub fn gemm<T: Float>(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    c: &mut [T],
    accumulate: bool,
) {
    gemm_on(Profile::current(), m, n, k, a, b, c, accumulate);
}

#[allow(clippy::too_many_arguments)]
pub(super) fn gemm_on<T: Float>(
    profile: Profile,
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    c: &mut [T],
    accumulate: bool,
) {
    assert_eq!(c.len(), m * n, "the output holds m × n numbers");
    let packed = Packed::new(profile, k, n, &b);
    Product {
        profile,
        rows: m,
        columns: n,
        depth: k,
        left: &a,
        right: Right::Packed(&packed),
        epilogue: Epilogue::NONE,
    }
    .compute(Output::existing(c, RowOffsets::Even { start: 0, stride: n }, accumulate));
}

// SAFETY: each row, or each k of a tile, is copied completely.
unsafe impl<T: Float> LeftSource<T> for Matrix<'_, T> {
    fn as_matrix(&self) -> Option<Matrix<'_, T>> {
        Some(*self)
    }

    fn layout(&self) -> PackLayout {
        if self.row_stride == 1 && self.column_stride != 1 { PackLayout::Columns } else { PackLayout::Rows }
    }

    fn pack(
        &self,
        profile: Profile,
        rows: Range<usize>,
        depth: Range<usize>,
        tiles: TileLayout,
        block: &mut [MaybeUninit<T>],
    ) {
        let &Self { data, row_stride, column_stride } = self;
        profile.run(
            #[inline(always)]
            || match self.layout() {
                PackLayout::Columns => {
                    for (slot, k) in depth.enumerate() {
                        let block = &mut block[slot * tiles.lanes..];
                        for (tile, first) in rows.clone().step_by(tiles.height).enumerate() {
                            let data = &data[k * column_stride + first..];
                            let slot = &mut block[tile * tiles.stride..][..tiles.lanes];
                            match data.first_chunk::<16>() {
                                // Copies more than needed, but as one vector: lanes beyond the rows are never
                                // read.
                                Some(data) if slot.len() == 16 => {
                                    slot.write_copy_of_slice(data);
                                }
                                _ => copy_run(&mut slot[..tiles.height.min(rows.end - first)], data),
                            }
                        }
                    }
                }
                PackLayout::Rows => {
                    for (row, slot) in rows.zip(block.chunks_mut(ROW_STRIDE)) {
                        let (slot, data) = (&mut slot[..depth.len()], &data[row * row_stride..]);
                        if column_stride == 1 {
                            copy_run(slot, &data[depth.start..]);
                        } else {
                            for (k, slot) in depth.clone().zip(slot) {
                                slot.write(data[k * column_stride]);
                            }
                        }
                    }
                }
            },
        );
    }
}

// SAFETY: each k of a panel is copied completely, and missing columns are zeroed before.
unsafe impl<T: Float> RightSource<T> for Matrix<'_, T> {
    fn as_matrix(&self) -> Option<Matrix<'_, T>> {
        Some(*self)
    }

    fn pack(
        &self,
        profile: Profile,
        depth: Range<usize>,
        columns: Range<usize>,
        width: usize,
        block: &mut [MaybeUninit<T>],
    ) {
        let &Self { data, row_stride, column_stride } = self;
        let panels = columns.clone().step_by(width).map(|first| first..columns.end.min(first + width));
        profile.run(
            #[inline(always)]
            || {
                for (panel, columns) in block.chunks_exact_mut(depth.len() * width).zip(panels) {
                    if columns.len() < width {
                        panel.fill(MaybeUninit::new(T::ZERO));
                    }
                    if column_stride == 1 {
                        for (k, slot) in depth.clone().zip(panel.chunks_exact_mut(width)) {
                            copy_run(&mut slot[..columns.len()], &data[k * row_stride + columns.start..]);
                        }
                        continue;
                    }
                    // Handles a few k of all columns at a time, so that source and destination stay in the
                    // cache.
                    for first in depth.clone().step_by(16) {
                        for (lane, column) in columns.clone().enumerate() {
                            for k in first..depth.end.min(first + 16) {
                                panel[(k - depth.start) * width + lane]
                                    .write(data[k * row_stride + column * column_stride]);
                            }
                        }
                    }
                }
            },
        );
    }
}
