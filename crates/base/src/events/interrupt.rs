//! The wish to stop, polled at every safe point.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// Set by a signal handler, seen by everyone who computes. Clones share the flag.
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
    /// [`crate::error::Kind::Interrupted`] once a stop was requested.
    pub fn check(&self) -> Result<()> {
        if self.requested() { Err(Error::interrupted("interrupted")) } else { Ok(()) }
    }

    /// The flag itself, to be registered with a signal.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}
