//! An index of file digests: a file with unchanged size, times and inode is not read again.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rayon::prelude::*;

use super::disk;
use crate::digest::Digest;
use crate::error::{Error, InputErrors, Result};
use crate::regular_file;

const MAGIC: &[u8; 16] = b"defrost inputs 1";

/// A file that changed less than this before it was read may change again within one tick of the file system's
/// clock, without a change of its times ("racy git"). It is read again next time.
const MARGIN_NS: i64 = 2_000_000_000;

/// The stat fields that show whether a file changed. Programs can reset the modification time, but not the
/// change time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStat {
    size: u64,
    modified: i64,
    changed: i64,
    inode: u64,
}

impl FileStat {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let nanoseconds =
            |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            size: metadata.size(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    #[cfg(not(unix))]
    fn of(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        let modified = modified.map_or(i64::MAX, |since| since.as_nanos() as i64);
        Self { size: metadata.len(), modified, changed: modified, inode: 0 }
    }
}

#[derive(Clone, Copy)]
struct IndexEntry {
    stat: FileStat,
    digest: Digest,
}

/// The digests of files read before, by absolute path. It is only a cache: deleting it costs time, never a
/// result.
pub struct InputIndex {
    file: PathBuf,
    state: Mutex<IndexState>,
    margin: i64,
}

#[derive(Default)]
struct IndexState {
    entries: HashMap<Vec<u8>, IndexEntry>,
    changed: bool,
}

impl InputIndex {
    /// Reads the index in `file`. A missing or damaged index starts empty.
    pub fn open(file: impl Into<PathBuf>) -> Self {
        let file = file.into();
        let entries = fs::read(&file).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default();
        Self { file, state: Mutex::new(IndexState { entries, changed: false }), margin: MARGIN_NS }
    }

    /// The digest of each file's content, in the given order. Changed files are read in parallel.
    ///
    /// # Errors
    /// The paths that are not readable files, in the given order.
    pub fn digests(&self, paths: &[PathBuf]) -> Result<Vec<Digest>> {
        self.digests_if(paths, |entry, stat| entry.stat == *stat)
    }

    /// As [`InputIndex::digests`], but it reads every file.
    pub fn rehash(&self, paths: &[PathBuf]) -> Result<Vec<Digest>> {
        self.digests_if(paths, |_, _| false)
    }

    fn digests_if(
        &self,
        paths: &[PathBuf],
        trusted: fn(&IndexEntry, &FileStat) -> bool,
    ) -> Result<Vec<Digest>> {
        let names = absolute_names(paths)?;
        let remembered: Vec<Option<Digest>> = {
            let state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let remember = |(path, name): (&PathBuf, &Vec<u8>)| {
                let entry = state.entries.get(name)?;
                let stat = FileStat::of(&fs::metadata(path).ok()?);
                trusted(entry, &stat).then_some(entry.digest)
            };
            paths.par_iter().zip(&names).map(remember).collect()
        };
        if remembered.iter().all(Option::is_some) {
            return Ok(remembered.into_iter().flatten().collect());
        }
        let now = self.file_system_time();
        let read: Vec<io::Result<(Digest, Option<FileStat>)>> = paths
            .par_iter()
            .zip(&remembered)
            .map(|(path, remembered)| match remembered {
                Some(digest) => Ok((*digest, None)),
                None => self.read(path, now),
            })
            .collect();
        let (mut digests, mut mistakes) = (Vec::with_capacity(paths.len()), InputErrors::default());
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for ((result, path), (name, remembered)) in
            read.into_iter().zip(paths).zip(names.into_iter().zip(remembered))
        {
            let (digest, stat) = match result {
                Ok(read) => read,
                Err(error) => {
                    mistakes.add("file that cannot be read", Error::io("read", path, error).as_usage());
                    continue;
                }
            };
            digests.push(digest);
            if remembered.is_some() {
                continue;
            }
            state.changed |= match stat {
                Some(stat) => {
                    state.entries.insert(name, IndexEntry { stat, digest }).is_none_or(|old| old.stat != stat)
                }
                None => state.entries.remove(&name).is_some(),
            };
        }
        mistakes.into_result().map(|()| digests)
    }

