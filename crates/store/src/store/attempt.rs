//! Stages in progress: one folder per attempt, locked while someone works in it, resumed by whoever comes next.
//!
//! Where nobody can tell whether a process is at work in an attempt (the file system has no locks, or its lock file is
//! gone), nobody works in that one: a new attempt begins with a copy of its newest checkpoint. Both may then compute the
//! same, and publish the same bytes.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lock::{self, Asked};
use super::{Checkpoint, Finished, Store, Wanted, checkpoint, disk};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::events::Interrupt;

const RECORD: &str = "attempt.json";
const LOCK: &str = "lock";
const OUTPUT: &str = "output";
const SCRATCH: &str = "scratch";
/// Where nobody can tell whether a process is at work in an attempt, one that has not changed for this long is nobody's.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// What is to be computed.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    pub key: &'a Digest,
    /// The numeric profile it is computed under.
    pub variant: &'a str,
    /// The keys of the finished stages it reads: `gc` keeps them while the attempt is live.
    pub uses: &'a [Digest],
    /// Compute even if the result is there, and resume only what was begun so.
    pub forced: bool,
}

/// How work begins.
pub enum Begun {
    /// Another process has finished it meanwhile.
    Published(Finished),
    /// It is ours to do.
    Working(Attempt),
}

#[derive(Serialize, Deserialize)]
struct Record {
    variant: String,
    uses: Vec<Digest>,
    forced: bool,
}

/// A stage being computed. Dropping it leaves its checkpoints to be resumed.
pub struct Attempt {
    dir: PathBuf,
    key: Digest,
    variant: String,
    notes: Vec<String>,
    _lock: File,
}

