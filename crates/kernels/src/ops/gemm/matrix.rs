//! Products of plain strided matrices.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::kernel::{Epilogue, PackLayout, ROW_STRIDE};
use super::output::{Output, RowOffsets};
use super::product::Product;
use super::source::{LeftSource, Packed, Right, RightSource, TileLayout};
use crate::ops::float::Float;
use crate::ops::profile::Profile;

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

/// Copies as many elements as `to` holds from the start of `from`, with vectors of the profile it is inlined
/// into.
///
/// Runs are short, and a call of the system's `memcpy` costs as much as the copy. It copies two vectors per
/// step, because the compiler would replace a loop of single ones by that call.
#[inline(always)]
pub(in crate::ops) fn copy_run<T: Copy>(to: &mut [MaybeUninit<T>], from: &[T]) {
    let length = to.len();
    let from = &from[..length];
    let mut done = 0;
    while done + 32 <= length {
        copy_lanes::<T, 16>(to, from, done);
        copy_lanes::<T, 16>(to, from, done + 16);
        done += 32;
    }
    if done + 16 <= length {
        copy_lanes::<T, 16>(to, from, done);
        done += 16;
    }
    // Copies the rest with one more vector, which ends at the end.
    match length {
        _ if done == length => {}
        16.. => copy_lanes::<T, 16>(to, from, length - 16),
        8.. => {
            copy_lanes::<T, 8>(to, from, 0);
            copy_lanes::<T, 8>(to, from, length - 8);
        }
        4.. => {
            copy_lanes::<T, 4>(to, from, 0);
            copy_lanes::<T, 4>(to, from, length - 4);
        }
        _ => to.iter_mut().zip(from).for_each(|(to, &from)| *to = MaybeUninit::new(from)),
    }
}

#[inline(always)]
fn copy_lanes<T: Copy, const LANES: usize>(to: &mut [MaybeUninit<T>], from: &[T], at: usize) {
    let from: &[T; LANES] = from[at..at + LANES].try_into().expect("a slice of this length");
    to[at..at + LANES].write_copy_of_slice(from);
}
