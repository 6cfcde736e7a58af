//! From a plan to a run directory: the store, attempts, events, resume, verification.
