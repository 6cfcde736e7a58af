//! Reads files that a user names, without blocking on special files.
//!
//! Opening a pipe waits for a writer, opening a device may have side effects, and some such as `/dev/zero` never
//! end. So only regular files are opened. The file type is checked before opening and again afterwards, because
//! the path may have changed. Reading stops at the size the file had when opened, also for growing files and for
//! system files such as `/proc/kmsg`, which report size 0.

use std::fmt;
use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// More than any intended file; `/proc/kcore` reports 128 TiB.
const LARGEST: u64 = 1 << 44;

/// More than any intended text.
const LARGEST_TEXT: u64 = 1 << 30;

/// Why a file was not read.
#[derive(Debug)]
pub enum ReadRefusal {
    /// What it is instead of a regular file, with an article.
    NotRegular(&'static str),
    /// It has more bytes than this limit.
    TooLarge(u64),
    /// A broken link with this target.
    Dangling(String),
    Io(io::Error),
}

/// Opens a regular file; symlinks are followed.
pub fn open(path: &Path) -> Result<File, ReadRefusal> {
    require(&std::fs::metadata(path).map_err(|error| of_path(path, error))?)?;
    let file = match options().open(path) {
        // Another process has a lease on the file and is asked to release it.
        Err(error) if error.kind() == ErrorKind::WouldBlock => File::open(path),
        opened => opened,
    };
    let file = file.map_err(ReadRefusal::Io)?;
    require(&file.metadata().map_err(ReadRefusal::Io)?)?;
    Ok(file)
}

/// Reads a regular file of at most `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ReadRefusal> {
    let mut bytes = Vec::new();
    read_into(path, limit, &mut bytes)?;
    Ok(bytes)
}

/// As [`read`], replacing the content of `bytes`.
pub fn read_into(path: &Path, limit: u64, bytes: &mut Vec<u8>) -> Result<(), ReadRefusal> {
    bytes.clear();
    let file = open(path)?;
    let length = file.metadata().map_err(ReadRefusal::Io)?.len();
    if length > limit {
        return Err(ReadRefusal::TooLarge(limit));
    }
    bytes.try_reserve_exact(length as usize).map_err(|error| ReadRefusal::Io(error.into()))?;
    file.take(length).read_to_end(bytes).map(drop).map_err(ReadRefusal::Io)
}

/// The text of a regular file.
pub fn read_text(path: &Path) -> io::Result<String> {
    let bytes = read(path, LARGEST_TEXT)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error.utf8_error()))
}

/// Why a path is not a regular file, without opening it; `None` if it is one.
pub fn refusal(path: &Path) -> Option<ReadRefusal> {
    match std::fs::metadata(path) {
        Ok(metadata) => require(&metadata).err(),
        Err(error) => Some(of_path(path, error)),
    }
}

fn of_path(path: &Path, error: io::Error) -> ReadRefusal {
    match std::fs::read_link(path) {
        Ok(target) if error.kind() == ErrorKind::NotFound => {
            ReadRefusal::Dangling(target.display().to_string())
        }
        _ => ReadRefusal::Io(error),
    }
}

fn require(metadata: &Metadata) -> Result<(), ReadRefusal> {
    let kind = metadata.file_type();
    match kind.is_file() {
        false => Err(ReadRefusal::NotRegular(name(kind))),
        true if metadata.len() > LARGEST => Err(ReadRefusal::TooLarge(LARGEST)),
        true => Ok(()),
    }
}

/// Names the type of a special file.
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

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    // If a pipe has replaced the file meanwhile, opening it does not block.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits().cast_signed(),
    );
    options
}

impl fmt::Display for ReadRefusal {
    /// The cause, as in `cannot read `x`: no such file`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRegular(what) => write!(f, "it is {what}"),
            Self::TooLarge(limit) if limit % (1 << 20) == 0 => {
                write!(f, "it has more than {} MiB", limit >> 20)
            }
            Self::TooLarge(limit) => write!(f, "it has more than {limit} bytes"),
            Self::Dangling(target) => write!(f, "it is a link to `{target}`, which does not exist"),
            Self::Io(error) => match error.kind() {
                ErrorKind::NotFound => f.write_str("no such file"),
                ErrorKind::PermissionDenied => f.write_str("permission denied"),
                _ => error.fmt(f),
            },
        }
    }
}

impl From<ReadRefusal> for io::Error {
    fn from(refused: ReadRefusal) -> Self {
        let kind = match &refused {
            ReadRefusal::Io(_) => ErrorKind::Other,
            ReadRefusal::NotRegular("a folder") => ErrorKind::IsADirectory,
            ReadRefusal::NotRegular(_) => ErrorKind::InvalidInput,
            ReadRefusal::TooLarge(_) => ErrorKind::FileTooLarge,
            ReadRefusal::Dangling(_) => ErrorKind::NotFound,
        };
        match refused {
            ReadRefusal::Io(error) => error,
            other => Self::new(kind, other),
        }
    }
}

impl std::error::Error for ReadRefusal {}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn cause(path: &Path, limit: u64) -> String {
        read(path, limit).unwrap_err().to_string()
    }

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a"), "12345").unwrap();
        assert_eq!(read(&at("a"), 5).unwrap(), b"12345");
        assert_eq!(cause(&at("a"), 4), "it has more than 4 bytes");
        assert_eq!(cause(folder.path(), 9), "it is a folder");
        assert_eq!(cause(&at("b"), 9), "no such file");
        std::os::unix::fs::symlink("/nowhere/x", at("dangling")).unwrap();
        assert_eq!(cause(&at("dangling"), 9), "it is a link to `/nowhere/x`, which does not exist");
        assert!(refusal(&at("a")).is_none() && refusal(&at("dangling")).is_some());
    }

    /// Each of these blocks or never ends when opened as a regular file.
    #[test]
    fn pipes_devices_and_files_of_the_system_do_not_hold_up() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        assert_eq!(cause(&at("pipe"), 9), "it is a pipe");
        // Also if it replaces the file after the first check.
        assert!(cfg!(not(target_os = "linux")) || options().open(at("pipe")).is_ok());
        let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert_eq!(cause(&at("socket"), 9), "it is a socket");
        std::os::unix::fs::symlink("/dev/zero", at("link")).unwrap();
        assert_eq!(cause(&at("link"), 9), "it is a device");
        if cfg!(target_os = "linux") {
            assert_eq!(read(Path::new("/proc/self/mem"), 9).unwrap(), b"");
            assert_eq!(read(Path::new("/proc/self/status"), 9).unwrap(), b"");
        }
    }
}
