//! Errors in pickles, with their position.

#[derive(Debug, PartialEq)]
pub(in crate::weights) struct PickleError {
    pub kind: PickleErrorKind,
    /// The file position of the failing instruction.
    pub at: usize,
    pub what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::weights) enum PickleErrorKind {
    /// No pickler writes this.
    Damaged,
    /// It may be valid, but needs more memory or time than weights do.
    TooLarge,
    /// A pickle feature that needs the program that wrote it.
    Unsupported,
}

pub(super) type Result<T, E = PickleError> = std::result::Result<T, E>;

impl PickleError {
    pub(super) fn damaged(at: usize, what: impl Into<String>) -> Self {
        Self { kind: PickleErrorKind::Damaged, at, what: what.into() }
    }

    pub(super) fn too_large(at: usize, what: impl Into<String>) -> Self {
        Self { kind: PickleErrorKind::TooLarge, at, what: what.into() }
    }

    pub(super) fn unsupported(at: usize, what: impl Into<String>) -> Self {
        Self { kind: PickleErrorKind::Unsupported, at, what: what.into() }
    }
}
