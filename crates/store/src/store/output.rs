//! Files that a person names: `--out`, `--output`.
//!
//! Unlike a file of the store's own, which simply takes its name, such a file may be there already and be more than a
//! name: a device, a pipe, a link to where the bytes are to go, a file that only some may read.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::disk;
use crate::error::{Error, Result};

/// As many links one behind the other as Linux follows.
const LINKS: usize = 40;

/// Writes a file that somebody named, and makes its folder if need be.
///
/// A plain file is replaced in one step and keeps its permissions; a link stays, and what it leads to is written. What is
/// no plain file (a device, a pipe) is written into. True where the file now has these bytes and no others.
///
/// # Errors
/// It is a folder, or a file that may not be written to, or the disk is full.
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
        // A new file in its place would need no right to write to it.
        File::options().append(true).open(&target).map_err(failed)?;
    }
    match replace(&target, there.as_ref(), bytes) {
        // The folder is closed, or another file system is mounted at the name: what is open is the file itself.
        Err(error) if there.is_some() && is_closed(&error) => overwrite(&target, bytes),
        done => done,
    }
    .map(|()| true)
    .map_err(failed)
}

/// A new file in place of the old one, with its permissions and, where that is allowed, its owner.
fn replace(target: &Path, there: Option<&Metadata>, bytes: &[u8]) -> io::Result<()> {
    let folder = disk::folder_of(target);
    fs::create_dir_all(folder)?;
    let mut file = disk::unfinished_file(folder)?;
    file.write_all(bytes)?;
    if let Some(there) = there {
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt, fchown};
            // Ahead of the permissions, which a change of owner takes away in part.
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

/// Whether a path names a file by its number in a process, as `/dev/stdout` does: it may well be a plain file, but the
/// one that is open is meant, and not its name.
fn is_descriptor(path: &Path) -> bool {
    let folder = disk::folder_of(path);
    folder == Path::new("/dev/fd") || (folder.starts_with("/proc") && folder.ends_with("fd"))
}

fn is_closed(error: &io::Error) -> bool {
    use ErrorKind::{PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | ResourceBusy)
}

/// Where the links at a path lead, be there something or not; the number of a file in a process is followed no further.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        if is_descriptor(&path) {
            return Ok(path);
        }
        match fs::read_link(&path) {
            Ok(target) => path = disk::folder_of(&path).join(target),
            // No link, or nothing yet.
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
        assert_eq!(write_output(root.path(), b"").unwrap_err().kind, crate::error::Kind::Usage);
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
