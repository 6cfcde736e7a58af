//! Files that appear complete or not at all.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::regular_file;

/// The name prefix of files and folders that are being written. After a crash, everything with this prefix is
/// garbage.
pub const UNFINISHED: &str = ".unfinished-";
/// The name of a folder during removal, inside an unfinished folder.
pub(super) const DOOMED: &str = "doomed";

/// Replaces a file atomically: after a crash it has the old bytes or the new ones.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = folder_of(path);
    let write = || {
        fs::create_dir_all(folder)?;
        let mut file = unfinished_file(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        sync_folder(folder)
    };
    retry_if_removed(write).map_err(|error| Error::io("write", path, error))
}

/// Writes a file that is read while a stage still adds to it: complete, but not synced to disk. It is renamed
/// into place, and never writes into an existing file, which may be a hard link into the store.
pub fn write_unsynced(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        fs::create_dir_all(folder_of(path))?;
        let mut file = unfinished_file(folder_of(path))?;
        file.write_all(bytes)?;
        file.persist(path).map(drop).map_err(|error| error.error)
    };
    retry_if_removed(write).map_err(|error| Error::io("write", path, error))
}

/// Retries an operation if another process removed its folder or unfinished file. Without locks, two processes
/// may clean up in one run directory.
fn retry_if_removed<T>(work: impl Fn() -> io::Result<T>) -> io::Result<T> {
    const TRIES: usize = 4;
    for _ in 0..TRIES {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
    }
    work()
}

/// The folder of a path; the current one for a bare name.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Writes a value atomically, as indented JSON with a final newline.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::failed(format!("cannot write `{}`: {error}", path.display())))?;
    text.push('\n');
    write_atomically(path, text.as_bytes())
}

pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes =
        regular_file::read(path, u64::MAX).map_err(|refused| Error::io("read", path, refused.into()))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::failed(format!("cannot read `{}`: {error}", path.display())))
}

/// The digest of a file's current bytes.
pub fn digest_file(path: &Path) -> Result<Digest> {
    let read = || digest_opened(&regular_file::open(path)?);
    read().map_err(|error| Error::io("read", path, error))
}

