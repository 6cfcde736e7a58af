//! Bytes that may be spent on keeping images, shared by all who keep some.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes that is given out and does not come back.
#[derive(Debug)]
pub struct CacheBudget {
    left: AtomicUsize,
}

impl CacheBudget {
    pub fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes) }
    }

    /// Whether this many bytes were left; then they are taken.
    pub fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Gives back bytes that were taken for nothing.
    pub fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}
