//! The library's error type: what failed, whether the input or the program is wrong, and what to do.

mod files;
mod input_errors;
mod tensors;

use std::fmt;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::sanitize;

pub use input_errors::InputErrors;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is at fault. The binary maps it to the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The file, an input or the command line is wrong: exit code 2.
    Usage,
    /// Something failed while running: exit code 1.
    Failed,
    /// A device has too little memory for what was asked: exit code 1.
    OutOfMemory,
    /// A mistake in the program itself, not in the file or an input: exit code 1.
    Bug,
    /// Stopped on request, resumable: exit code 130.
    Interrupted,
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// An error that names the thing, the place and the cause, with a hint if possible.
///
/// `message` is lowercase and has no full stop; `hint` is one imperative sentence. `message` contains external
/// names unchanged; `Display` escapes invisible characters. The message is complete for people;
/// [`source`](std::error::Error::source) holds the cause for code.
#[derive(Debug, Serialize)]
pub struct Error {
    pub kind: ErrorKind,
    pub message: String,
    pub hint: Option<String>,
    /// Further errors of the same check.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Error>,
    #[serde(skip)]
    source: Option<Source>,
}

impl Error {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, others: Vec::new(), source: None }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    pub fn out_of_memory(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::OutOfMemory, message)
    }

    /// A state that no file or input can cause. The hint asks to report it.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, message).hint(concat!(
            "report this: it is a bug in defrost ",
            env!("CARGO_PKG_VERSION"),
            ", not in your pipeline file"
        ))
    }

    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Interrupted, message)
    }

    /// An I/O failure on a path: `cannot read `x.toml`: permission denied`. For a full or failing disk there is
    /// a hint.
    pub fn io(action: &str, path: &Path, error: io::Error) -> Self {
        let (cause, cure) = files::cause(&error);
        let failed = Self::failed(format!("cannot {action} `{}`: {cause}", path.display()));
        Self { hint: cure.map(str::to_owned), ..failed.caused_by(error) }
    }

    /// Keeps the cause as a value.
    pub fn caused_by(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prefixes what was being done: `stage `frozen`: …`.
    pub fn within(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    pub fn as_usage(mut self) -> Self {
        self.kind = ErrorKind::Usage;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&sanitize::lines(&self.message))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source: &(dyn std::error::Error + 'static) = self.source.as_deref()?;
        Some(source)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn the_cause_is_kept_as_a_value() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = Error::io("write", Path::new("a"), full).within("stage `b`").as_usage();
        let cause = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
        assert_eq!(cause.map(std::io::Error::kind), Some(std::io::ErrorKind::StorageFull));
        assert!(Error::failed("no cause").source().is_none());
    }

    #[test]
    fn a_bug_asks_to_be_reported_with_the_version() {
        let error = Error::bug("features of no image").within("stage `frozen`");
        assert_eq!((error.kind, &*error.message), (ErrorKind::Bug, "stage `frozen`: features of no image"));
        assert!(error.hint.unwrap().contains(env!("CARGO_PKG_VERSION")));
    }
}
