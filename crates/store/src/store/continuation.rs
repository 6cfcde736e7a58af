//! The training state at the end of finished train stages. A stage that differs only by more epochs continues from it.
//!
//! `.store/continuations/<series>/<variant>/<epochs>-<key>` is the last checkpoint of the stage with this key. It is
//! never needed: without it, the longer stage trains from the start, to the same bytes.

use std::fs;
use std::path::{Path, PathBuf};

use super::objects::folder_name;
use super::{CheckpointFolder, Store, checkpoint, disk};
use crate::digest::Digest;
use crate::error::{Error, Result};

/// A train stage, as one of several that differ only in their number of epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochSeries {
    /// Of all that the stages have in common.
    pub digest: Digest,
    pub epochs: u32,
}

/// The training state after some epochs.
#[derive(Clone, Debug, PartialEq)]
pub struct Continuation {
    pub epochs: u32,
    pub dir: PathBuf,
}

impl Store {
    /// The folder of all continuations: `.store/continuations`.
    pub fn continuations(&self) -> PathBuf {
        self.objects().join("continuations")
    }

    fn continuations_of(&self, series: &EpochSeries, variant: &str) -> PathBuf {
        self.continuations().join(series.digest.to_string()).join(folder_name(variant))
    }

    /// The intact state after most epochs, of those with fewer epochs than the stage. It comes from the same numeric
    /// profile.
    pub fn continuation(&self, series: &EpochSeries, variant: &str) -> Result<Option<Continuation>> {
        let folder = self.continuations_of(series, variant);
        let names = disk::entries(&folder)?;
        let mut found: Vec<_> = names.iter().filter_map(|name| Some((parsed(name)?.0, name))).collect();
        found.sort();
        let shorter = found.into_iter().rev().filter(|(epochs, _)| *epochs < series.epochs);
        let at = |(epochs, name): (u32, &String)| Continuation { epochs, dir: folder.join(name) };
        Ok(shorter.map(at).find(|continuation| checkpoint::is_whole(&continuation.dir)))
    }

    /// Keeps the last checkpoint of a finished stage.
    pub(super) fn keep_continuation(
        &self,
        series: &EpochSeries,
        key: &Digest,
        variant: &str,
        last: &CheckpointFolder,
    ) -> Result<()> {
        let folder = self.continuations_of(series, variant);
        fs::create_dir_all(&folder).map_err(|error| Error::io("make", &folder, error))?;
        let dir = folder.join(format!("{:06}-{key}", series.epochs));
        match fs::rename(&last.dir, &dir) {
            // The stage was computed again, to the same state.
            Err(error) if disk::is_occupied(&error) => Ok(()),
            moved => moved.map_err(|error| Error::io("write", &dir, error)),
        }
    }

    /// All continuations, each with the key of its stage as text; `None` for what is none.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn all_continuations(&self) -> Result<Vec<(PathBuf, Option<String>)>> {
        let variants = below(below(vec![self.continuations()])?)?;
        let key = |dir: &Path| Some(parsed(dir.file_name()?.to_str()?)?.1.to_owned());
        Ok(below(variants)?.into_iter().map(|dir| (dir.clone(), key(&dir))).collect())
    }

    /// Removes the folders that had continuations and have none.
    pub fn remove_empty_continuations(&self) {
        let all = self.continuations();
        let series = below(vec![all.clone()]).unwrap_or_default();
        let variants = below(series.clone()).unwrap_or_default();
        // Fails unless a folder is empty, as intended.
        variants.iter().chain(&series).chain([&all]).for_each(|folder| drop(fs::remove_dir(folder)));
    }
}

/// The entries of folders.
fn below(folders: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in folders {
        found.extend(disk::entries(&folder)?.into_iter().map(|name| folder.join(name)));
    }
    Ok(found)
}

/// The epochs and the key in the name of a folder.
fn parsed(name: &str) -> Option<(u32, &str)> {
    let (epochs, key) = name.split_once('-')?;
    Some((epochs.parse().ok()?, key))
}

#[cfg(test)]
mod tests {
    use super::super::{AttemptRequest, AttemptStart};
    use super::*;
    use crate::events::Interrupt;

    fn series(epochs: u32) -> EpochSeries {
        EpochSeries { digest: Digest::of(b"series"), epochs }
    }

    /// The attempt at a stage of so many epochs, which has one checkpoint if it continues.
    fn begin(store: &Store, epochs: u32, forced: bool) -> super::super::Attempt {
        let key = Digest::of(&epochs.to_le_bytes());
        let request =
            AttemptRequest { key: &key, variant: "scalar", uses: &[], forced, series: Some(series(epochs)) };
        match store.begin(request, &Interrupt::default(), &mut || {}).unwrap() {
            AttemptStart::Working(attempt) => attempt,
            AttemptStart::Published(_) => panic!("it is finished"),
        }
    }

    fn state(attempt: &mut super::super::Attempt) -> Option<String> {
        let dir = attempt.newest_checkpoint().unwrap()?.dir;
        Some(fs::read_to_string(dir.join("state")).unwrap())
    }

    fn finish(store: &Store, epochs: u32) {
        let attempt = begin(store, epochs, false);
        let state = format!("{epochs} epochs");
        let write = |folder: &Path| {
            let path = folder.join("state");
            fs::write(&path, &state).map_err(|error| Error::io("write", &path, error))
        };
        attempt.write_checkpoint(write).unwrap();
        fs::write(attempt.output().unwrap().join("last"), &state).unwrap();
        attempt.finish(store, true).unwrap();
    }

    #[test]
    fn a_longer_stage_begins_with_the_state_after_most_epochs() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path());
        assert_eq!(state(&mut begin(&store, 8, false)), None);
        [2, 5, 9].into_iter().for_each(|epochs| finish(&store, epochs));
        assert_eq!(state(&mut begin(&store, 7, false)).unwrap(), "5 epochs");
        assert_eq!(state(&mut begin(&store, 4, false)).unwrap(), "2 epochs");
        assert_eq!(state(&mut begin(&store, 6, true)), None, "a forced stage trains all epochs");
        assert_eq!(store.continuation(&series(8), "x86-v3").unwrap(), None, "another profile");
        assert_eq!(store.all_continuations().unwrap().len(), 3);

        let damaged = store.continuation(&series(8), "scalar").unwrap().unwrap();
        assert_eq!(damaged.epochs, 5);
        fs::remove_file(damaged.dir.join("state")).unwrap();
        assert_eq!(store.continuation(&series(8), "scalar").unwrap().unwrap().epochs, 2);
    }
}
