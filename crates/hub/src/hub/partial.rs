//! A file while it is fetched. It has a name of its own, so that no other process writes to it, with or without locks.
//! What a stopped process left is copied.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::cache::make_parent;
use super::{FetchEvent, Fetching};
use crate::error::{Error, Result};

/// The end of the names of unfinished files, as in Python.
const UNFINISHED: &str = ".incomplete";

pub struct Partial {
    /// `None` once it has its final name.
    file: Option<NamedTempFile>,
    have: u64,
    /// What is kept if fetching stops, because the next attempt can use it.
    resumable: bool,
}

/// A new file whose permissions are those of other new files.
pub fn new_file(folder: &Path, prefix: &str, suffix: &str) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).suffix(suffix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

impl Partial {
    /// `stem` names the content: files that begin with it have the first bytes of this one. Without it, nothing that
    /// is there is used.
    pub fn new(folder: &Path, stem: Option<&str>) -> Result<Self> {
        let failed = |error| Error::io("write to", folder, error);
        let left = stem.map_or_else(Vec::new, |stem| unfinished(folder, stem));
        let prefix = stem.map_or_else(String::new, |stem| format!("{stem}."));
        let mut file = new_file(folder, &prefix, UNFINISHED).map_err(failed)?;
        let longest = left.iter().filter_map(|path| Some((fs::metadata(path).ok()?.len(), path))).max();
        let mut have = 0;
        if let Some((_, path)) = longest {
            let mut source = File::open(path).map_err(|error| Error::io("read", path, error))?;
            have = io::copy(&mut source, file.as_file_mut()).map_err(failed)?;
        }
        left.iter().for_each(|path| drop(fs::remove_file(path)));
        Ok(Self { file: Some(file), have, resumable: stem.is_some() })
    }

    /// The number of bytes that it has.
    pub fn have(&self) -> u64 {
        self.have
    }

    pub fn path(&self) -> &Path {
        self.file.as_ref().map_or(Path::new(""), NamedTempFile::path)
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(bytes).map_err(|error| Error::io("write", file.path(), error))?;
            self.have += bytes.len() as u64;
        }
        Ok(())
    }

    pub fn clear(&mut self) -> Result<()> {
        if let Some(file) = &mut self.file {
            let cleared = file.as_file().set_len(0).and_then(|()| io::Seek::rewind(file.as_file_mut()));
            cleared.map_err(|error| Error::io("write", file.path(), error))?;
            self.have = 0;
        }
        Ok(())
    }

    /// Gives the file its name. If another process did the same before, its file is kept: both have the same bytes.
    pub fn publish(mut self, path: &Path) -> Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        file.as_file().sync_all().map_err(|error| Error::io("write", path, error))?;
        match file.persist(path) {
            Ok(_) => Ok(()),
            Err(_) if path.is_file() => Ok(()),
            Err(error) => Err(Error::io("write", path, error.error)),
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(file) = self.file.take()
            && self.resumable
            && self.have > 0
        {
            // Otherwise it is removed: the next attempt starts again.
            let _ = file.keep();
        }
    }
}

/// What stopped processes left of a file.
fn unfinished(folder: &Path, stem: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(io::Result::ok);
    let is_unfinished = |name: &str| {
        name.strip_prefix(stem)
            .and_then(|rest| rest.strip_suffix(UNFINISHED))
            .is_some_and(|middle| middle.is_empty() || middle.starts_with('.'))
    };
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_unfinished))
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect()
}

/// Waits until no other process holds a lock. Locks only save double work: without them, each process fetches its own
/// file, and the files are equal.
pub fn locked(path: &Path, fetching: &Fetching) -> Result<Option<File>> {
    make_parent(path)?;
    let Ok(file) = File::options().create(true).truncate(false).write(true).open(path) else {
        return Ok(None);
    };
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(fs::TryLockError::Error(_)) => return Ok(None),
            Err(fs::TryLockError::WouldBlock) => {}
        }
        fetching.interrupt.check()?;
        if !std::mem::replace(&mut told, true) {
            (fetching.observer)(FetchEvent::Waiting);
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
