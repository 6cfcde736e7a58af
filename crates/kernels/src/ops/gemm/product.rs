//! The blocking: a product is split into tasks by its shape, and tasks into kernel calls.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::buffer::with_workspace;
use super::kernel::{
    BLOCK_COLUMNS, DEPTH, Epilogue, Kernel, KernelCall, PackLayout, ROW_STRIDE, depth_blocks,
};
use super::output::Output;
use super::source::{LeftSource, Right, TileLayout};
use crate::ops::Activation;
use crate::ops::float::Float;
use crate::ops::profile::Profile;

/// The multiply-adds that are worth a task of their own.
const TASK: usize = 1 << 22;

/// output (+)= left · right.
pub(in crate::ops) struct Product<'a, T> {
    pub profile: Profile,
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    pub left: &'a dyn LeftSource<T>,
    pub right: Right<'a, T>,
    pub epilogue: Epilogue<'a, T>,
}

impl<T: Float> Product<'_, T> {
    /// Computes the product, in parallel.
    ///
    /// # Panics
    /// Rows of the output overlap.
    pub fn compute(&self, output: Output<'_, T>) {
        let kernel = Kernel::<T>::of(self.profile);
        if let Right::Packed(packed) = self.right {
            assert_eq!(
                (packed.profile, packed.depth, packed.columns),
                (self.profile, self.depth, self.columns)
            );
        }
        let epilogue = &self.epilogue;
        assert!(epilogue.bias.is_none_or(|bias| bias.len() == self.columns), "one bias for each column");
        assert!(epilogue.residual.is_none_or(|residual| residual.len() == output.length()));
        assert!(output.rows.are_disjoint(self.rows, self.columns), "rows of the output overlap");
        if self.columns == 0 {
            return;
        }
        // An operand that is packed on demand is packed again for each block of rows, so there should be few
        // blocks.
        let block_rows = match self.right {
            Right::Packed(_) => kernel.block_rows,
            Right::Source(_) => 4 * kernel.block_rows,
        };
        let row_blocks = self.rows.div_ceil(block_rows);
        let block_rows = self.rows.div_ceil(row_blocks.max(1)).next_multiple_of(kernel.rows);
        let column_blocks = self.columns.div_ceil(BLOCK_COLUMNS);
        let blocks = row_blocks * column_blocks;
        let block_work = block_rows * self.columns.min(BLOCK_COLUMNS) * self.depth.max(1);
        let blocks_per_task = TASK.div_ceil(block_work.max(1));
        (0..blocks.div_ceil(blocks_per_task)).into_par_iter().with_max_len(1).for_each(|task| {
            for block in task * blocks_per_task..blocks.min((task + 1) * blocks_per_task) {
                let (row_block, column_block) = (block / column_blocks, block % column_blocks);
                let first = (row_block * block_rows).min(self.rows);
                let rows = first..self.rows.min(first + block_rows);
                let first = column_block * BLOCK_COLUMNS;
                let columns = first..self.columns.min(first + BLOCK_COLUMNS);
                self.block(&kernel, rows, columns, &output);
            }
        });
    }

    /// Computes one block of the output, over the whole depth.
    fn block(&self, kernel: &Kernel<T>, rows: Range<usize>, columns: Range<usize>, output: &Output<'_, T>) {
        let (count, height) = kernel.tiles(rows.len());
        let left_length = (count * kernel.lanes * DEPTH).max(rows.len() * ROW_STRIDE);
        let right_length = match self.right {
            Right::Packed(_) => 0,
            Right::Source(_) => columns.len().next_multiple_of(kernel.columns) * DEPTH,
        };
        let offsets: Vec<usize> = rows.clone().map(|row| output.rows.of(row)).collect();
        with_workspace(
            left_length,
            right_length,
            |left: &mut [MaybeUninit<T>], right: &mut [MaybeUninit<T>]| {
                for depth in depth_blocks(self.depth) {
                    let stride = match self.left.layout() {
                        PackLayout::Rows => height * ROW_STRIDE,
                        PackLayout::Columns => depth.len() * kernel.lanes,
                    };
                    let tiles = TileLayout { height, lanes: kernel.lanes, stride };
                    // An empty sum has nothing to pack.
                    if !depth.is_empty() {
                        self.left.pack(self.profile, rows.clone(), depth.clone(), tiles, left);
                        if let Right::Source(source) = self.right {
                            source.pack(self.profile, depth.clone(), columns.clone(), kernel.columns, right);
                        }
                    }
                    for first in columns.clone().step_by(kernel.columns) {
                        let panel = match self.right {
                            Right::Packed(packed) => packed.panel(depth.clone(), first),
                            Right::Source(_) => &right[(first - columns.start) * depth.len()..],
                        };
                        let columns = first..columns.end.min(first + kernel.columns);
                        self.panel(kernel, left, tiles, panel, &depth, &offsets, columns, output);
                    }
                }
            },
        );
    }

    /// Multiplies all tiles of a block with one right panel, which stays in the first-level cache.
    #[allow(clippy::too_many_arguments)]
    fn panel(
        &self,
        kernel: &Kernel<T>,
        left: &[MaybeUninit<T>],
        tiles: TileLayout,
        right: &[MaybeUninit<T>],
        depth: &Range<usize>,
        offsets: &[usize],
        columns: Range<usize>,
        output: &Output<'_, T>,
    ) {
        let last = depth.end == self.depth;
        let right = &right[..depth.len() * kernel.columns];
        for (tile, offsets) in offsets.chunks(tiles.height).enumerate() {
            for &offset in offsets {
                output.pointer(offset + columns.start, columns.len());
            }
            let pointer = |of: Option<&[T]>| match of {
                Some(numbers) if last => numbers.as_ptr().wrapping_add(columns.start),
                _ => std::ptr::null(),
            };
            let call = KernelCall {
                depth: depth.len(),
                left: left[tile * tiles.stride..].as_ptr().cast(),
                layout: self.left.layout(),
                right: right.as_ptr().cast(),
                rows: offsets.len(),
                columns: columns.len(),
                output: output.pointer(columns.start, 0),
                row_offsets: offsets.as_ptr(),
                accumulate: output.accumulate || depth.start > 0,
                bias: pointer(self.epilogue.bias),
                residual: pointer(self.epilogue.residual),
                activation: if last { self.epilogue.activation } else { Activation::None },
            };
            // SAFETY: the left source wrote the tile's rows and the right one a full panel for each k, as their
            // contracts say; output (and the residual of the same length) contain each row's last column,
            // checked above; the machine supports the kernel.
            unsafe { (kernel.run)(&call) };
        }
    }
}
