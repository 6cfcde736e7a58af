//! Products whose operands their maker writes straight into the kernels' layout, where they are the result of other
//! work and no copy of anything.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::kernel::{DEPTH, Kernel, Layout, ROW_STRIDE, Tile, depth_blocks};
use super::source::Packed;
use crate::ops::Activation;
use crate::ops::float::Float;
use crate::ops::profile::Profile;

/// The layout of a left operand that is written row by row.
#[derive(Clone, Copy)]
pub(in crate::ops) struct LeftRows {
    rows: usize,
    depth: usize,
}

impl LeftRows {
    pub fn new(rows: usize, depth: usize) -> Self {
        Self { rows, depth }
    }

    /// The numbers that hold it. Not all of them mean something.
    pub fn length(&self) -> usize {
        depth_blocks(self.depth).count() * self.rows * ROW_STRIDE
    }

    /// The parts of the depth, and where each starts.
    pub fn depth_blocks(&self) -> impl Iterator<Item = (Range<usize>, usize)> {
        let size = self.rows * ROW_STRIDE;
        depth_blocks(self.depth).enumerate().map(move |(index, block)| (block, index * size))
    }

    /// Where a row starts within a part.
    pub fn row(&self, row: usize) -> usize {
        row * ROW_STRIDE
    }

    /// Writes left · right to `output`, row after row, on this thread.
    ///
    /// # Safety
    /// Of each row of `left`, all numbers of the depth are written.
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
                    let tile = Tile {
                        depth: block.len(),
                        left: left[start + row * ROW_STRIDE..].as_ptr().cast(),
                        layout: Layout::Rows,
                        right: panel.as_ptr().cast(),
                        rows: height.min(self.rows - row),
                        columns: kernel.columns.min(columns - first),
                        output: output[row * columns + first..].as_mut_ptr().cast(),
                        row_offsets: offsets.as_ptr(),
                        accumulate: block.start > 0,
                        bias: std::ptr::null(),
                        residual: std::ptr::null(),
                        activation: Activation::None,
                    };
                    // SAFETY: the operands hold the tile's rows and columns for each k, the output its rows, as
                    // asserted above; the caller wrote the rows, `Packed` its panels; the kernel is one of the machine's.
                    unsafe { (kernel.run)(&tile) };
                }
            }
        }
    }
}

/// How one side of a product is cut into panels.
#[derive(Clone, Copy)]
pub(in crate::ops) struct PanelShape {
    /// The rows or columns of the product.
    pub all: usize,
    /// Those of each panel, and the numbers it holds for each k.
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

/// A product whose operands are both written panel by panel, [k, width] each, and whose output is kept by right panels.
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

    /// The longest inner dimension of one multiplication.
    pub fn depth(&self) -> usize {
        DEPTH
    }

    /// The numbers of the output under one right panel: [rows, width].
    pub fn panel_length(&self) -> usize {
        self.left.all * self.right.width
    }

    pub fn output_length(&self) -> usize {
        self.right.count() * self.panel_length()
    }

    /// Adds to `output` the product of all left panels with one right panel. Left panel i starts at
    /// `start + i · step` of `left`.
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
            let tile = Tile {
                depth,
                left: left[start + index * step..][..depth * self.left.width].as_ptr(),
                layout: Layout::Columns,
                right: right.as_ptr(),
                rows: rows.len(),
                columns: self.right.channels(panel).len(),
                output: output[rows.start * self.right.width..].as_mut_ptr(),
                row_offsets: offsets.as_ptr(),
                accumulate: true,
                bias: std::ptr::null(),
                residual: std::ptr::null(),
                activation: Activation::None,
            };
            // SAFETY: the panels hold `width` numbers for each k, the output all rows; the kernel is the machine's.
            unsafe { (kernel.run)(&tile) };
        }
    }
}
