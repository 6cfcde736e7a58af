//! Files that are read whole: regular ones, of a bounded size.
//!
//! Opening a pipe waits for whoever writes to it, and a device such as `/dev/zero` never ends. So what a path leads to is
//! looked at before it is opened, and no more is read than may be there.

use std::fmt;
use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::Read;
use std::path::Path;

/// Why a file was not read.
#[derive(Debug)]
pub enum Refused {
    /// What it is instead of a regular file, with its article.
    NotRegular(&'static str),
    /// It has more bytes than the limit, which is given.
    TooLarge(u64),
    Io(std::io::Error),
}

/// Reads a regular file of at most `limit` bytes; links are followed.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Refused> {
    let file = open(path)?;
    let size = file.metadata().map_err(Refused::Io)?.len();
    if size > limit {
        return Err(Refused::TooLarge(limit));
    }
    let mut bytes = Vec::with_capacity(size as usize);
    // Files of the system, as those in `/proc`, say that they are empty, and may not end.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(Refused::Io)?;
    if bytes.len() as u64 > limit { Err(Refused::TooLarge(limit)) } else { Ok(bytes) }
}

/// Opens a regular file; links are followed.
pub fn open(path: &Path) -> Result<File, Refused> {
    regular(&std::fs::metadata(path).map_err(Refused::Io)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    // Should a pipe have come in its place meanwhile, opening it does not wait.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
    );
    let file = options.open(path).map_err(Refused::Io)?;
    regular(&file.metadata().map_err(Refused::Io)?)?;
    Ok(file)
}

fn regular(metadata: &Metadata) -> Result<(), Refused> {
    let kind = metadata.file_type();
    if kind.is_file() { Ok(()) } else { Err(Refused::NotRegular(name(kind))) }
}

/// What a file is that is not a regular one.
fn name(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    if kind.is_dir() { "a folder" } else { "no regular file" }
}

impl fmt::Display for Refused {
    /// The cause, as in `cannot read `x`: no such file`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRegular(what) => write!(f, "it is {what}"),
            Self::TooLarge(limit) if limit.is_multiple_of(1 << 20) => {
                write!(f, "it has more than {} MiB", limit >> 20)
            }
            Self::TooLarge(limit) => write!(f, "it has more than {limit} bytes"),
            Self::Io(error) => match error.kind() {
                std::io::ErrorKind::NotFound => f.write_str("no such file"),
                std::io::ErrorKind::PermissionDenied => f.write_str("permission denied"),
                // A file of the system that has nothing to read just now.
                std::io::ErrorKind::WouldBlock => f.write_str("it is no regular file"),
                _ => error.fmt(f),
            },
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read(&file, 5).unwrap(), b"12345");
        let refused = |path: &Path, limit| read(path, limit).unwrap_err().to_string();
        assert_eq!(refused(&file, 4), "it has more than 4 bytes");
        assert_eq!(refused(folder.path(), 9), "it is a folder");
        assert_eq!(refused(Path::new("/dev/zero"), 9), "it is a device");
        assert_eq!(refused(&folder.path().join("b"), 9), "no such file");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        assert_eq!(refused(&link, 9), "it is a device");
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(refused(&pipe, 9), "it is a pipe");
    }
}
