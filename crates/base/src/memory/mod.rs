//! The allocator of the program: large blocks are kept and used again, small ones are mimalloc's.
//!
//! A training step asks for the same large buffers over and over. An allocator that hands them back to the system makes
//! it fault in and zero every page anew, which costs a memory-bound step up to half its time. The room holds no tensors
//! and knows nothing of what its blocks are for; a program that wants it names it as its global allocator.

mod blocks;
mod keeper;

pub use keeper::PageKeeper;
