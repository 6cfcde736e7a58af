//! The f32 kernel for AVX-512: 14 rows by 2 vectors of 16 columns, with 28 accumulators in registers.

use std::arch::x86_64::*;

use super::kernel::{Kernel, KernelCall, ROW_STRIDE};
use crate::ops::Activation;
use crate::ops::vector_x86::Avx512;

const ROWS: usize = 14;
const LANES: usize = 16;
/// Rows at any distance.
const ANY: usize = 0;

pub(super) static KERNEL: Kernel<f32> =
    Kernel { rows: ROWS, columns: 2 * LANES, lanes: LANES, vector: LANES, block_rows: 8 * ROWS, run };

#[target_feature(enable = "avx512f")]
unsafe fn run(tile: &KernelCall<f32>) {
    // SAFETY: the caller's contract is passed on.
    unsafe {
        match (tile.row_step, tile.columns > LANES) {
            (ROW_STRIDE, false) => by_rows::<1, ROW_STRIDE>(tile),
            (ROW_STRIDE, true) => by_rows::<2, ROW_STRIDE>(tile),
            (1, false) => by_rows::<1, 1>(tile),
            (1, true) => by_rows::<2, 1>(tile),
            (_, false) => by_rows::<1, ANY>(tile),
            (_, true) => by_rows::<2, ANY>(tile),
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn by_rows<const VECTORS: usize, const ROW_STEP: usize>(tile: &KernelCall<f32>) {
    macro_rules! dispatch {
        ($($rows:literal)*) => {
            match tile.rows {
                // SAFETY: the caller's contract is passed on.
                $($rows => unsafe { multiply::<$rows, VECTORS, ROW_STEP>(tile) },)*
                rows => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    dispatch!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
}

/// Repeats `$body` for each row, unrolled: a loop over an array would keep the accumulators in memory.
macro_rules! for_each_row {
    ($rows:ident, $row:ident => $body:block) => {
        for_each_row!(@ $rows, $row => $body; 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    (@ $rows:ident, $row:ident => $body:block; $($index:literal)*) => {
        $(if $index < $rows {
            let $row = $index;
            $body
        })*
    };
}

#[allow(clippy::absurd_extreme_comparisons)]
#[target_feature(enable = "avx512f")]
unsafe fn multiply<const ROWS: usize, const VECTORS: usize, const ROW_STEP: usize>(tile: &KernelCall<f32>) {
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    let row_step = if ROW_STEP == ANY { tile.row_step } else { ROW_STEP };
    // Three rows for each pointer: an address is a pointer plus once or twice a step, so registers suffice.
    let mut left: [*const f32; 5] = std::array::from_fn(
        #[inline(always)]
        |group| tile.left.wrapping_add(3 * group * row_step),
    );
    let mut right = tile.right;
    // Rows that nothing has copied come from far: the next tile's, while this one is multiplied.
    let mut ahead = tile.left.wrapping_add(tile.rows * row_step);
    for _ in 0..tile.depth {
        // SAFETY: the left block and the right panel have the tile's shape, and the latter whole vectors.
        unsafe {
            let columns: [__m512; VECTORS] = std::array::from_fn(
                #[inline(always)]
                |v| _mm512_loadu_ps(right.add(v * LANES)),
            );
            for_each_row!(ROWS, row => {
                let value = _mm512_set1_ps(*left[row / 3].add(row % 3 * row_step));
                for v in 0..VECTORS {
                    sums[row][v] = _mm512_fmadd_ps(value, columns[v], sums[row][v]);
                }
            });
            left = left.map(
                #[inline(always)]
                |left| left.wrapping_add(tile.depth_step),
            );
            right = right.wrapping_add(tile.right_step);
            if ROW_STEP == ANY {
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                ahead = ahead.wrapping_add(LANES);
            }
        }
    }
    let masks: [u16; VECTORS] = std::array::from_fn(
        #[inline(always)]
        |v| u16::MAX >> LANES.saturating_sub(tile.columns - v * LANES),
    );
    // SAFETY: the masks cover only the tile's columns, masked lanes are not accessed, and rows are within the
    // tile.
    unsafe {
        for_each_row!(ROWS, row => {
            let output = tile.output.add(*tile.row_offsets.add(row));
            for v in 0..VECTORS {
                let (mask, output) = (masks[v], output.add(v * LANES));
                if tile.accumulate {
                    sums[row][v] = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, output), sums[row][v]);
                }
                _mm512_mask_storeu_ps(output, mask, sums[row][v]);
            }
        });
        if !tile.bias.is_null() || !tile.residual.is_null() || tile.activation != Activation::None {
            for (v, &mask) in masks.iter().enumerate() {
                finish(tile, v * LANES, mask);
            }
        }
    }
}

/// The epilogue of one vector of columns.
#[target_feature(enable = "avx512f")]
unsafe fn finish(tile: &KernelCall<f32>, column: usize, mask: u16) {
    // SAFETY: as above; bias and residual have the extent of the output.
    unsafe {
        for row in 0..tile.rows {
            let offset = *tile.row_offsets.add(row) + column;
            let mut value = _mm512_maskz_loadu_ps(mask, tile.output.add(offset));
            if !tile.bias.is_null() {
                value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, tile.bias.add(column)));
            }
            if !tile.residual.is_null() {
                value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, tile.residual.add(offset)));
            }
            _mm512_mask_storeu_ps(
                tile.output.add(offset),
                mask,
                tile.activation.of(Avx512::of(value)).register(),
            );
        }
    }
}