    /// The digest of a file, and its stat if the index may trust it next time.
    fn read(&self, path: &Path, now: Option<i64>) -> io::Result<(Digest, Option<FileStat>)> {
        let file = regular_file::open(path)?;
        let stat = FileStat::of(&file.metadata()?);
        let digest = disk::digest_opened(&file)?;
        let steady = FileStat::of(&file.metadata()?) == stat;
        let aged = now.is_some_and(|now| stat.changed.saturating_add(self.margin) <= now);
        Ok((digest, (steady && aged).then_some(stat)))
    }

    /// The time by the file system's clock, which may differ from this machine's.
    fn file_system_time(&self) -> Option<i64> {
        let folder = self.file.parent()?;
        fs::create_dir_all(folder).ok()?;
        let probe = tempfile::tempfile_in(folder).ok()?;
        Some(FileStat::of(&probe.metadata().ok()?).changed)
    }

    /// Saves new digests for the next process; dropping also saves. A failure only costs reading files again.
    pub fn save(&self) {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if state.changed && disk::write_atomically(&self.file, &encode(&state.entries)).is_ok() {
            state.changed = false;
        }
    }

    /// Forgets missing files.
    pub fn forget_missing(&self) {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let before = state.entries.len();
        state.entries.retain(|name, _| std::str::from_utf8(name).is_ok_and(|name| Path::new(name).exists()));
        state.changed |= state.entries.len() != before;
    }
}

#[cfg(test)]
impl InputIndex {
    pub(super) fn with_margin(mut self, margin: std::time::Duration) -> Self {
        self.margin = margin.as_nanos() as i64;
        self
    }

    pub(super) fn remembered(&self) -> std::collections::BTreeMap<Vec<u8>, Digest> {
        let state = self.state.lock().unwrap();
        state.entries.iter().map(|(name, entry)| (name.clone(), entry.digest)).collect()
    }

    pub(super) fn remember(&self, path: &Path, digest: Digest) {
        let stat = FileStat::of(&fs::metadata(path).unwrap());
        let name = absolute_names(&[path.to_owned()]).unwrap().remove(0);
        self.state.lock().unwrap().entries.insert(name, IndexEntry { stat, digest });
    }
}

impl Drop for InputIndex {
    fn drop(&mut self) {
        self.save();
    }
}

fn absolute_names(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>> {
    // Read once, not for every path.
    let here = std::path::absolute(".").map_err(|error| Error::io("find", Path::new("."), error))?;
    let name = |path: &PathBuf| {
        let absolute =
            std::path::absolute(here.join(path)).map_err(|error| Error::io("find", path, error))?;
        Ok(absolute.into_os_string().into_encoded_bytes())
    };
    paths.iter().map(name).collect()
}

/// Magic bytes, then per file in name order: name length, name, size, times, inode, digest; finally the digest
/// of the whole.
fn encode(entries: &HashMap<Vec<u8>, IndexEntry>) -> Vec<u8> {
    let mut names: Vec<&Vec<u8>> = entries.keys().collect();
    names.sort();
    let mut bytes = MAGIC.to_vec();
    for name in names {
        let IndexEntry { stat, digest } = &entries[name];
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend(name);
        bytes.extend(stat.size.to_le_bytes());
        bytes.extend(stat.modified.to_le_bytes());
        bytes.extend(stat.changed.to_le_bytes());
        bytes.extend(stat.inode.to_le_bytes());
        bytes.extend(digest.as_bytes());
    }
    let seal = Digest::of(&bytes);
    bytes.extend(seal.as_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<HashMap<Vec<u8>, IndexEntry>> {
    let (body, seal) = bytes.split_last_chunk::<32>()?;
    if Digest::of(body).as_bytes() != seal {
        return None;
    }
    let mut rest = body.strip_prefix(MAGIC)?;
    let mut entries = HashMap::new();
    while !rest.is_empty() {
        let length = u32::from_le_bytes(take(&mut rest)?) as usize;
        let (name, after) = rest.split_at_checked(length)?;
        rest = after;
        let size = u64::from_le_bytes(take(&mut rest)?);
        let modified = i64::from_le_bytes(take(&mut rest)?);
        let changed = i64::from_le_bytes(take(&mut rest)?);
        let inode = u64::from_le_bytes(take(&mut rest)?);
        let digest = Digest::from_bytes(take(&mut rest)?);
        entries
            .insert(name.to_vec(), IndexEntry { stat: FileStat { size, modified, changed, inode }, digest });
    }
    Some(entries)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}
