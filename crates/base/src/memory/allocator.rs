//! The global allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mimalloc::MiMalloc;

use super::blocks::{FreeBlocks, GRANULARITY, MemoryBlock};

/// Blocks of at least this size are cached here.
const LARGE: usize = 1 << 18;
/// The size of a region requested from the system. Pages become real memory when they are first written.
const REGION: usize = 256 << 20;
/// Regions start at a huge page, which the kernel maps with one page fault instead of 512.
const HUGE_PAGE: usize = 2 << 20;

/// Allocates small blocks with mimalloc and caches large ones for reuse; it never returns them to the system.
///
/// The process then uses its peak memory, plus the fragments between blocks.
pub struct CachingAllocator {
    regions: Mutex<CachedRegions>,
    in_use: MemoryInUse,
}

/// The bytes of blocks in use, as requested. Small blocks are many, so they are counted only while someone asks.
struct MemoryInUse {
    large: AtomicIsize,
    /// Since the count began; negative if more was freed than allocated.
    small: AtomicIsize,
    counts_small: AtomicBool,
    peak: AtomicIsize,
}

impl MemoryInUse {
    const fn none() -> Self {
        Self {
            large: AtomicIsize::new(0),
            small: AtomicIsize::new(0),
            counts_small: AtomicBool::new(false),
            peak: AtomicIsize::new(0),
        }
    }

    fn change_large(&self, bytes: isize) {
        let large = self.large.fetch_add(bytes, Relaxed) + bytes;
        self.peak.fetch_max(large + self.small.load(Relaxed), Relaxed);
    }

    fn change_small(&self, bytes: isize) {
        if self.counts_small.load(Relaxed) {
            let small = self.small.fetch_add(bytes, Relaxed) + bytes;
            self.peak.fetch_max(small + self.large.load(Relaxed), Relaxed);
        }
    }
}

struct CachedRegions {
    free: FreeBlocks,
    /// The region of every block in use.
    used: BTreeMap<usize, usize>,
    regions: usize,
}

impl CachingAllocator {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        let kept = CachedRegions { free: FreeBlocks::new(), used: BTreeMap::new(), regions: 0 };
        Self { regions: Mutex::new(kept), in_use: MemoryInUse::none() }
    }

    /// The bytes of large blocks in use. Resets the peak, and counts small blocks from now on.
    pub fn reset_peak(&self) -> usize {
        let MemoryInUse { large, small, counts_small, peak } = &self.in_use;
        let now = large.load(Relaxed);
        small.store(0, Relaxed);
        peak.store(now, Relaxed);
        counts_small.store(true, Relaxed);
        now.unsigned_abs()
    }

    /// The peak bytes in use since [`CachingAllocator::reset_peak`]: of large blocks, and of the small ones allocated
    /// since. Small blocks are no longer counted.
    pub fn peak(&self) -> usize {
        let MemoryInUse { small, counts_small, peak, .. } = &self.in_use;
        counts_small.store(false, Relaxed);
        small.store(0, Relaxed);
        usize::try_from(peak.load(Relaxed)).unwrap_or(0)
    }

    fn take(&self, size: usize) -> *mut u8 {
        let mut kept = self.kept();
        let pointer = kept.take(size);
        if !pointer.is_null() {
            self.in_use.change_large(whole(size));
        }
        pointer
    }

    fn give(&self, pointer: *mut u8, size: usize) {
        let mut kept = self.kept();
        if kept.give(pointer, size) {
            self.in_use.change_large(-whole(size));
        }
    }

    /// The state is consistent after every step, so a panic under the lock does no harm.
    fn kept(&self) -> MutexGuard<'_, CachedRegions> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE
        && layout.align() <= GRANULARITY
        && layout.size() <= isize::MAX as usize - HUGE_PAGE
}

/// The size of a large block in bytes.
fn whole(size: usize) -> isize {
    size.next_multiple_of(GRANULARITY) as isize
}

impl CachedRegions {
    fn take(&mut self, size: usize) -> *mut u8 {
        let size = size.next_multiple_of(GRANULARITY);
        let block = match self.free.allocate(size) {
            Some(block) => block,
            None => {
                let Some(region) = self.region(size) else { return std::ptr::null_mut() };
                self.free.release(region);
                let Some(block) = self.free.allocate(size) else { return std::ptr::null_mut() };
                block
            }
        };
        self.used.insert(block.place, block.region);
        std::ptr::with_exposed_provenance_mut(block.place)
    }

    /// Returns whether the block was in use.
    fn give(&mut self, pointer: *mut u8, size: usize) -> bool {
        let (place, size) = (pointer.expose_provenance(), size.next_multiple_of(GRANULARITY));
        let region = self.used.remove(&place);
        if let Some(region) = region {
            self.free.release(MemoryBlock { place, size, region });
        }
        region.is_some()
    }

