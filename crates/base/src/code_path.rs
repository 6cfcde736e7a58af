//! Numeric code paths with their versions, which enter the recipes of the stages that take them.
//!
//! A room declares its code paths once, as constants of its `code_paths` module. A recipe is made of these constants and
//! of nothing else: a name that is misspelt does not compile, so that no version can be left out by mistake.

/// A piece of code whose change can change a result. Its version is kept by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CodePath {
    name: &'static str,
    version: u32,
}

impl CodePath {
    /// For [`code_paths`], which lists what it declares.
    pub const fn new(name: &'static str, version: u32) -> Self {
        Self { name, version }
    }

    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Raised when results change.
    pub const fn version(&self) -> u32 {
        self.version
    }
}

/// Declares the code paths of a room, each as a constant, and `ALL` of them.
#[macro_export]
macro_rules! code_paths {
    ($($(#[$about:meta])* $constant:ident = $name:literal, $version:literal;)+) => {
        $($(#[$about])* pub const $constant: $crate::code_path::CodePath = $crate::code_path::CodePath::new($name, $version);)+

        /// All code paths that this room declares.
        pub const ALL: &[$crate::code_path::CodePath] = &[$($constant),+];
    };
}

pub use code_paths;
