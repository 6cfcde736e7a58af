//! New memory that is written once: zeroing it first would cost another pass over every activation.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::float::Float;

/// About how many numbers one task handles: they fit in the second-level cache, and waking a thread for them pays.
/// It decides where sums are cut, so it enters results: a change is a change of version.
pub const TASK: usize = 1 << 14;

/// How many rows of `width` numbers one task handles.
pub fn rows_per_task(width: usize) -> usize {
    (TASK / width.max(1)).max(1)
}

/// Has memory that nobody has written read as NaN, where tests would see it; elsewhere nothing.
#[inline(always)]
pub fn poison<T>(memory: &mut [MaybeUninit<T>]) {
    if cfg!(any(test, debug_assertions)) {
        // SAFETY: any byte may be written to memory that is not yet initialised.
        unsafe { memory.as_mut_ptr().write_bytes(0xff, memory.len()) };
    }
}

/// A new vector of `length` numbers, cut into chunks of `chunk` that are written in parallel:
/// `write(index of the chunk, its memory)`.
///
/// # Safety
/// `write` must initialise every number of the memory that it is given.
pub unsafe fn build<T: Float>(
    length: usize,
    chunk: usize,
    write: impl Fn(usize, &mut [MaybeUninit<T>]) + Sync,
) -> Vec<T> {
    let chunks = length.div_ceil(chunk.max(1));
    // SAFETY: the caller's promise is the same.
    unsafe { build_along(length, chunk, (0..chunks).into_par_iter(), write) }
}

/// Like [`build`], each chunk with its item of `along`, such as the chunk of another vector that changes with it.
///
/// # Safety
/// As for [`build`].
pub unsafe fn build_along<T: Float, I: IndexedParallelIterator>(
    length: usize,
    chunk: usize,
    along: I,
    write: impl Fn(I::Item, &mut [MaybeUninit<T>]) + Sync,
) -> Vec<T> {
    let mut data = Box::new_uninit_slice(length);
    poison(&mut data);
    let chunks = data.par_chunks_mut(chunk.max(1));
    assert_eq!(chunks.len(), along.len(), "one item for each chunk");
    chunks.zip(along).for_each(|(memory, item)| write(item, memory));
    // SAFETY: the chunks cover all of it, and the caller vouches for each.
    unsafe { data.assume_init() }.into_vec()
}

/// Like [`build`], with a result for each chunk, in their order.
///
/// # Safety
/// As for [`build`].
pub unsafe fn build_with<T: Float, R: Send>(
    length: usize,
    chunk: usize,
    write: impl Fn(usize, &mut [MaybeUninit<T>]) -> R + Sync,
) -> (Vec<T>, Vec<R>) {
    let mut data = Box::new_uninit_slice(length);
    poison(&mut data);
    let results =
        data.par_chunks_mut(chunk.max(1)).enumerate().map(|(index, memory)| write(index, memory)).collect();
    // SAFETY: the chunks cover all of it, and the caller vouches for each.
    (unsafe { data.assume_init() }.into_vec(), results)
}
