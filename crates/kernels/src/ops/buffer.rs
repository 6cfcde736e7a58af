//! New memory that is written once, without zeroing: zeroing would cost another pass over every activation; and short
//! copies.

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

/// Copies as many elements as `to` holds from the start of `from`, with vectors of the profile it is inlined
/// into.
///
/// Runs are short, and a call of the system's `memcpy` costs as much as the copy. It copies two vectors per
/// step, because the compiler would replace a loop of single ones by that call.
#[inline(always)]
pub fn copy_run<T: Copy>(to: &mut [MaybeUninit<T>], from: &[T]) {
    let length = to.len();
    let from = &from[..length];
    let mut done = 0;
    while done + 32 <= length {
        copy_lanes::<T, 16>(to, from, done);
        copy_lanes::<T, 16>(to, from, done + 16);
        done += 32;
    }
    if done + 16 <= length {
        copy_lanes::<T, 16>(to, from, done);
        done += 16;
    }
    // Copies the rest with one more vector, which ends at the end.
    match length {
        _ if done == length => {}
        16.. => copy_lanes::<T, 16>(to, from, length - 16),
        8.. => {
            copy_lanes::<T, 8>(to, from, 0);
            copy_lanes::<T, 8>(to, from, length - 8);
        }
        4.. => {
            copy_lanes::<T, 4>(to, from, 0);
            copy_lanes::<T, 4>(to, from, length - 4);
        }
        _ => to.iter_mut().zip(from).for_each(|(to, &from)| *to = MaybeUninit::new(from)),
    }
}

#[inline(always)]
fn copy_lanes<T: Copy, const LANES: usize>(to: &mut [MaybeUninit<T>], from: &[T], at: usize) {
    let from: &[T; LANES] = from[at..at + LANES].try_into().expect("a slice of this length");
    to[at..at + LANES].write_copy_of_slice(from);
}
