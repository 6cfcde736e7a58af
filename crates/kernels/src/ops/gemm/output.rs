//! The destination of a product's rows.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use crate::ops::buffer::poison;

/// The offset of each output row, in elements from the start of the output.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) enum RowOffsets {
    /// Row r at `start + r * stride`.
    Even { start: usize, stride: usize },
    /// Row r = (image, y, x) of a grid of `height` by `width`, which may use only every n-th pixel of the
    /// output.
    Grid { start: usize, height: usize, width: usize, image: usize, y: usize, x: usize },
}

impl RowOffsets {
    pub fn of(&self, row: usize) -> usize {
        match *self {
            Self::Even { start, stride } => start + row * stride,
            Self::Grid { start, height, width, image, y, x } => {
                let pixel = row % (height * width);
                start + row / (height * width) * image + pixel / width * y + pixel % width * x
            }
        }
    }

    /// The offsets of several rows. There are many, so nothing is divided for each.
    pub(super) fn of_all(&self, rows: Range<usize>) -> Vec<usize> {
        let Self::Grid { width, x, .. } = *self else {
            return rows.map(|row| self.of(row)).collect();
        };
        let mut offsets = Vec::with_capacity(rows.len());
        let mut row = rows.start;
        while row < rows.end {
            // The rest of one line of the grid.
            let (first, count) = (self.of(row), (width - row % width).min(rows.end - row));
            offsets.extend((0..count).map(|pixel| first + pixel * x));
            row += count;
        }
        offsets
    }

    /// Whether no two rows of this length overlap: threads write them concurrently.
    pub(super) fn are_disjoint(&self, rows: usize, columns: usize) -> bool {
        match *self {
            Self::Even { stride, .. } => rows <= 1 || stride >= columns,
            Self::Grid { height, width, image, y, x, .. } => {
                let line = width.saturating_sub(1) * x + columns;
                let picture = height.saturating_sub(1) * y + line;
                (width <= 1 || x >= columns)
                    && (height <= 1 || y >= line)
                    && (rows <= height * width || image >= picture)
            }
        }
    }
}

/// The output of a product: uninitialised memory, or sums to add to.
pub(in crate::ops) struct Output<'a, T> {
    data: *mut T,
    length: usize,
    pub(super) rows: RowOffsets,
    pub(super) accumulate: bool,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: it represents a `&mut [T]`, of which threads write disjoint parts.
unsafe impl<T: Send> Sync for Output<'_, T> {}

impl<'a, T> Output<'a, T> {
    /// Writes the product into uninitialised memory.
    pub fn uninitialized(data: &'a mut [MaybeUninit<T>], rows: RowOffsets) -> Self {
        Self {
            data: data.as_mut_ptr().cast(),
            length: data.len(),
            rows,
            accumulate: false,
            lifetime: PhantomData,
        }
    }

    /// Writes the product, or adds it to the content.
    pub fn existing(data: &'a mut [T], rows: RowOffsets, accumulate: bool) -> Self {
        Self { data: data.as_mut_ptr(), length: data.len(), rows, accumulate, lifetime: PhantomData }
    }

    /// The same memory with other rows, for concurrent products.
    ///
    /// # Safety
    ///
    /// Concurrent products must write disjoint elements.
    pub unsafe fn with_rows(&self, rows: RowOffsets) -> Output<'_, T> {
        Output { data: self.data, length: self.length, rows, accumulate: false, lifetime: PhantomData }
    }

    /// The element at `offset`; checks that `columns` elements from there are within the output.
    pub(super) fn pointer(&self, offset: usize, columns: usize) -> *mut T {
        assert!(offset + columns <= self.length, "an output row ends within the output");
        self.data.wrapping_add(offset)
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }
}

/// A vector of `length` elements, written by `fill` without zeroing first.
///
/// # Safety
///
/// `fill` must write every element. (In tests an unwritten one reads as NaN.)
pub(in crate::ops) unsafe fn written<T>(length: usize, fill: impl FnOnce(&mut [MaybeUninit<T>])) -> Vec<T> {
    let mut numbers = Box::new_uninit_slice(length);
    poison(&mut numbers);
    fill(&mut numbers);
    // SAFETY: the caller's promise.
    unsafe { numbers.assume_init() }.into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_rows_are_where_each_is() {
        let grid = RowOffsets::Grid { start: 5, height: 3, width: 4, image: 100, y: 30, x: 7 };
        for offsets in [grid, RowOffsets::Even { start: 3, stride: 9 }] {
            for rows in [0..0, 0..1, 0..24, 2..3, 3..5, 7..19, 11..13] {
                let each: Vec<usize> = rows.clone().map(|row| offsets.of(row)).collect();
                assert_eq!(offsets.of_all(rows), each);
            }
        }
    }

    #[test]
    fn rows_that_share_a_number_are_seen() {
        let even = |stride| RowOffsets::Even { start: 3, stride };
        assert!(even(4).are_disjoint(9, 4) && even(0).are_disjoint(1, 4) && !even(3).are_disjoint(2, 4));
        let grid = |image, y, x| RowOffsets::Grid { start: 0, height: 2, width: 3, image, y, x };
        for (rows, columns) in [(12, 4), (7, 1), (6, 4)] {
            for offsets in
                [grid(48, 24, 8), grid(31, 12, 4), grid(24, 12, 4), grid(23, 11, 4), grid(99, 99, 3)]
            {
                let places = (0..rows).flat_map(|row| offsets.of(row)..offsets.of(row) + columns);
                let mut places: Vec<usize> = places.collect();
                places.sort_unstable();
                let apart = places.windows(2).all(|pair| pair[0] != pair[1]);
                assert!(
                    apart || !offsets.are_disjoint(rows, columns),
                    "{offsets:?}, {rows} rows of {columns}"
                );
            }
            assert!(grid(24, 12, 4).are_disjoint(rows, columns));
        }
        assert!(!grid(23, 12, 4).are_disjoint(12, 4) && !grid(24, 11, 4).are_disjoint(6, 4));
    }
}
