//! The program's allocator: large blocks are cached for reuse, small ones come from mimalloc.
//!
//! A training step allocates the same large buffers again and again. An allocator that returns them to the
//! system causes page faults and zeroing for every page, up to half the time of a memory-bound step. This module
//! never knows what a block is for. A program that wants it declares it as its global allocator.

mod allocator;
mod blocks;

pub use allocator::CachingAllocator;
