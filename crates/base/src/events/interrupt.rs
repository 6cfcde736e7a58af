//! The request to stop, checked at every safe point.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// A signal handler sets it; all computing code checks it. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`crate::error::Kind::Interrupted`] after a stop was requested.
    pub fn check(&self) -> Result<()> {
        if self.requested() { Err(Error::interrupted("interrupted")) } else { Ok(()) }
    }

    /// The flag itself, for registration with a signal.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}
