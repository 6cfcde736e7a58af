//! The blocking: a product is split into tasks by its shape, and tasks into kernel calls.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::buffer::with_workspace;
use super::kernel::{
    BLOCK_COLUMNS, DEPTH, Epilogue, Kernel, KernelCall, PackLayout, ROW_STRIDE, depth_blocks,
};
use super::matrix::Matrix;
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
        let left_in_place = self.left.as_matrix().filter(Matrix::suits_left);
        let right_in_place = match self.right {
            Right::Packed(_) => None,
            Right::Source(right) => {
                right.as_matrix().filter(|right| right.suits_right(kernel.vector, columns.len()))
            }
        };
        let left_length = match left_in_place {
            Some(_) => 0,
            None => (count * kernel.lanes * DEPTH).max(rows.len() * ROW_STRIDE),
        };
        let right_length = match (&self.right, right_in_place) {
            (Right::Source(_), None) => columns.len().next_multiple_of(kernel.columns) * DEPTH,
            _ => 0,
        };
        let offsets = output.rows.of_all(rows.clone());
        with_workspace(
            left_length,
            right_length,
            |left: &mut [MaybeUninit<T>], right: &mut [MaybeUninit<T>]| {
                for depth in depth_blocks(self.depth) {
                    // An empty sum has nothing to read.
                    let tiles = match left_in_place {
                        _ if depth.is_empty() => Operand::EMPTY,
                        Some(matrix) => Operand::in_place(&matrix, &rows, &depth, height),
                        None => {
                            let stride = match self.left.layout() {
                                PackLayout::Rows => height * ROW_STRIDE,
                                PackLayout::Columns => depth.len() * kernel.lanes,
                            };
                            let tiles = TileLayout { height, lanes: kernel.lanes, stride };
                            self.left.pack(self.profile, rows.clone(), depth.clone(), tiles, left);
                            Operand::packed(self.left.layout(), left, tiles, count)
                        }
                    };
                    if let (Right::Source(source), None, false) =
                        (&self.right, right_in_place, depth.is_empty())
                    {
                        source.pack(self.profile, depth.clone(), columns.clone(), kernel.columns, right);
                    }
                    for first in columns.clone().step_by(kernel.columns) {
                        let columns_here = first..columns.end.min(first + kernel.columns);
                        let panel = match (&self.right, right_in_place) {
                            (Right::Packed(packed), _) => {
                                Panel::packed(packed.panel(depth.clone(), first), kernel, &depth)
                            }
                            (_, Some(matrix)) => Panel::in_place(&matrix, &depth, &columns_here),
                            _ => {
                                Panel::packed(&right[(first - columns.start) * depth.len()..], kernel, &depth)
                            }
                        };
                        self.panel(kernel, tiles, panel, &depth, &offsets, height, columns_here, output);
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
        left: Operand<T>,
        right: Panel<T>,
        depth: &Range<usize>,
        offsets: &[usize],
        height: usize,
        columns: Range<usize>,
        output: &Output<'_, T>,
    ) {
        let last = depth.end == self.depth;
        for (tile, offsets) in offsets.chunks(height).enumerate() {
            for &offset in offsets {
                output.pointer(offset + columns.start, columns.len());
            }
            let pointer = |of: Option<&[T]>| match of {
                Some(numbers) if last => numbers.as_ptr().wrapping_add(columns.start),
                _ => std::ptr::null(),
            };
            let call = KernelCall {
                depth: depth.len(),
                left: left.start.wrapping_add(tile * left.tile_step),
                row_step: left.row_step,
                depth_step: left.depth_step,
                right: right.start,
                right_step: right.step,
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
            // contracts say, or they are matrices whose last element was checked; output (and the residual of the
            // same length) contain each row's last column, checked above; the machine supports the kernel.
            unsafe { (kernel.run)(&call) };
        }
    }
}

/// The rows of a left block, as kernels read them.
#[derive(Clone, Copy)]
struct Operand<T> {
    start: *const T,
    row_step: usize,
    depth_step: usize,
    tile_step: usize,
}

impl<T: Float> Operand<T> {
    const EMPTY: Self = Self { start: std::ptr::null(), row_step: 1, depth_step: 1, tile_step: 0 };

    fn packed(layout: PackLayout, block: &[MaybeUninit<T>], tiles: TileLayout, count: usize) -> Self {
        assert!(count.saturating_sub(1) * tiles.stride <= block.len(), "every tile begins within the block");
        let (row_step, depth_step) = match layout {
            PackLayout::Rows => (ROW_STRIDE, 1),
            PackLayout::Columns => (1, tiles.lanes),
        };
        Self { start: block.as_ptr().cast(), row_step, depth_step, tile_step: tiles.stride }
    }

    /// # Panics
    /// The matrix ends before the last row and k.
    fn in_place(matrix: &Matrix<'_, T>, rows: &Range<usize>, depth: &Range<usize>, height: usize) -> Self {
        let (row_step, depth_step) = (matrix.row_stride, matrix.column_stride);
        let part = matrix.from(rows, depth);
        Self { start: part.as_ptr(), row_step, depth_step, tile_step: height * row_step }
    }
}

/// The columns of a right panel, as kernels read them.
#[derive(Clone, Copy)]
struct Panel<T> {
    start: *const T,
    step: usize,
}

impl<T: Float> Panel<T> {
    fn packed(panel: &[MaybeUninit<T>], kernel: &Kernel<T>, depth: &Range<usize>) -> Self {
        Self { start: panel[..depth.len() * kernel.columns].as_ptr().cast(), step: kernel.columns }
    }

    /// # Panics
    /// The matrix ends before the last k and column.
    fn in_place(matrix: &Matrix<'_, T>, depth: &Range<usize>, columns: &Range<usize>) -> Self {
        Self { start: matrix.from(depth, columns).as_ptr(), step: matrix.row_stride }
    }
}
