//! Free memory by size and address: best fit, and adjacent free blocks are merged.

use std::collections::{BTreeMap, BTreeSet};

/// Block sizes are multiples of this many bytes, so that remainders stay usable.
pub const GRANULARITY: usize = 1 << 12;

/// The free blocks of some regions of memory. It handles addresses only and never accesses the memory.
pub struct FreeBlocks {
    /// (size, address) of every free block.
    by_size: BTreeSet<(usize, usize)>,
    /// Address → (size, region). Regions may be adjacent, but a block never spans two.
    by_place: BTreeMap<usize, (usize, usize)>,
}

impl FreeBlocks {
    pub const fn new() -> Self {
        Self { by_size: BTreeSet::new(), by_place: BTreeMap::new() }
    }

    /// Takes `size` bytes, a multiple of [`GRANULARITY`], from the smallest block that is large enough; of several,
    /// the lowest.
    pub fn allocate(&mut self, size: usize) -> Option<MemoryBlock> {
        let &(found, place) = self.by_size.range((size, 0)..).next()?;
        let region = self.remove(place)?.1;
        if found > size {
            self.insert(place + size, found - size, region);
        }
        Some(MemoryBlock { place, size, region })
    }

    /// Returns a block.
    pub fn release(&mut self, block: MemoryBlock) {
        let MemoryBlock { mut place, mut size, region } = block;
        if let Some((&after, &(length, of))) = self.by_place.range(place..).next()
            && after == place + size
            && of == region
        {
            self.remove(after);
            size += length;
        }
        if let Some((&before, &(length, of))) = self.by_place.range(..place).next_back()
            && before + length == place
            && of == region
        {
            self.remove(before);
            place = before;
            size += length;
        }
        self.insert(place, size, region);
    }

    fn insert(&mut self, place: usize, size: usize, region: usize) {
        self.by_size.insert((size, place));
        self.by_place.insert(place, (size, region));
    }

    fn remove(&mut self, place: usize) -> Option<(usize, usize)> {
        let (size, region) = self.by_place.remove(&place)?;
        self.by_size.remove(&(size, place));
        Some((size, region))
    }
}

/// A part of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBlock {
    pub place: usize,
    pub size: usize,
    pub region: usize,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: usize = 64 * GRANULARITY;

    fn two_regions() -> FreeBlocks {
        let mut free = FreeBlocks::new();
        for region in 0..2 {
            free.release(MemoryBlock { place: (region + 1) * SIZE, size: SIZE, region });
        }
        free
    }

    #[test]
    fn the_smallest_block_that_fits_is_taken_and_regions_stay_apart() {
        let mut free = two_regions();
        let first = free.allocate(40 * GRANULARITY).unwrap();
        assert_eq!((first.place, first.region), (SIZE, 0));
        assert_eq!(free.allocate(20 * GRANULARITY).unwrap().place, SIZE + 40 * GRANULARITY);
        assert_eq!(free.allocate(65 * GRANULARITY), None, "neighbouring regions are not one");
        free.release(first);
        assert_eq!(free.allocate(40 * GRANULARITY), Some(first));
    }

    proptest! {
        /// In any sequence of calls, blocks never overlap; after all are returned, each region is one block
        /// again.
        #[test]
        fn blocks_never_overlap_and_nothing_is_lost(
            steps in prop::collection::vec((any::<bool>(), 1..30usize), 1..200),
        ) {
            let mut free = two_regions();
            let mut taken: Vec<MemoryBlock> = Vec::new();
            for (take, number) in steps {
                if take {
                    let Some(block) = free.allocate(number * GRANULARITY) else { continue };
                    for other in &taken {
                        let apart = block.place + block.size <= other.place || other.place + other.size <= block.place;
                        prop_assert!(apart, "{block:?} and {other:?}");
                    }
                    taken.push(block);
                } else if !taken.is_empty() {
                    free.release(taken.swap_remove(number % taken.len()));
                }
            }
            taken.into_iter().for_each(|block| free.release(block));
            prop_assert_eq!(free.by_size.iter().copied().collect::<Vec<_>>(), [(SIZE, SIZE), (SIZE, 2 * SIZE)]);
        }
    }
}
