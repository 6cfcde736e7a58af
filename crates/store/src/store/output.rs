//! Output files that a user names: `--out`, `--output`.
//!
//! Unlike the store's own files, such a file may exist and may be special: a device, a pipe, a symlink, or a
//! file with restricted permissions.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::disk;
use crate::error::{Error, Result};

/// The maximum number of symlinks to follow, as in Linux.
const LINKS: usize = 40;

/// Writes a file that a user named, and creates its folder if needed.
///
/// A regular file is replaced atomically and keeps its permissions. A symlink stays, and its target is written.
/// Anything else (a device, a pipe) is written into. Returns true if the file now has exactly these bytes.
///
/// # Errors
/// It is a folder or not writable, or the disk is full.
pub fn write_output(path: &Path, bytes: &[u8]) -> Result<bool> {
    let failed = |error| Error::io("write", path, error);
    let there = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            return Err(
                Error::usage(format!("`{}` is a folder", path.display())).hint("use a file name inside it")
            );
        }
        Ok(metadata) => Some(metadata),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    let target = followed(path).map_err(failed)?;
    if there.as_ref().is_some_and(|there| !there.is_file() || is_descriptor(&target)) {
        return write_into(&target, bytes).map(|()| false).map_err(failed);
    }
    if there.is_some() {
        // Creating a new file in its place would not need write permission for it.
        File::options().append(true).open(&target).map_err(failed)?;
    }
    match replace(&target, there.as_ref(), bytes) {
        // The folder is not writable, or a file system is mounted at the name: write into the file itself.
        Err(error) if there.is_some() && is_closed(&error) => overwrite(&target, bytes),
        done => done,
    }
    .map(|()| true)
    .map_err(failed)
}

/// Replaces the old file with a new one with its permissions and, if allowed, its owner.
fn replace(target: &Path, there: Option<&Metadata>, bytes: &[u8]) -> io::Result<()> {
    let folder = disk::folder_of(target);
    fs::create_dir_all(folder)?;
    let mut file = disk::unfinished_file(folder)?;
    file.write_all(bytes)?;
    if let Some(there) = there {
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt, fchown};
            // Before the permissions, because changing the owner clears some of them.
            let _ = fchown(file.as_file(), Some(there.uid()), Some(there.gid()));
        }
        file.as_file().set_permissions(there.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(target).map_err(|error| error.error)?;
    disk::sync_folder(folder)
}

fn overwrite(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).truncate(true).open(target)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn write_into(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().append(true).open(path)?;
    file.write_all(bytes)?;
    file.flush()
}

/// Whether a path names a file descriptor of a process, such as `/dev/stdout`. The descriptor may be a regular
/// file, but the open file must be written, not its name.
fn is_descriptor(path: &Path) -> bool {
    let folder = disk::folder_of(path);
    folder == Path::new("/dev/fd") || (folder.starts_with("/proc") && folder.ends_with("fd"))
}

fn is_closed(error: &io::Error) -> bool {
    use ErrorKind::{PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | ResourceBusy)
}

/// The target of the symlinks at a path, whether it exists or not. File descriptors of a process are not
/// followed.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        if is_descriptor(&path) {
            return Ok(path);
        }
        match fs::read_link(&path) {
            Ok(target) => path = disk::folder_of(&path).join(target),
            // Not a symlink, or nothing there yet.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many levels of links"))
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn links_stay_and_permissions_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        write_output(&at("new/page.html"), b"one").unwrap();
        fs::set_permissions(at("new/page.html"), PermissionsExt::from_mode(0o640)).unwrap();
        symlink("new/page.html", at("link")).unwrap();
        symlink("link", at("chain")).unwrap();
        symlink("new/other.html", at("dangling")).unwrap();
        let inode = fs::metadata(at("new/page.html")).unwrap().ino();
        assert!(write_output(&at("chain"), b"two").unwrap());
        write_output(&at("dangling"), b"three").unwrap();
        for link in ["link", "chain", "dangling"] {
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink());
        }
        assert_eq!(fs::read(at("new/page.html")).unwrap(), b"two");
        assert_eq!(fs::read(at("new/other.html")).unwrap(), b"three");
        let page = fs::metadata(at("new/page.html")).unwrap();
        assert_eq!(page.permissions().mode() & 0o777, 0o640);
        assert_ne!(page.ino(), inode, "a reader of the old page reads it to its end");
        assert_eq!(disk::entries(&at("new")).unwrap(), ["other.html", "page.html"]);
        symlink("round", at("round")).unwrap();
        assert!(write_output(&at("round"), b"").is_err());
        assert_eq!(write_output(root.path(), b"").unwrap_err().kind, crate::error::ErrorKind::Usage);
    }

    #[test]
    fn devices_and_pipes_are_written_into() {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join("null");
        symlink("/dev/null", &device).unwrap();
        assert!(!write_output(&device, b"gone").unwrap());
        assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());
        let pipe = root.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let bytes = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut bytes = Vec::new();
                File::open(&pipe).unwrap().read_to_end(&mut bytes).unwrap();
                bytes
            });
            write_output(&pipe, b"through").unwrap();
            reader.join().unwrap()
        });
        assert_eq!(bytes, b"through");
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
        let full = root.path().join("full");
        symlink("/dev/full", &full).unwrap();
        let error = write_output(&full, b"x").unwrap_err();
        assert_eq!(error.message, format!("cannot write `{}`: the disk is full", full.display()));
    }

    #[test]
    fn a_file_in_a_folder_that_is_closed_is_written_in_place() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("page.html");
        fs::write(&file, "a long page").unwrap();
        overwrite(&file, b"short").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"short");
        for kind in [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem, ErrorKind::ResourceBusy] {
            assert!(is_closed(&kind.into()));
        }
        assert!(!is_closed(&ErrorKind::StorageFull.into()));
    }
}
