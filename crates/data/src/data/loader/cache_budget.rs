//! A shared memory budget, in bytes, for cached images.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes that callers take from.
#[derive(Debug)]
pub struct CacheBudget {
    left: AtomicUsize,
}

impl CacheBudget {
    pub fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes) }
    }

    /// Takes this many bytes if they are left; returns whether it did.
    pub fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Returns bytes that were taken but not used.
    pub fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}
