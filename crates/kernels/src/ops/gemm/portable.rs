//! The portable Rust kernel: for f64, and for machines without a specialised kernel.

use super::kernel::{Kernel, KernelCall};
use crate::ops::float::Float;
use crate::ops::profile::Profile;
use crate::ops::vector::Single;

const ROWS: usize = 4;
const COLUMNS: usize = 16;

pub(super) fn kernel<T: Float>(profile: Profile) -> Kernel<T> {
    let run = match profile {
        Profile::X86V4 => run_x86_v4::<T>,
        Profile::X86V3 => run_x86_v3::<T>,
        Profile::Scalar => run_scalar::<T>,
    };
    Kernel { rows: ROWS, columns: COLUMNS, lanes: ROWS, vector: COLUMNS, block_rows: 24 * ROWS, run }
}

unsafe fn run_x86_v4<T: Float>(tile: &KernelCall<T>) {
    // SAFETY: the caller's contract is passed on.
    Profile::X86V4.run(
        #[inline(always)]
        || unsafe { run(tile) },
    );
}

unsafe fn run_x86_v3<T: Float>(tile: &KernelCall<T>) {
    // SAFETY: the caller's contract is passed on.
    Profile::X86V3.run(
        #[inline(always)]
        || unsafe { run(tile) },
    );
}

unsafe fn run_scalar<T: Float>(tile: &KernelCall<T>) {
    // SAFETY: the caller's contract is passed on.
    unsafe { run(tile) }
}

#[inline(always)]
unsafe fn run<T: Float>(tile: &KernelCall<T>) {
    let mut sums = [[T::ZERO; COLUMNS]; ROWS];
    for k in 0..tile.depth {
        // SAFETY: a right panel has `COLUMNS` elements for each k; rows beyond the tile repeat its last, and
        // their results are not stored.
        unsafe {
            let right = &*tile.right.add(k * tile.right_step).cast::<[T; COLUMNS]>();
            for (row, sums) in sums.iter_mut().enumerate() {
                let left = *tile.left.add(row.min(tile.rows - 1) * tile.row_step + k * tile.depth_step);
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = left.fused_multiply_add(*right, *sum);
                }
            }
        }
    }
    for (row, sums) in sums.iter().enumerate().take(tile.rows) {
        for (column, &sum) in sums.iter().enumerate().take(tile.columns) {
            // SAFETY: row and column are within the tile.
            unsafe {
                let offset = *tile.row_offsets.add(row) + column;
                let mut value = sum;
                if tile.accumulate {
                    value = *tile.output.add(offset) + value;
                }
                if !tile.bias.is_null() {
                    value += *tile.bias.add(column);
                }
                if !tile.residual.is_null() {
                    value += *tile.residual.add(offset);
                }
                *tile.output.add(offset) = tile.activation.of(Single(value)).0;
            }
        }
    }
}
