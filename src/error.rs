//! The one error of the library: what went wrong, whose move it is, and what to do about it.

use std::fmt;
use std::path::Path;

use crate::visible;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose move it is; the binary turns it into the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The file, an input or the command line is wrong: exit code 2.
    Usage,
    /// Something failed while running: exit code 1.
    Failed,
    /// Stopped on request, resumable: exit code 130.
    Interrupted,
}

/// An error that names the thing, the place and the cause, and where possible the cure.
///
/// `message` is lowercase and without a full stop; `hint` is one imperative sentence. Names from outside stand in `message` as
/// they are; `Display` shows it with nothing hidden.
#[derive(Debug)]
pub struct Error {
    pub kind: Kind,
    pub message: String,
    pub hint: Option<String>,
}

impl Error {
    pub fn usage(message: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, message: message.into(), hint: None }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, message: message.into(), hint: None }
    }

    pub fn interrupted(message: impl Into<String>) -> Self {
        Self { kind: Kind::Interrupted, message: message.into(), hint: None }
    }

    /// An I/O failure on a path: `cannot read `x.toml`: permission denied`.
    pub fn io(action: &str, path: &Path, error: std::io::Error) -> Self {
        let cause = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file or folder".to_owned(),
            std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        Self::failed(format!("cannot {action} `{}`: {cause}", path.display()))
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what was being done when the error came: `stage `frozen`: …`.
    pub fn within(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    pub fn as_usage(mut self) -> Self {
        self.kind = Kind::Usage;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&visible::lines(&self.message))
    }
}

impl std::error::Error for Error {}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::failed(format!("tensor error: {error}"))
    }
}
