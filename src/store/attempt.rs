//! Stages in progress: one folder per attempt, locked while someone works in it, resumed by whoever comes next.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Checkpoint, Finished, Store, Wanted, checkpoint, disk};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::events::Interrupt;

const RECORD: &str = "attempt.json";
const LOCK: &str = "lock";
const OUTPUT: &str = "output";
const SCRATCH: &str = "scratch";

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
        let mut notes = Vec::new();
        let numbers = attempts(&folder)?;
        for number in &numbers {
            let dir = attempt_dir(&folder, *number);
            let Ok(Record { variant, forced, .. }) = disk::read_json(&dir.join(RECORD)) else {
                continue;
            };
            if variant != work.variant {
                notes.push(format!(
                    "an unfinished attempt under `{variant}` is not resumed under `{}`: bits could differ",
                    work.variant
                ));
                continue;
            }
            if work.forced && !forced {
                continue;
            }
            return match take_lock(&dir)? {
                Some(lock) => {
                    // Half-written checkpoints of a process that was killed, as large as whole ones.
                    for name in disk::entries(&dir)?.iter().filter(|name| name.starts_with(disk::UNFINISHED))
                    {
                        disk::remove(&dir.join(name))?;
                    }
                    Ok(Claim::Taken(self.attempt(dir, work, notes, lock)))
                }
                None if dir.exists() => Ok(Claim::Busy),
                None => Ok(Claim::Lost),
            };
        }
        // The new attempt is locked before it has its name: nobody sees one that is nobody's.
        let unfinished = disk::unfinished_folder(&folder)?;
        let lock = disk::open_lock(&unfinished.path().join(LOCK))?;
        disk::try_lock(&lock)?;
        let record = Record { variant: work.variant.into(), uses: work.uses.to_vec(), forced: work.forced };
        disk::write_json(&unfinished.path().join(RECORD), &record)?;
        let dir = attempt_dir(&folder, numbers.last().map_or(1, |last| last + 1));
        match fs::rename(unfinished.path(), &dir) {
            Err(error) if disk::is_occupied(&error) => Ok(Claim::Lost),
            Err(error) => Err(Error::io("make", &dir, error)),
            Ok(()) => {
                let _ = unfinished.keep();
                Ok(Claim::Taken(self.attempt(dir, work, notes, lock)))
            }
        }
    }

    fn attempt(&self, dir: PathBuf, work: &Work, notes: Vec<String>, lock: File) -> Attempt {
        Attempt { dir, key: *work.key, variant: work.variant.to_owned(), notes, _lock: lock }
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
        self.notes.extend(torn.iter().map(|name| format!("`{name}` is torn and is passed over")));
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

/// Whether a process is at work in an attempt's folder, and the keys it reads.
pub(crate) fn live_uses(dir: &Path) -> Result<Option<Vec<Digest>>> {
    if !dir.join(LOCK).exists() || take_lock(dir)?.is_some() {
        return Ok(None);
    }
    let uses = disk::read_json(&dir.join(RECORD)).map_or_else(|_| Vec::new(), |record: Record| record.uses);
    Ok(Some(uses))
}

/// Locks an attempt. None if another has it, or if it was removed before the lock was ours.
fn take_lock(dir: &Path) -> Result<Option<File>> {
    let path = dir.join(LOCK);
    let file = match File::options().append(true).open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| Error::io("open", &path, error))?,
    };
    Ok((disk::try_lock(&file)? && disk::is_at(&file, &path)).then_some(file))
}

fn attempt_dir(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:06}"))
}

fn attempts(folder: &Path) -> Result<Vec<u64>> {
    let mut numbers: Vec<u64> = disk::entries(folder)?.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}
