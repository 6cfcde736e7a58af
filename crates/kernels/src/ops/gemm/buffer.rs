//! Memory for packed operands: aligned to cache lines, and reused by each thread.
//!
//! Sources write it and kernels read it through pointers, so it is never read as numbers before it is written.
//! Zeroing it first would cost another pass over every operand.

use std::cell::RefCell;
use std::mem::MaybeUninit;

use bytemuck::Pod;

use crate::ops::buffer::poison;

/// One cache line. Vector loads that do not cross a line are up to twice as fast.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([MaybeUninit<u64>; 8]);

/// Memory for numbers, aligned to a cache line.
pub(super) struct Buffer {
    lines: Box<[MaybeUninit<Line>]>,
}

impl Buffer {
    pub fn new<T: Pod>(length: usize) -> Self {
        let mut lines = Box::new_uninit_slice(lines::<T>(length));
        poison(&mut lines);
        Self { lines }
    }

    pub fn as_slice<T: Pod>(&self) -> &[MaybeUninit<T>] {
        let length = size_of_val(&*self.lines) / size_of::<T>();
        // SAFETY: the bytes have room for this many numbers and are aligned for them; any content is valid.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), length) }
    }

    pub fn as_mut_slice<T: Pod>(&mut self) -> &mut [MaybeUninit<T>] {
        numbers(&mut self.lines)
    }
}

fn lines<T>(length: usize) -> usize {
    (length * size_of::<T>()).div_ceil(size_of::<Line>())
}

/// The same memory as numbers, which are smaller than a line.
fn numbers<T: Pod>(lines: &mut [MaybeUninit<Line>]) -> &mut [MaybeUninit<T>] {
    const { assert!(align_of::<T>() <= align_of::<Line>() && size_of::<T>() > 0) };
    let length = size_of_val(lines) / size_of::<T>();
    // SAFETY: the bytes have room for this many numbers and are aligned for them; any content is valid for a
    // line and for an unwritten number.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), length) }
}

/// Lends two buffers of this thread, with arbitrary content. `work` must not call this again.
pub(super) fn with_workspace<T: Pod, R>(
    left: usize,
    right: usize,
    work: impl FnOnce(&mut [MaybeUninit<T>], &mut [MaybeUninit<T>]) -> R,
) -> R {
    thread_local! {
        static WORKSPACE: RefCell<Vec<MaybeUninit<Line>>> = const { RefCell::new(Vec::new()) };
    }
    WORKSPACE.with_borrow_mut(|workspace| {
        let (left, right) = (lines::<T>(left), lines::<T>(right));
        if workspace.len() < left + right {
            *workspace = Box::new_uninit_slice(left + right).into_vec();
        }
        poison(workspace);
        let (left, rest) = workspace.split_at_mut(left);
        work(numbers(left), numbers(&mut rest[..right]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_at_cache_lines_and_keep_what_was_written() {
        let mut buffer = Buffer::new::<f32>(17);
        assert_eq!((buffer.as_slice::<f32>().len(), buffer.as_slice::<f64>().len()), (32, 16));
        assert!(buffer.as_slice::<f32>().as_ptr().addr().is_multiple_of(64));
        for (index, number) in buffer.as_mut_slice::<f32>().iter_mut().take(17).enumerate() {
            number.write(index as f32);
        }
        // SAFETY: 17 elements were written.
        let read = |index: usize| unsafe { buffer.as_slice::<f32>()[index].assume_init() };
        assert!((0..17).all(|index| read(index) == index as f32));
        assert!(Buffer::new::<f64>(0).as_slice::<f64>().is_empty());
    }

    #[test]
    fn a_workspace_grows_and_its_halves_do_not_overlap() {
        for (left, right) in [(5, 0), (3, 100), (70, 70), (0, 1)] {
            with_workspace(left, right, |first: &mut [MaybeUninit<f64>], second: &mut [MaybeUninit<f64>]| {
                assert!(first.len() >= left && second.len() >= right);
                first.fill(MaybeUninit::new(1.0));
                second.fill(MaybeUninit::new(2.0));
                // SAFETY: all of it was written.
                assert!(first.iter().all(|number| unsafe { number.assume_init() } == 1.0));
            });
        }
    }
}
