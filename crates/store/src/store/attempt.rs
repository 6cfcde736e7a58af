//! Stages in progress: one folder per attempt. The process that works in it holds a lock; a later process
//! resumes it.
//!
//! If it is unknown whether a process works in an attempt (the file system has no locks, or the lock file is
//! gone), no other process works in it: a new attempt begins with a copy of its newest checkpoint. Both may then
//! compute the same stage and publish the same bytes.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lock::{self, LockResult};
use super::{
    CheckpointFolder, Continuation, EpochSeries, FinishedStage, Store, VariantRequest, checkpoint, disk,
};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::events::Interrupt;

const RECORD: &str = "attempt.json";
const LOCK: &str = "lock";
const OUTPUT: &str = "output";
const SCRATCH: &str = "scratch";
/// Without locks, an attempt that has not changed for this long is treated as abandoned.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// The stage to compute.
#[derive(Clone, Copy, Debug)]
pub struct AttemptRequest<'a> {
    pub key: &'a Digest,
    /// The numeric profile of the computation.
    pub variant: &'a str,
    /// The keys of the finished stages it reads. `gc` keeps them during the attempt.
    pub uses: &'a [Digest],
    /// Compute even if the result exists, and resume only attempts of this kind.
    pub forced: bool,
    /// For a train stage whose first epochs do not depend on their number: a new attempt continues from a shorter
    /// stage.
    pub series: Option<EpochSeries>,
}

/// The outcome of [`Store::begin`].
pub enum AttemptStart {
    /// Another process has finished the stage meanwhile.
    Published(FinishedStage),
    /// This process computes it.
    Working(Attempt),
}

#[derive(Serialize, Deserialize)]
struct AttemptRecord {
    variant: String,
    uses: Vec<Digest>,
    forced: bool,
}

/// A stage being computed. Dropping it keeps its checkpoints for a later process.
pub struct Attempt {
    dir: PathBuf,
    key: Digest,
    variant: String,
    notes: Vec<String>,
    series: Option<EpochSeries>,
    _lock: File,
}