impl Store {
    /// Begins or resumes a stage. If another process is at it, calls `waiting` once and waits for it.
    ///
    /// # Errors
    /// Interrupted while waiting; or the folder cannot be written.
    pub fn begin(&self, work: Work, interrupt: &Interrupt, waiting: &mut dyn FnMut()) -> Result<Begun> {
        let mut told = false;
        loop {
            interrupt.check()?;
            let hold = self.hold()?;
            match self.claim(&work)? {
                Claim::Taken(attempt) => {
                    // Between the caller's lookup and the lock, its former holder may have finished.
                    if !work.forced
                        && let Some(finished) = self.lookup(work.key, Wanted::Exactly(work.variant))?.found()
                    {
                        attempt.discard()?;
                        return Ok(Begun::Published(finished));
                    }
                    return Ok(Begun::Working(attempt));
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

    fn claim(&self, work: &Work) -> Result<Claim> {
        let folder = self.work_on(work.key);
        let (mut notes, mut unknown) = (Vec::new(), Vec::new());
        let numbers = attempts(&folder)?;
        for number in &numbers {
            let dir = attempt_dir(&folder, *number);
            let Ok(Record { variant, forced, .. }) = disk::read_json(&dir.join(RECORD)) else {
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
                    // Half-written checkpoints of a process that was killed, as large as whole ones.
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
        // The new attempt is locked before it has its name: nobody sees one that is nobody's.
        let unfinished = disk::unfinished_folder(&folder)?;
        let lock = lock::open(&unfinished.path().join(LOCK))?;
        lock::try_alone(&lock)?;
        let record = Record { variant: work.variant.into(), uses: work.uses.to_vec(), forced: work.forced };
        disk::write_json(&unfinished.path().join(RECORD), &record)?;
        if let Some(copied) = checkpoint::copy_newest(&unknown, unfinished.path())? {
            notes.push(format!(
                "continues from a copy of `{}`: another process may still be using it",
                copied.display()
            ));
        }
        let dir = attempt_dir(&folder, numbers.last().map_or(1, |last| last + 1));
        match fs::rename(unfinished.path(), &dir) {
            Err(error) if disk::is_occupied(&error) => Ok(Claim::Lost),
            Err(error) => Err(Error::io("make", &dir, error)),
            Ok(()) => {
                let _ = unfinished.keep();
                for old in unknown.iter().filter(|old| disk::unchanged_for(old, ABANDONED)) {
                    disk::remove(old)?;
                }
                Ok(Claim::Taken(self.attempt(dir, work, notes, lock)))
            }
        }
    }

    fn attempt(&self, dir: PathBuf, work: &Work, notes: Vec<String>, lock: File) -> Attempt {
        Attempt { dir, key: *work.key, variant: work.variant.to_owned(), notes, _lock: lock }
    }

    /// Removes what is left of work on a stage that is finished under a variant, as by a process that was killed right
    /// behind publishing it. What somebody may be at work in stays, and so does a forced attempt, which computes what is
    /// there. Nothing depends on it: what cannot be removed is left to `gc`.
    pub fn tidy(&self, key: &Digest, variant: &str) {
        let folder = self.work_on(key);
        for name in disk::entries(&folder).unwrap_or_default() {
            let dir = folder.join(&name);
            let doomed = name.starts_with(disk::UNFINISHED) && dir.join(disk::DOOMED).exists();
            let place = if doomed { dir.join(disk::DOOMED) } else { dir.clone() };
            let finished = match disk::read_json::<Record>(&place.join(RECORD)) {
                Ok(record) => record.variant == variant && (!record.forced || !place.join(OUTPUT).exists()),
                // One that was only just being made.
                Err(_) => name.starts_with(disk::UNFINISHED),
            };
            match holder(&place) {
                // The lock is held while it goes.
                Ok(Holder::Nobody(_lock)) if finished => drop(disk::remove(&dir)),
                // Without its lock, one that is being removed is as good as gone, and two may remove it.
                Ok(Holder::Unknown) if doomed || (finished && disk::unchanged_for(&place, ABANDONED)) => {
                    drop(disk::remove(&dir));
                }
                // Where it has nothing in it, not even a lock, its maker makes it anew.
                Ok(Holder::Unknown) if name.starts_with(disk::UNFINISHED) => drop(fs::remove_dir(&dir)),
                _ => {}
            }
        }
        // Fails unless it is empty, which is right.
        let _ = fs::remove_dir(folder);
    }

    /// Whether some attempt at a key could be resumed under a variant.
    pub fn resumable(&self, key: &Digest, variant: &str) -> Result<bool> {
        let folder = self.work_on(key);
        for number in attempts(&folder)? {
            let dir = attempt_dir(&folder, number);
            if disk::read_json::<Record>(&dir.join(RECORD)).is_ok_and(|record| record.variant == variant)
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
    /// Another process works on it.
    Busy,
    /// Another process changed the folder meanwhile: look again.
    Lost,
}

impl Attempt {
    /// Why earlier attempts or checkpoints are not resumed, for the log.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The newest whole checkpoint; torn ones are noted and passed over.
    pub fn newest_checkpoint(&mut self) -> Result<Option<Checkpoint>> {
        let (newest, torn) = checkpoint::newest(&self.dir)?;
        self.notes.extend(torn.iter().map(|name| format!("`{name}` is damaged and is skipped")));
        Ok(newest)
    }

    /// Writes the next checkpoint: `fill` puts files into the empty folder it is given.
    pub fn write_checkpoint(&self, fill: impl FnOnce(&Path) -> Result<()>) -> Result<Checkpoint> {
        checkpoint::write(&self.dir, fill)
    }

    /// A fresh folder for the results.
    pub fn output(&self) -> Result<PathBuf> {
        let output = self.dir.join(OUTPUT);
        disk::remove(&output)?;
        fs::create_dir_all(&output).map_err(|error| Error::io("make", &output, error))?;
        Ok(output)
    }

    /// A folder for what is of use while the attempt lasts, and goes with it. Not made yet.
    pub fn scratch(&self) -> PathBuf {
        self.dir.join(SCRATCH)
    }

    /// Publishes what is in the output folder and removes the attempt.
    pub fn finish(self, store: &Store) -> Result<Finished> {
        let finished = store.publish(&self.key, &self.variant, &self.dir.join(OUTPUT))?;
        self.discard()?;
        Ok(finished)
    }

    /// Gives the attempt up, with its checkpoints.
    pub fn discard(self) -> Result<()> {
        disk::remove(&self.dir)?;
        // Fails while there are other attempts, which is right.
        let _ = self.dir.parent().map(fs::remove_dir);
        Ok(())
    }
}

/// Whether a process is or may be at work in an attempt's folder, and the keys it reads.
pub fn live_uses(dir: &Path) -> Result<Option<Vec<Digest>>> {
    let Ok(Record { uses, .. }) = disk::read_json(&dir.join(RECORD)) else {
        // No attempt, or one that is just being made.
        return Ok(matches!(holder(dir)?, Holder::Somebody).then(Vec::new));
    };
    Ok(match holder(dir)? {
        Holder::Somebody => Some(uses),
        Holder::Unknown if !disk::unchanged_for(dir, ABANDONED) => Some(uses),
        _ => None,
    })
}

/// Who is at work in an attempt.
enum Holder {
    /// Nobody; while the lock is kept, it is ours.
    Nobody(File),
    Somebody,
    /// There is no lock to tell by.
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
    Ok(match lock::try_alone(&file)? {
        Asked::Held => Holder::Somebody,
        Asked::NoLocks => Holder::Unknown,
        Asked::Granted if disk::is_at(&file, &path) => Holder::Nobody(file),
        // The lock of another file: this one was replaced, or the file system does not number its files for good.
        Asked::Granted if dir.exists() => Holder::Unknown,
        Asked::Granted => Holder::Gone,
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
