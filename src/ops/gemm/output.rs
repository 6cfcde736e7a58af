//! Where the rows of a product go.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// The place of each output row, in numbers from the start of the output.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) enum RowOffsets {
    /// Row r at `start + r * stride`.
    Even { start: usize, stride: usize },
    /// Row r = (image, y, x) of a grid `height` by `width`, which may take only every so many pixels of the output.
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
}

/// The output of a product: numbers not yet written, or sums to add to.
pub(in crate::ops) struct Output<'a, T> {
    data: *mut T,
    length: usize,
    pub(super) rows: RowOffsets,
    pub(super) accumulate: bool,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for a `&mut [T]` that threads write disjoint parts of.
unsafe impl<T: Send> Sync for Output<'_, T> {}

impl<'a, T> Output<'a, T> {
    /// Writes the product, reading nothing.
    pub fn fresh(data: &'a mut [MaybeUninit<T>], rows: RowOffsets) -> Self {
        Self {
            data: data.as_mut_ptr().cast(),
            length: data.len(),
            rows,
            accumulate: false,
            lifetime: PhantomData,
        }
    }

    /// Writes the product, or adds it to what is there.
    pub fn onto(data: &'a mut [T], rows: RowOffsets, accumulate: bool) -> Self {
        Self { data: data.as_mut_ptr(), length: data.len(), rows, accumulate, lifetime: PhantomData }
    }

    /// The same memory with other rows, for products that run side by side.
    ///
    /// # Safety
    ///
    /// No two of them that run at the same time write to the same number.
    pub unsafe fn at(&self, rows: RowOffsets) -> Output<'_, T> {
        Output { data: self.data, length: self.length, rows, accumulate: false, lifetime: PhantomData }
    }

    /// The number at `offset`, of which `columns` from there on are within the output.
    pub(super) fn pointer(&self, offset: usize, columns: usize) -> *mut T {
        assert!(offset + columns <= self.length, "an output row ends within the output");
        self.data.wrapping_add(offset)
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }
}

/// A vector of `length` numbers that `fill` writes without their being zeroed first.
///
/// # Safety
///
/// `fill` must write every number. (Where assertions are on, an unwritten one reads as NaN.)
pub(in crate::ops) unsafe fn written<T>(length: usize, fill: impl FnOnce(&mut [MaybeUninit<T>])) -> Vec<T> {
    let mut numbers = Vec::with_capacity(length);
    let memory = &mut numbers.spare_capacity_mut()[..length];
    if cfg!(debug_assertions) {
        // SAFETY: any byte may be written to memory that is not yet initialised.
        unsafe { memory.as_mut_ptr().write_bytes(0xff, length) };
    }
    fill(memory);
    // SAFETY: the caller's promise.
    unsafe { numbers.set_len(length) };
    numbers
}