impl Store {
    /// Begins or resumes a stage. If another process computes it, this calls `waiting` once and waits.
    ///
    /// # Errors
    /// Interrupted while waiting, or the folder is not writable.
    pub fn begin(
        &self,
        work: AttemptRequest,
        interrupt: &Interrupt,
        waiting: &mut dyn FnMut(),
    ) -> Result<AttemptStart> {
        let mut told = false;
        loop {
            interrupt.check()?;
            let hold = self.block_gc()?;
            match self.claim(&work)? {
                Claim::Taken(attempt) => {
                    // Between the caller's lookup and the lock, the previous holder may have finished.
                    if !work.forced
                        && let Some(finished) =
                            self.lookup(work.key, VariantRequest::Exactly(work.variant))?.found()
                    {
                        attempt.discard()?;
                        return Ok(AttemptStart::Published(finished));
                    }
                    return Ok(AttemptStart::Working(attempt));
                }
                Claim::Lost => {}
                Claim::Busy => {
                    drop(hold);
                    if !std::mem::replace(&mut told, true) {
                        waiting();
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    fn claim(&self, work: &AttemptRequest) -> Result<Claim> {
        let folder = self.attempts_of(work.key);
        let (mut notes, mut unknown) = (Vec::new(), Vec::new());
        let numbers = attempts(&folder)?;
        for number in &numbers {
            let dir = attempt_dir(&folder, *number);
            let Ok(AttemptRecord { variant, forced, .. }) = disk::read_json(&dir.join(RECORD)) else {
                continue;
            };
            if variant != work.variant {
                notes.push(format!(
                    "an unfinished attempt under `{variant}` is not resumed under `{}`: results could differ",
                    work.variant
                ));
                continue;
            }
            if work.forced && !forced {
                continue;
            }
            return match holder(&dir)? {
                Holder::Nobody(lock) => {
                    // Incomplete checkpoints of a killed process may be as large as complete ones.
                    for name in disk::entries(&dir)?.iter().filter(|name| name.starts_with(disk::UNFINISHED))
                    {
                        disk::remove(&dir.join(name))?;
                    }
                    Ok(Claim::Taken(self.attempt(dir, work, notes, lock)))
                }
                Holder::Unknown => {
                    unknown.push(dir);
                    continue;
                }
                Holder::Somebody => Ok(Claim::Busy),
                Holder::Gone => Ok(Claim::Lost),
            };
        }
        // The new attempt is locked before it gets its name, so no process ever sees it unlocked.
        let unfinished = disk::unfinished_folder(&folder)?;
        let lock = lock::open(&unfinished.path().join(LOCK))?;
        lock::try_exclusive(&lock)?;
        let record =
            AttemptRecord { variant: work.variant.into(), uses: work.uses.to_vec(), forced: work.forced };
        disk::write_json(&unfinished.path().join(RECORD), &record)?;
        if let Some(copied) = checkpoint::copy_newest(&unknown, unfinished.path())? {
            notes.push(format!(
                "continues from a copy of `{}`: another process may still be using it",
                copied.display()
            ));
        } else if let Some(shorter) = self.continuation_for(work)? {
            checkpoint::copy_first(&shorter.dir, unfinished.path())?;
        }
        let dir = attempt_dir(&folder, numbers.last().map_or(1, |last| last + 1));
        match fs::rename(unfinished.path(), &dir) {
            Err(error) if disk::is_occupied(&error) => Ok(Claim::Lost),
            Err(error) => Err(Error::io("make", &dir, error)),
            Ok(()) => {
                let _ = unfinished.keep();
                for old in unknown.iter().filter(|old| disk::is_unchanged_for(old, ABANDONED)) {
                    disk::remove(old)?;
                }
                Ok(Claim::Taken(self.attempt(dir, work, notes, lock)))
            }
        }
    }

    fn continuation_for(&self, work: &AttemptRequest) -> Result<Option<Continuation>> {
        let series = work.series.filter(|_| !work.forced);
        series.map_or(Ok(None), |series| self.continuation(&series, work.variant))
    }

    fn attempt(&self, dir: PathBuf, work: &AttemptRequest, notes: Vec<String>, lock: File) -> Attempt {
        let (key, variant, series) = (*work.key, work.variant.to_owned(), work.series);
        Attempt { dir, key, variant, notes, series, _lock: lock }
    }

    /// Removes leftover attempts of a finished stage and variant, for example after a process was killed just
    /// after publishing. It keeps attempts that may be in use, and forced attempts, which recompute an existing
    /// result. Failures are ignored: `gc` removes the rest.
    pub fn remove_leftovers(&self, key: &Digest, variant: &str) {
        let folder = self.attempts_of(key);
        for name in disk::entries(&folder).unwrap_or_default() {
            let dir = folder.join(&name);
            let doomed = name.starts_with(disk::UNFINISHED) && dir.join(disk::DOOMED).exists();
            let place = if doomed { dir.join(disk::DOOMED) } else { dir.clone() };
            let finished = match disk::read_json::<AttemptRecord>(&place.join(RECORD)) {
                Ok(record) => record.variant == variant && (!record.forced || !place.join(OUTPUT).exists()),
                // A new attempt that has no lock file yet.
                Err(_) => name.starts_with(disk::UNFINISHED),
            };
            match holder(&place) {
                // The lock is held during removal.
                Ok(Holder::Nobody(_lock)) if finished => drop(disk::remove(&dir)),
                // An attempt without a lock file is being removed; two processes may remove it.
                Ok(Holder::Unknown) if doomed || (finished && disk::is_unchanged_for(&place, ABANDONED)) => {
                    drop(disk::remove(&dir));
                }
                // An empty folder without a lock file: its creator recreates it.
                Ok(Holder::Unknown) if name.starts_with(disk::UNFINISHED) => drop(fs::remove_dir(&dir)),
                _ => {}
            }
        }
        // Fails unless the folder is empty, as intended.
        let _ = fs::remove_dir(folder);
    }

    /// Whether an attempt at a key can be resumed under a variant.
    pub fn resumable(&self, key: &Digest, variant: &str) -> Result<bool> {
        let folder = self.attempts_of(key);
        for number in attempts(&folder)? {
            let dir = attempt_dir(&folder, number);
            if disk::read_json::<AttemptRecord>(&dir.join(RECORD))
                .is_ok_and(|record| record.variant == variant)
                && checkpoint::newest(&dir)?.0.is_some()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

enum Claim {
    Taken(Attempt),
    /// Another process works in it.
    Busy,
    /// Another process changed the folder meanwhile: try again.
    Lost,
}

impl Attempt {
    /// Why earlier attempts or checkpoints are not resumed, for the log.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The newest complete checkpoint. Damaged ones are noted and skipped.
    pub fn newest_checkpoint(&mut self) -> Result<Option<CheckpointFolder>> {
        let (newest, torn) = checkpoint::newest(&self.dir)?;
        self.notes.extend(torn.iter().map(|name| format!("`{name}` is damaged and is skipped")));
        Ok(newest)
    }

    /// Writes the next checkpoint: `fill` writes files into an empty folder.
    pub fn write_checkpoint(&self, fill: impl FnOnce(&Path) -> Result<()>) -> Result<CheckpointFolder> {
        checkpoint::write(&self.dir, fill)
    }

    /// A new folder for the results.
    pub fn output(&self) -> Result<PathBuf> {
        let output = self.dir.join(OUTPUT);
        disk::remove(&output)?;
        fs::create_dir_all(&output).map_err(|error| Error::io("make", &output, error))?;
        Ok(output)
    }

    /// A folder for temporary files, removed with the attempt. Not created yet.
    pub fn temporary_folder(&self) -> PathBuf {
        self.dir.join(SCRATCH)
    }

    /// Publishes the output folder and removes the attempt. With `continuable`, its last checkpoint is that of the end
    /// of training, and is kept for stages with more epochs.
    pub fn finish(self, store: &Store, continuable: bool) -> Result<FinishedStage> {
        let finished = store.publish(&self.key, &self.variant, &self.dir.join(OUTPUT))?;
        if let Some(series) = self.series.filter(|_| continuable)
            && let Some(last) = checkpoint::newest(&self.dir)?.0
        {
            // The stage is finished also if this fails.
            let _ = store.keep_continuation(&series, &self.key, &self.variant, &last);
        }
        self.discard()?;
        Ok(finished)
    }

    /// Removes the attempt and its checkpoints.
    pub fn discard(self) -> Result<()> {
        disk::remove(&self.dir)?;
        // Fails while other attempts exist, as intended.
        let _ = self.dir.parent().map(fs::remove_dir);
        Ok(())
    }
}

/// Whether a process works or may work in an attempt's folder, and the keys it reads.
pub fn keys_in_use(dir: &Path) -> Result<Option<Vec<Digest>>> {
    let Ok(AttemptRecord { uses, .. }) = disk::read_json(&dir.join(RECORD)) else {
        // No attempt, or a new one without a lock file yet.
        return Ok(matches!(holder(dir)?, Holder::Somebody).then(Vec::new));
    };
    Ok(match holder(dir)? {
        Holder::Somebody => Some(uses),
        Holder::Unknown if !disk::is_unchanged_for(dir, ABANDONED) => Some(uses),
        _ => None,
    })
}

/// Who works in an attempt.
enum Holder {
    /// No other process. While the lock is held, the attempt belongs to this process.
    Nobody(File),
    Somebody,
    /// There is no lock to tell.
    Unknown,
    /// It was removed meanwhile.
    Gone,
}

fn holder(dir: &Path) -> Result<Holder> {
    let path = dir.join(LOCK);
    let file = match lock::open_existing(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(if dir.exists() { Holder::Unknown } else { Holder::Gone });
        }
        file => file.map_err(|error| Error::io("open", &path, error))?,
    };
    Ok(match lock::try_exclusive(&file)? {
        LockResult::Held => Holder::Somebody,
        LockResult::NoLocks => Holder::Unknown,
        LockResult::Granted if disk::is_at(&file, &path) => Holder::Nobody(file),
        // The lock of another file: this one was replaced, or the file system does not keep inode numbers.
        LockResult::Granted if dir.exists() => Holder::Unknown,
        LockResult::Granted => Holder::Gone,
    })
}

fn attempt_dir(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:06}"))
}

fn attempts(folder: &Path) -> Result<Vec<u64>> {
    let mut numbers: Vec<u64> = disk::entries(folder)?.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}
