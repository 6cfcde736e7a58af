//! Memory for packed operands: aligned to cache lines, and kept by each thread between products.

use std::cell::RefCell;

use bytemuck::{Pod, Zeroable};

/// One cache line; vector loads that do not straddle two are up to twice as fast.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u64; 8]);

/// Numbers, the first at the start of a cache line.
pub(super) struct Buffer {
    lines: Vec<Line>,
}

impl Buffer {
    const fn empty() -> Self {
        Self { lines: Vec::new() }
    }

    /// Numbers of any value, to be written before they are read.
    #[allow(clippy::uninit_vec)]
    pub fn of_any_content<T: Pod>(length: usize) -> Self {
        let mut buffer = Vec::with_capacity(lines::<T>(length));
        // SAFETY: a line is bytes of which any will do, and who asks for the buffer writes it before reading it.
        unsafe { buffer.set_len(lines::<T>(length)) };
        Self { lines: buffer }
    }

    pub fn as_slice<T: Pod>(&self) -> &[T] {
        bytemuck::cast_slice(&self.lines)
    }

    pub fn as_mut_slice<T: Pod>(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }
}

fn lines<T>(length: usize) -> usize {
    (length * size_of::<T>()).div_ceil(size_of::<Line>())
}

/// Lends two buffers of this thread, of any content. `work` must not come back here.
pub(super) fn with_workspace<T: Pod, R>(
    left: usize,
    right: usize,
    work: impl FnOnce(&mut [T], &mut [T]) -> R,
) -> R {
    thread_local! {
        static WORKSPACE: RefCell<Buffer> = const { RefCell::new(Buffer::empty()) };
    }
    WORKSPACE.with_borrow_mut(|buffer| {
        let (left, right) = (lines::<T>(left), lines::<T>(right));
        if buffer.lines.len() < left + right {
            buffer.lines = bytemuck::zeroed_vec(left + right);
        }
        let (left, rest) = buffer.lines.split_at_mut(left);
        work(bytemuck::cast_slice_mut(left), bytemuck::cast_slice_mut(&mut rest[..right]))
    })
}
