//! Errors in pickles, with their position.

#[derive(Debug, PartialEq)]
pub(in crate::weights) struct Fault {
    pub kind: FaultKind,
    /// The file position of the failing instruction.
    pub at: usize,
    pub what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::weights) enum FaultKind {
    /// No pickler writes this.
    Damaged,
    /// It may be valid, but needs more memory or time than weights do.
    TooLarge,
    /// A pickle feature that needs the program that wrote it.
    Unsupported,
}

pub(super) type Result<T, E = Fault> = std::result::Result<T, E>;

impl Fault {
    pub(super) fn damaged(at: usize, what: impl Into<String>) -> Self {
        Self { kind: FaultKind::Damaged, at, what: what.into() }
    }

    pub(super) fn too_large(at: usize, what: impl Into<String>) -> Self {
        Self { kind: FaultKind::TooLarge, at, what: what.into() }
    }

    pub(super) fn unsupported(at: usize, what: impl Into<String>) -> Self {
        Self { kind: FaultKind::Unsupported, at, what: what.into() }
    }
}
