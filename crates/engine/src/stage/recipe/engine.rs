//! The code that a stage runs.

use std::collections::BTreeMap;

use crate::code_path::CodePath;

/// The version of each code path, by name.
pub type CodePathVersions = BTreeMap<&'static str, u32>;

/// The versions of the code paths that a stage takes.
pub fn engine(paths: impl IntoIterator<Item = CodePath>) -> CodePathVersions {
    paths.into_iter().map(|path| (path.name(), path.version())).collect()
}
