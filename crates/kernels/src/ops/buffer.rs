//! New memory that is written once, without zeroing: zeroing would cost another pass over every activation.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::float::Float;

/// The approximate number of elements per task: they fit into the second-level cache and are worth waking a
/// thread. It decides where sums are split, so it affects results: a change needs a new version.
pub const ELEMENTS_PER_TASK: usize = 1 << 14;

/// The number of rows of `width` elements per task.
pub fn rows_per_task(width: usize) -> usize {
    (ELEMENTS_PER_TASK / width.max(1)).max(1)
}

/// In tests, fills unwritten memory with NaN so that reading it fails a test; otherwise does nothing.
#[inline(always)]
pub fn poison<T>(memory: &mut [MaybeUninit<T>]) {
    if cfg!(any(test, debug_assertions)) {
        // SAFETY: any byte may be written to memory that is not yet initialised.
        unsafe { memory.as_mut_ptr().write_bytes(0xff, memory.len()) };
    }
}

/// A new vector of `length` elements, cut into chunks of `chunk` elements that are written in parallel:
/// `write(index of the chunk, its memory)`.
///
/// # Safety
/// `write` must initialise every element of the memory passed to it.
pub unsafe fn build<T: Float>(
    length: usize,
    chunk: usize,
    write: impl Fn(usize, &mut [MaybeUninit<T>]) + Sync,
) -> Vec<T> {
    let chunks = length.div_ceil(chunk.max(1));
    // SAFETY: the caller has made the same promise.
    unsafe { build_along(length, chunk, (0..chunks).into_par_iter(), write) }
}

/// As [`build`]; each chunk also gets an item of `along`, such as a chunk of another vector that changes with
/// it.
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
    // SAFETY: the chunks cover the vector, and the caller guarantees each.
    unsafe { data.assume_init() }.into_vec()
}

/// As [`build`], with a result for each chunk, in order.
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
    // SAFETY: the chunks cover the vector, and the caller guarantees each.
    (unsafe { data.assume_init() }.into_vec(), results)
}
