//! Numbered, immutable checkpoints of a stage in progress. The newest complete one is used; damaged ones are
//! skipped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::disk;
use crate::digest::Digest;
use crate::error::{Error, Result};

const RECORD: &str = "checkpoint.json";
const PREFIX: &str = "checkpoint-";

/// The last checkpoint, and the one before in case the disk damages it.
const KEPT: usize = 2;

/// A verified checkpoint folder.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointFolder {
    pub number: u64,
    pub dir: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct CheckpointRecord {
    files: BTreeMap<String, Digest>,
}

/// Writes a new checkpoint into `folder`: `fill` writes files into an empty folder. The checkpoint appears
/// complete or not at all. Only the last two are kept.
pub(super) fn write(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<CheckpointFolder> {
    let unfinished = disk::unfinished_folder(folder)?;
    fill(unfinished.path())?;
    let names = disk::files_below(unfinished.path())?;
    let mut files = BTreeMap::new();
    for name in names {
        let digest = disk::digest_file(&unfinished.path().join(&name))?;
        files.insert(name, digest);
    }
    disk::write_json(&unfinished.path().join(RECORD), &CheckpointRecord { files })?;
    disk::seal_tree(unfinished.path())?;
    let mut number = numbers(folder)?.last().map_or(1, |last| last + 1);
    let checkpoint = loop {
        let dir = folder_of(folder, number);
        match fs::rename(unfinished.path(), &dir) {
            Err(error) if disk::is_occupied(&error) => number += 1,
            Err(error) => return Err(Error::io("write", &dir, error)),
            Ok(()) => break CheckpointFolder { number, dir },
        }
    };
    let _ = unfinished.keep();
    disk::sync_folder(folder).map_err(|error| Error::io("write", &checkpoint.dir, error))?;
    let numbers = numbers(folder)?;
    for old in &numbers[..numbers.len().saturating_sub(KEPT)] {
        disk::remove(&folder_of(folder, *old))?;
    }
    Ok(checkpoint)
}

/// The newest checkpoint with intact digests, and the names of newer, damaged ones.
pub(super) fn newest(folder: &Path) -> Result<(Option<CheckpointFolder>, Vec<String>)> {
    let mut torn = Vec::new();
    for number in numbers(folder)?.into_iter().rev() {
        let name = format!("{PREFIX}{number:06}");
        let dir = folder.join(&name);
        if is_whole(&dir) {
            return Ok((Some(CheckpointFolder { number, dir }), torn));
        }
        torn.push(name);
    }
    Ok((None, torn))
}

/// Copies a complete checkpoint into a folder without one, as its first. False if it vanished meanwhile.
pub(super) fn copy_first(dir: &Path, into: &Path) -> Result<bool> {
    copy(dir, &folder_of(into, 1))
}

/// Copies the newest complete checkpoint of several attempts into another folder, and returns which one.
/// Attempts may be in use; one that vanishes is skipped.
pub(super) fn copy_newest(attempts: &[PathBuf], into: &Path) -> Result<Option<PathBuf>> {
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    for attempt in attempts {
        found.extend(numbers(attempt)?.into_iter().map(|number| (number, folder_of(attempt, number))));
    }
    found.sort();
    for (number, dir) in found.into_iter().rev() {
        let target = folder_of(into, number);
        if copy(&dir, &target)? {
            return Ok(Some(dir));
        }
    }
    Ok(None)
}

/// Whether the copy is complete; otherwise it is removed.
fn copy(dir: &Path, target: &Path) -> Result<bool> {
    let copied = disk::files_below(dir).and_then(|names| {
        names.iter().try_for_each(|name| disk::duplicate(&dir.join(name), &target.join(name)))
    });
    let complete = copied.is_ok() && is_whole(target);
    if !complete {
        disk::remove(target)?;
    }
    Ok(complete)
}

fn folder_of(attempt: &Path, number: u64) -> PathBuf {
    attempt.join(format!("{PREFIX}{number:06}"))
}

/// Whether a checkpoint folder has all its files with their digests.
pub(super) fn is_whole(dir: &Path) -> bool {
    let Ok(CheckpointRecord { files }) = disk::read_json(&dir.join(RECORD)) else {
        return false;
    };
    files.iter().all(|(name, digest)| {
        disk::stays_below(name) && disk::digest_file(&dir.join(name)).is_ok_and(|found| found == *digest)
    })
}

fn numbers(folder: &Path) -> Result<Vec<u64>> {
    let mut numbers: Vec<u64> =
        disk::entries(folder)?.iter().filter_map(|name| name.strip_prefix(PREFIX)?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}