/// Reads only the current length, so that a growing file has an end.
pub(super) fn digest_opened(file: &File) -> io::Result<Digest> {
    let mut file = file.take(file.metadata()?.len());
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

/// All files below a folder as sorted relative paths with `/`. A symlink is an error, because its target is
/// outside.
pub fn files_below(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(root).follow_links(false).min_depth(1) {
        let entry = entry.map_err(|error| Error::io("list", root, error.into()))?;
        if entry.file_type().is_dir() {
            continue;
        }
        let name = relative_name(root, entry.path())?;
        if !entry.file_type().is_file() {
            return Err(Error::failed(format!("`{name}` in `{}` is not a plain file", root.display())));
        }
        files.push(name);
    }
    files.sort();
    Ok(files)
}

fn relative_name(root: &Path, path: &Path) -> Result<String> {
    let relative = path.strip_prefix(root).expect("a walk stays below its root");
    let parts: Option<Vec<&str>> = relative.components().map(|part| part.as_os_str().to_str()).collect();
    parts
        .map(|parts| parts.join("/"))
        .ok_or_else(|| Error::failed(format!("the name of `{}` is not UTF-8", path.display())))
}

/// Whether a relative name stays below the folder that it is joined to.
pub fn stays_below(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Syncs every file and folder of a tree to disk, and makes every file read-only.
///
/// Folders stay writable; otherwise `rm -r` of a run would fail for everyone but root.
pub fn seal_tree(root: &Path) -> Result<()> {
    for entry in walkdir::WalkDir::new(root).follow_links(false).contents_first(true) {
        let entry = entry.map_err(|error| Error::io("list", root, error.into()))?;
        let path = entry.path();
        let seal = || {
            if entry.file_type().is_dir() {
                return sync_folder(path);
            }
            let file = File::open(path)?;
            file.sync_all()?;
            set_read_only(path)
        };
        seal().map_err(|error| Error::io("write", path, error))?;
    }
    Ok(())
}

fn set_read_only(path: &Path) -> io::Result<()> {
    let mut permissions = fs::metadata(path)?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(path, permissions)
}

/// Syncs a folder, so that the name of a new or renamed file is on disk.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Puts the bytes of `source` at `target`, which appears complete: by reflink, else as a read-only hard link,
/// else as a copy. Never as a symlink, so a run can be packed, moved and deleted alone.
pub fn duplicate(source: &Path, target: &Path) -> Result<()> {
    let folder = folder_of(target);
    let place = || {
        fs::create_dir_all(folder)?;
        let copy = unfinished_file(folder)?;
        if reflink(source, copy.as_file()).is_ok() {
            copy.as_file().sync_all()?;
            set_read_only(copy.path())?;
            copy.persist(target).map_err(|error| error.error)?;
            return Ok(());
        }
        // `link` does not replace a file, so it links to a temporary name and renames that. If both names
        // already belong to one file, the rename does nothing, and dropping the temporary path removes the spare
        // name.
        let path = copy.into_temp_path();
        fs::remove_file(&path)?;
        if fs::hard_link(source, &path).is_err() {
            fs::copy(source, &path)?;
            File::open(&path)?.sync_all()?;
        }
        set_read_only(&path)?;
        fs::rename(&path, target)
    };
    retry_if_removed(place).map_err(|error| Error::io("write", target, error))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn reflink(source: &Path, target: &File) -> io::Result<()> {
    rustix::fs::ioctl_ficlone(target, File::open(source)?).map_err(io::Error::from)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn reflink(_: &Path, _: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A new file that gets its name when it is complete. Dropping it before removes it.
pub fn unfinished_file(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    // The default permissions are for secrets; results get the permissions that the umask allows.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// A new empty folder, renamed when it is complete. Dropping it before removes it.
pub(super) fn unfinished_folder(parent: &Path) -> Result<tempfile::TempDir> {
    new_folder(parent).map_err(|error| Error::io("make a folder in", parent, error))
}

fn new_folder(parent: &Path) -> io::Result<tempfile::TempDir> {
    // Another process may remove the empty parent between the two calls.
    retry_if_removed(|| {
        fs::create_dir_all(parent)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(UNFINISHED);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        builder.tempdir_in(parent)
    })
}

/// Whether an open file is still the file at a path.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        file.metadata().ok().map(identity) == fs::metadata(path).ok().map(identity)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// Moves a folder to the first free name `<parent>/<label>-<n>` and returns the new path.
pub(super) fn move_aside(folder: &Path, parent: &Path, label: &str) -> Result<PathBuf> {
    let fail = |error| Error::io("move", folder, error);
    fs::create_dir_all(parent).map_err(fail)?;
    for number in 1.. {
        let target = parent.join(format!("{label}-{number}"));
        if fs::symlink_metadata(&target).is_ok() {
            continue;
        }
        match fs::rename(folder, &target) {
            Err(error) if is_occupied(&error) => continue,
            moved => return moved.map(|()| target).map_err(fail),
        }
    }
    unreachable!("some number is free")
}

/// Whether a rename failed because a folder of that name exists.
pub(super) fn is_occupied(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty)
}

/// Removes a folder with its content, a file, or a symlink (never its target). A missing path is no error.
///
/// A folder is renamed first, so that no process sees it half removed or writes into it.
pub fn remove(path: &Path) -> Result<()> {
    let parent = folder_of(path);
    let removed = fs::symlink_metadata(path).and_then(|entry| {
        if !entry.is_dir() {
            return fs::remove_file(path);
        }
        let doomed = new_folder(parent)?;
        fs::rename(path, doomed.path().join(DOOMED))?;
        doomed.close()
    });
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// The sorted names in a folder; empty if there is no folder.
pub fn entries(folder: &Path) -> Result<Vec<String>> {
    let listing = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(|error| Error::io("list", folder, error))?,
    };
    let mut names = Vec::new();
    for entry in listing {
        let entry = entry.map_err(|error| Error::io("list", folder, error))?;
        names.extend(entry.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// Whether nothing at or below a path changed for some time, by the file system's clock, which may differ from
/// this machine's. False if unknown.
pub(super) fn is_unchanged_for(path: &Path, time: Duration) -> bool {
    let modified =
        |metadata: io::Result<fs::Metadata>| metadata.and_then(|metadata| metadata.modified()).ok();
    let now = tempfile::tempfile_in(folder_of(path)).ok().and_then(|probe| modified(probe.metadata()));
    let entries = walkdir::WalkDir::new(path).follow_links(false).into_iter();
    let newest =
        entries.map(|entry| modified(entry.and_then(|entry| entry.metadata()).map_err(io::Error::from)));
    let newest = newest.collect::<Option<Vec<_>>>().and_then(|times| times.into_iter().max());
    now.zip(newest).is_some_and(|(now, newest)| now.duration_since(newest).is_ok_and(|age| age >= time))
}
