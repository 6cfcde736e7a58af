//! Products of operands that their producer writes directly in the kernels' layout, because they are computed
//! and not copied.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::kernel::{DEPTH, Kernel, KernelCall, ROW_STRIDE, depth_blocks};
use super::source::Packed;
use crate::ops::Activation;
use crate::ops::float::Float;
use crate::ops::profile::Profile;

/// The layout of a left operand written row by row.
#[derive(Clone, Copy)]
pub(in crate::ops) struct LeftRows {
    rows: usize,
    depth: usize,
}

impl LeftRows {
    pub fn new(rows: usize, depth: usize) -> Self {
        Self { rows, depth }
    }

    /// The number of elements of the buffer, including padding.
    pub fn length(&self) -> usize {
        depth_blocks(self.depth).count() * self.rows * ROW_STRIDE
    }

    /// The blocks of the depth, and the offset of each.
    pub fn depth_blocks(&self) -> impl Iterator<Item = (Range<usize>, usize)> {
        let size = self.rows * ROW_STRIDE;
        depth_blocks(self.depth).enumerate().map(move |(index, block)| (block, index * size))
    }

    /// The offset of a row within a block.
    pub fn row(&self, row: usize) -> usize {
        row * ROW_STRIDE
    }

    /// Writes left · right to `output`, row by row, on this thread.
    ///
    /// # Safety
    /// All elements of the depth are written in each row of `left`.
    pub unsafe fn multiply<T: Float>(
        &self,
        profile: Profile,
        left: &[MaybeUninit<T>],
        right: &Packed<T>,
        output: &mut [MaybeUninit<T>],
    ) {
        let (kernel, columns) = (Kernel::<T>::of(profile), right.columns);
        assert!(right.profile == profile && right.depth == self.depth);
        assert!(output.len() == self.rows * columns && left.len() >= self.length());
        let (_, height) = kernel.tiles(self.rows);
        let offsets: Vec<usize> = (0..height).map(|row| row * columns).collect();
        for (block, start) in self.depth_blocks() {
            for first in (0..columns).step_by(kernel.columns) {
                let panel = right.panel(block.clone(), first);
                for row in (0..self.rows).step_by(height.max(1)) {
                    let tile = KernelCall {
                        depth: block.len(),
                        left: left[start + row * ROW_STRIDE..].as_ptr().cast(),
                        row_step: ROW_STRIDE,
                        depth_step: 1,
                        right: panel.as_ptr().cast(),
                        right_step: kernel.columns,
                        rows: height.min(self.rows - row),
                        columns: kernel.columns.min(columns - first),
                        output: output[row * columns + first..].as_mut_ptr().cast(),
                        row_offsets: offsets.as_ptr(),
                        accumulate: block.start > 0,
                        bias: std::ptr::null(),
                        residual: std::ptr::null(),
                        activation: Activation::None,
                    };
                    // SAFETY: the operands hold the tile's rows and columns for each k, and the output its rows,
                    // as asserted above; the caller wrote the rows, `Packed` its panels; the machine supports
                    // the kernel.
                    unsafe { (kernel.run)(&tile) };
                }
            }
        }
    }
}

/// How one side of a product is split into panels.
#[derive(Clone, Copy)]
pub(in crate::ops) struct PanelShape {
    /// The rows or columns of the product.
    pub all: usize,
    /// The rows or columns of each panel, and its elements for each k.
    pub each: usize,
    pub width: usize,
}

impl PanelShape {
    pub fn count(&self) -> usize {
        self.all.div_ceil(self.each)
    }

    /// The rows or columns of a panel.
    pub fn channels(&self, panel: usize) -> Range<usize> {
        panel * self.each..self.all.min((panel + 1) * self.each)
    }
}

/// A product of two operands in panels of [k, width]; the output is stored by right panels.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Panels {
    pub left: PanelShape,
    pub right: PanelShape,
}

impl Panels {
    pub fn of<T: Float>(profile: Profile, rows: usize, columns: usize) -> Self {
        let kernel = Kernel::<T>::of(profile);
        let (_, height) = kernel.tiles(rows);
        Self {
            left: PanelShape { all: rows, each: height.max(1), width: kernel.lanes },
            right: PanelShape { all: columns, each: kernel.columns, width: kernel.columns },
        }
    }

    /// The maximum inner dimension of one multiplication.
    pub fn depth(&self) -> usize {
        DEPTH
    }

    /// The number of output elements under one right panel: [rows, width].
    pub fn panel_length(&self) -> usize {
        self.left.all * self.right.width
    }

    pub fn output_length(&self) -> usize {
        self.right.count() * self.panel_length()
    }

    /// Adds the product of all left panels with one right panel to `output`. Left panel i starts at `start + i ·
    /// step` of `left`.
    #[allow(clippy::too_many_arguments)]
    pub fn multiply<T: Float>(
        &self,
        profile: Profile,
        depth: usize,
        left: &[T],
        (start, step): (usize, usize),
        right: &[T],
        panel: usize,
        output: &mut [T],
    ) {
        let kernel = Kernel::<T>::of(profile);
        assert!(right.len() == depth * self.right.width && output.len() == self.panel_length());
        let offsets: Vec<usize> = (0..self.left.each).map(|row| row * self.right.width).collect();
        for index in 0..self.left.count() {
            let rows = self.left.channels(index);
            let tile = KernelCall {
                depth,
                left: left[start + index * step..][..depth * self.left.width].as_ptr(),
                row_step: 1,
                depth_step: self.left.width,
                right: right.as_ptr(),
                right_step: self.right.width,
                rows: rows.len(),
                columns: self.right.channels(panel).len(),
                output: output[rows.start * self.right.width..].as_mut_ptr(),
                row_offsets: offsets.as_ptr(),
                accumulate: true,
                bias: std::ptr::null(),
                residual: std::ptr::null(),
                activation: Activation::None,
            };
            // SAFETY: the panels hold `width` elements for each k, the output all rows; the machine supports the
            // kernel.
            unsafe { (kernel.run)(&tile) };
        }
    }
}
