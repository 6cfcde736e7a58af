//! The global allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mimalloc::MiMalloc;

use super::blocks::{Block, FreeBlocks, GRAIN};

/// Blocks from this size on are kept here.
const LARGE: usize = 1 << 18;
/// What is asked of the system at once; it becomes real memory only where it is written to.
const REGION: usize = 256 << 20;
/// Regions start at a huge page, which the kernel fills with one fault instead of 512.
const HUGE_PAGE: usize = 2 << 20;

/// Allocates small blocks with mimalloc and keeps large ones for reuse, never returning them to the system.
///
/// The program's memory is then what it needed at its peak, plus what lies between blocks.
pub struct PageKeeper {
    kept: Mutex<Kept>,
}

struct Kept {
    free: FreeBlocks,
    /// The region of every block in use.
    used: BTreeMap<usize, usize>,
    regions: usize,
    /// Bytes of the blocks in use, and the most since somebody began to watch.
    live: usize,
    peak: usize,
}

impl PageKeeper {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        let kept = Kept { free: FreeBlocks::new(), used: BTreeMap::new(), regions: 0, live: 0, peak: 0 };
        Self { kept: Mutex::new(kept) }
    }

    /// The bytes of large blocks in use; from now on the most of them is watched.
    pub fn watch(&self) -> usize {
        let mut kept = self.kept();
        kept.peak = kept.live;
        kept.live
    }

    /// The most bytes of large blocks that were in use at once since [`PageKeeper::watch`].
    pub fn peak(&self) -> usize {
        self.kept().peak
    }

    /// The books are in order after every step, whoever panicked.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= GRAIN && layout.size() <= isize::MAX as usize - HUGE_PAGE
}

impl Kept {
    fn take(&mut self, size: usize) -> *mut u8 {
        let size = size.next_multiple_of(GRAIN);
        let block = match self.free.take(size) {
            Some(block) => block,
            None => {
                let Some(region) = self.region(size) else { return std::ptr::null_mut() };
                self.free.give(region);
                let Some(block) = self.free.take(size) else { return std::ptr::null_mut() };
                block
            }
        };
        self.used.insert(block.place, block.region);
        self.live += size;
        self.peak = self.peak.max(self.live);
        std::ptr::with_exposed_provenance_mut(block.place)
    }

    fn give(&mut self, pointer: *mut u8, size: usize) {
        let (place, size) = (pointer.expose_provenance(), size.next_multiple_of(GRAIN));
        if let Some(region) = self.used.remove(&place) {
            self.free.give(Block { place, size, region });
            self.live -= size;
        }
    }

    /// New memory of the system, `size` bytes at least.
    fn region(&mut self, size: usize) -> Option<Block> {
        let size = size.max(REGION).next_multiple_of(HUGE_PAGE);
        let layout = Layout::from_size_align(size, HUGE_PAGE).ok()?;
        // SAFETY: the size is not zero.
        let pointer = unsafe { System.alloc(layout) };
        if pointer.is_null() {
            return None;
        }
        #[cfg(target_os = "linux")]
        // SAFETY: the memory is ours, and the advice changes nothing in it. Where it is refused, pages stay small.
        let _ = unsafe { rustix::mm::madvise(pointer.cast(), size, rustix::mm::Advice::LinuxHugepage) };
        self.regions += 1;
        Some(Block { place: pointer.expose_provenance(), size, region: self.regions })
    }
}

// SAFETY: blocks in use never overlap (`FreeBlocks`), are aligned to the grain, and live until they are given back. A
// layout tells large from small, and comes with every call as it came with the first. The maps inside allocate small
// blocks alone, which never come back here while the lock is held.
unsafe impl GlobalAlloc for PageKeeper {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match is_large(layout) {
            true => self.kept().take(layout.size()),
            // SAFETY: passed on to the caller.
            false => unsafe { MiMalloc.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_large(layout) {
            // SAFETY: passed on to the caller.
            return unsafe { MiMalloc.alloc_zeroed(layout) };
        }
        let pointer = self.kept().take(layout.size());
        if !pointer.is_null() {
            // A kept block holds what its last user left.
            // SAFETY: the block is as long as the layout says, and nobody else's.
            unsafe { pointer.write_bytes(0, layout.size()) };
        }
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        match is_large(layout) {
            true => self.kept().give(pointer, layout.size()),
            // SAFETY: the block is of mimalloc's, as its layout is a small one; the rest is passed on to the caller.
            false => unsafe { MiMalloc.dealloc(pointer, layout) },
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller vouches that the new size makes a layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_large(layout), is_large(wanted)) {
            // SAFETY: as in `dealloc`, before and after.
            (false, false) => unsafe { MiMalloc.realloc(pointer, layout, size) },
            (true, true) if size.next_multiple_of(GRAIN) == layout.size().next_multiple_of(GRAIN) => pointer,
            // SAFETY: both blocks hold as many bytes as are copied and are two, since the old one is still in use; the
            // caller gives it up with this call.
            _ => unsafe {
                let moved = self.alloc(wanted);
                if !moved.is_null() {
                    moved.copy_from_nonoverlapping(pointer, layout.size().min(size));
                    self.dealloc(pointer, layout);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_blocks_come_back_and_zeroed_ones_are_zero() {
        let keeper = PageKeeper::new();
        let layout = Layout::from_size_align(3 * LARGE + 17, 64).unwrap();
        // SAFETY: every pointer is used within its layout, and given back once.
        unsafe {
            let first = keeper.alloc(layout);
            first.write_bytes(7, layout.size());
            assert_eq!(keeper.watch(), layout.size().next_multiple_of(GRAIN));
            keeper.dealloc(first, layout);
            assert_eq!(keeper.watch(), 0);
            let second = keeper.alloc_zeroed(layout);
            assert_eq!(first, second, "the pages are used again");
            assert!(std::slice::from_raw_parts(second, layout.size()).iter().all(|&byte| byte == 0));
            second.write_bytes(5, layout.size());
            // Across the border between large and small, both ways.
            let small = keeper.realloc(second, layout, 1000);
            let layout = Layout::from_size_align(1000, 64).unwrap();
            let large = keeper.realloc(small, layout, 2 * LARGE);
            assert!(std::slice::from_raw_parts(large, 1000).iter().all(|&byte| byte == 5));
            keeper.dealloc(large, Layout::from_size_align(2 * LARGE, 64).unwrap());
            assert!(keeper.kept().used.is_empty());
            assert_eq!(keeper.peak(), (3 * LARGE + 17).next_multiple_of(GRAIN));
            assert_eq!(keeper.watch(), 0, "the peak is that of what is watched");
        }
    }
}
