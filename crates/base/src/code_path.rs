//! Numeric code paths and their versions, which enter the recipes of stages that use them.
//!
//! A module declares its code paths once, as constants in its `code_paths` module. Recipes contain only these
//! constants: a misspelt name does not compile, so no version can be missing by mistake.

/// A piece of code whose change can change a result. Its version is kept by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CodePath {
    name: &'static str,
    version: u32,
}

impl CodePath {
    /// For [`code_paths`], which collects the declared paths.
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

/// Declares the code paths of a module as constants, and `ALL` with all of them.
#[macro_export]
macro_rules! code_paths {
    ($($(#[$about:meta])* $constant:ident = $name:literal, $version:literal;)+) => {
        $($(#[$about])* pub const $constant: $crate::code_path::CodePath = $crate::code_path::CodePath::new($name, $version);)+

        /// All code paths of this module.
        pub const ALL: &[$crate::code_path::CodePath] = &[$($constant),+];
    };
}

pub use code_paths;