    /// Maps new memory from the system, at least `size` bytes.
    fn region(&mut self, size: usize) -> Option<MemoryBlock> {
        let size = size.max(REGION).next_multiple_of(HUGE_PAGE);
        let layout = Layout::from_size_align(size, HUGE_PAGE).ok()?;
        // SAFETY: the size is not zero.
        let pointer = unsafe { System.alloc(layout) };
        if pointer.is_null() {
            return None;
        }
        #[cfg(target_os = "linux")]
        // SAFETY: the memory is ours, and the advice does not change its content. If it is refused, pages stay
        // small.
        let _ = unsafe { rustix::mm::madvise(pointer.cast(), size, rustix::mm::Advice::LinuxHugepage) };
        self.regions += 1;
        Some(MemoryBlock { place: pointer.expose_provenance(), size, region: self.regions })
    }
}

// SAFETY: blocks in use never overlap (`FreeBlocks`), are aligned to the granularity, and exist until they are
// returned. The layout distinguishes large and small blocks, and every call for a block has the same layout. The
// maps inside allocate small blocks only, which never reach this code while the lock is held.
unsafe impl GlobalAlloc for CachingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match is_large(layout) {
            true => self.take(layout.size()),
            false => {
                self.in_use.change_small(layout.size() as isize);
                // SAFETY: the caller's contract is passed on.
                unsafe { MiMalloc.alloc(layout) }
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_large(layout) {
            self.in_use.change_small(layout.size() as isize);
            // SAFETY: the caller's contract is passed on.
            return unsafe { MiMalloc.alloc_zeroed(layout) };
        }
        let pointer = self.take(layout.size());
        if !pointer.is_null() {
            // A cached block still has its previous content.
            // SAFETY: the block has the size of the layout, and there is no other reference.
            unsafe { pointer.write_bytes(0, layout.size()) };
        }
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        match is_large(layout) {
            true => self.give(pointer, layout.size()),
            false => {
                self.in_use.change_small(-(layout.size() as isize));
                // SAFETY: the layout is small, so the block is mimalloc's; the caller's contract is passed on.
                unsafe { MiMalloc.dealloc(pointer, layout) }
            }
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that the new size makes a valid layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_large(layout), is_large(wanted)) {
            (false, false) => {
                self.in_use.change_small(size as isize - layout.size() as isize);
                // SAFETY: as in `dealloc`, for the old and the new block.
                unsafe { MiMalloc.realloc(pointer, layout, size) }
            }
            (true, true)
                if size.next_multiple_of(GRANULARITY) == layout.size().next_multiple_of(GRANULARITY) =>
            {
                pointer
            }
            // SAFETY: both blocks hold the copied bytes. They are distinct, because the old one is still in use;
            // this call frees it.
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
        let keeper = CachingAllocator::new();
        let layout = Layout::from_size_align(3 * LARGE + 17, 64).unwrap();
        // SAFETY: every pointer is used within its layout and freed once.
        unsafe {
            let first = keeper.alloc(layout);
            first.write_bytes(7, layout.size());
            assert_eq!(keeper.reset_peak(), layout.size().next_multiple_of(GRANULARITY));
            keeper.dealloc(first, layout);
            assert_eq!(keeper.reset_peak(), 0);
            let second = keeper.alloc_zeroed(layout);
            assert_eq!(first, second, "the pages are used again");
            assert!(std::slice::from_raw_parts(second, layout.size()).iter().all(|&byte| byte == 0));
            second.write_bytes(5, layout.size());
            // Across the size limit between large and small blocks, in both directions.
            let small = keeper.realloc(second, layout, 1000);
            let layout = Layout::from_size_align(1000, 64).unwrap();
            let large = keeper.realloc(small, layout, 2 * LARGE);
            assert!(std::slice::from_raw_parts(large, 1000).iter().all(|&byte| byte == 5));
            keeper.dealloc(large, Layout::from_size_align(2 * LARGE, 64).unwrap());
            assert!(keeper.kept().used.is_empty());
            let largest = (3 * LARGE + 17).next_multiple_of(GRANULARITY);
            // The small block was there together with the large ones.
            assert_eq!(keeper.peak(), largest + 1000);
            assert_eq!(keeper.reset_peak(), 0, "the peak is that of what is watched");
            let small = Layout::from_size_align(1000, 64).unwrap();
            let blocks = [keeper.alloc(small), keeper.alloc_zeroed(small)];
            keeper.dealloc(blocks[0], small);
            assert_eq!(keeper.peak(), 2000);
            keeper.dealloc(blocks[1], small);
            assert_eq!((keeper.reset_peak(), keeper.peak()), (0, 0), "small blocks count while someone asks");
        }
    }
}
