//! The one error of the library: what went wrong, whose move it is, and what to do about it.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;

use serde::Serialize;

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
/// `message` is lowercase and without a full stop; `hint` is one imperative sentence.
#[derive(Debug, Serialize)]
pub struct Error {
    #[serde(skip)]
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

    /// An I/O failure on a path: `cannot read `x.toml`: permission denied`; where something is full or broken, with what
    /// helps.
    pub fn io(action: &str, path: &Path, error: io::Error) -> Self {
        let (cause, cure) = cause(&error);
        let failed = Self::failed(format!("cannot {action} `{}`: {cause}", path.display()));
        Self { hint: cure.map(str::to_owned), ..failed }
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

/// Why an operation on a file failed, in plain words, and what helps where the system, and not a name, is to blame.
fn cause(error: &io::Error) -> (String, Option<&'static str>) {
    let (cause, cure) = match error.kind() {
        ErrorKind::NotFound => ("no such file or folder", None),
        ErrorKind::PermissionDenied => ("permission denied", None),
        ErrorKind::StorageFull => (
            "the disk is full",
            Some("free some space, such as with `defrost gc`, and run the same command again"),
        ),
        ErrorKind::QuotaExceeded => (
            "the disk quota is used up",
            Some("free some space, such as with `defrost gc`, and run the same command again"),
        ),
        ErrorKind::FileTooLarge => (
            "the file is larger than the system allows",
            Some(
                "raise the limit, as with `ulimit -f unlimited`, or use a file system that takes larger files",
            ),
        ),
        ErrorKind::ReadOnlyFilesystem => (
            "the file system is read-only",
            Some("name a folder that can be written to, such as with `--runs-dir`"),
        ),
        _ if is_device_failure(error) => (
            "the disk reports an input/output error",
            Some("look for failures of the disk in the system's log, and run the same command again"),
        ),
        _ => return (error.to_string(), None),
    };
    (cause.to_owned(), cure)
}

/// EIO, for which the standard library has no kind.
fn is_device_failure(error: &io::Error) -> bool {
    cfg!(unix) && error.raw_os_error() == Some(5)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl Error {
    /// A failure to read or write tensors at a path.
    pub fn tensors(action: &str, path: &Path, error: candle_core::Error) -> Self {
        use candle_core::Error as Candle;
        match error {
            Candle::Io(error) | Candle::SafeTensor(safetensors::SafeTensorError::IoError(error)) => {
                Self::io(action, path, error)
            }
            Candle::WithBacktrace { inner, .. } | Candle::WithPath { inner, .. } => {
                Self::tensors(action, path, *inner)
            }
            error => Self::failed(format!("cannot {action} `{}`: {error}", path.display())),
        }
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::failed(format!("tensor error: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_or_broken_disk_is_named_with_a_cure() {
        for (code, cause, cure) in [
            (28, "the disk is full", "defrost gc"),
            (122, "the disk quota is used up", "defrost gc"),
            (27, "the file is larger than the system allows", "ulimit -f"),
            (30, "the file system is read-only", "--runs-dir"),
            (5, "the disk reports an input/output error", "log"),
        ] {
            let error = Error::io("write", Path::new("a/b"), io::Error::from_raw_os_error(code));
            assert_eq!(error.message, format!("cannot write `a/b`: {cause}"));
            assert!(error.hint.is_some_and(|hint| hint.contains(cure)), "{cause}");
        }
        let missing = Error::io("read", Path::new("a"), ErrorKind::NotFound.into());
        assert_eq!(
            (missing.message.as_str(), missing.hint),
            ("cannot read `a`: no such file or folder", None)
        );
    }
}
