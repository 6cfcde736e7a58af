//! The reason for a failed file operation, in plain words.

use std::io::{self, ErrorKind};

use crate::regular_file::ReadRefusal;

/// The reason for a failed file operation, and a hint if the system, not a path, is the cause.
pub(super) fn cause(error: &io::Error) -> (String, Option<&'static str>) {
    let (cause, cure) = match error.kind() {
        // The message says more than its kind.
        _ if error.get_ref().is_some_and(|cause| cause.is::<ReadRefusal>()) => {
            return (error.to_string(), None);
        }
        ErrorKind::NotFound => ("no such file or folder", None),
        ErrorKind::PermissionDenied => ("permission denied", None),
        ErrorKind::StorageFull => (
            "the disk is full",
            Some("free some space, for instance with `defrost gc`, and run the same command again"),
        ),
        ErrorKind::QuotaExceeded => (
            "the disk quota is exceeded",
            Some("free some space, for instance with `defrost gc`, and run the same command again"),
        ),
        ErrorKind::FileTooLarge => (
            "the file exceeds the system's size limit",
            Some(
                "raise the limit, for instance with `ulimit -f unlimited`, or use a file system that allows larger files",
            ),
        ),
        ErrorKind::ReadOnlyFilesystem => {
            ("the file system is read-only", Some("use a writable folder, for instance with `--runs-dir`"))
        }
        _ if is_device_failure(error) => (
            "the disk reports an input/output error",
            Some("look for disk errors in the system log, and run the same command again"),
        ),
        _ => return (error.to_string(), None),
    };
    (cause.to_owned(), cure)
}

/// EIO, which has no kind in the standard library.
fn is_device_failure(error: &io::Error) -> bool {
    cfg!(unix) && error.raw_os_error() == Some(5)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Error;
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_or_broken_disk_is_named_with_a_cure() {
        for (code, cause, cure) in [
            (28, "the disk is full", "defrost gc"),
            (122, "the disk quota is exceeded", "defrost gc"),
            (27, "the file exceeds the system's size limit", "ulimit -f"),
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
