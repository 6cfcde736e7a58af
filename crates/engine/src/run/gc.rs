//! Finds and removes unused data in the store.
//!
//! It keeps every key in the plan of a run directory with the features that the stage used, and everything that
//! a live attempt writes or reads. A run records its keys before it uses them, and blocks `gc` during lookups,
//! so nothing it needs is removed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{RunState, all_runs, submission};
use crate::error::{Error, Result};
use crate::features::FeatureStore;
use crate::store::{Store, disk, keys_in_use};

/// An item that could be removed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RemovableItem {
    pub path: PathBuf,
    /// A description for people.
    pub what: &'static str,
    /// The bytes that removal would free; bytes shared with a run by hard link do not count.
    pub bytes: u64,
}

/// The items that could be removed, and the number of those that stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GcSurvey {
    pub garbage: Vec<RemovableItem>,
    /// The number of finished stages and attempts that stay.
    pub kept: usize,
}

impl GcSurvey {
    pub fn bytes(&self) -> u64 {
        self.garbage.iter().map(|item| item.bytes).sum()
    }

    /// A feature set stays while the plan of a run names a stage that used it, or while a process adds to it.
    fn features(&mut self, store: &Store, named: &BTreeSet<String>) -> Result<()> {
        for name in disk::entries(&store.features())? {
            let set = store.features().join(name);
            if FeatureStore::is_live(&set) {
                continue;
            }
            if !FeatureStore::users(&set)?.iter().any(|user| named.contains(user)) {
                self.sort(set, Some("features of frozen layers that no run uses"));
                continue;
            }
            for name in disk::entries(&set)?.iter().filter(|name| name.starts_with(disk::UNFINISHED)) {
                self.sort(set.join(name), Some("left by a process that was killed"));
            }
        }
        Ok(())
    }

    fn sort(&mut self, path: PathBuf, garbage: Option<&'static str>) {
        match garbage {
            Some(what) => self.garbage.push(RemovableItem { bytes: bytes_below(&path), path, what }),
            None => self.kept += 1,
        }
    }
}

/// Surveys the store of a `runs` folder. Removes nothing.
///
/// # Errors
/// The plan of a run cannot be read, so its needs are unknown.
pub fn survey(store: &Store, runs: &Path) -> Result<GcSurvey> {
    let mut named = BTreeSet::new();
    let mut resumable = BTreeSet::new();
    for run in all_runs(runs)? {
        let record = run.record().map_err(|error| {
            error.hint("it is unknown what this run needs: run its pipeline again, or delete its folder")
        })?;
        let keys: Vec<String> =
            record.stages.iter().filter_map(|stage| Some(stage.key?.to_string())).collect();
        if run.state() != RunState::Complete {
            resumable.extend(keys.iter().cloned());
        }
        named.extend(keys);
    }

    let mut survey = GcSurvey::default();
    let mut attempts = Vec::new();
    for key in keys_in(store.work())? {
        let folder = store.work().join(&key);
        for name in disk::entries(&folder)? {
            let path = folder.join(&name);
            let live = keys_in_use(&path)?;
            named.extend(live.iter().flatten().map(ToString::to_string));
            let garbage = match name.as_str() {
                _ if live.is_some() => None,
                name if name.starts_with("conflict-") => {
                    Some("a result whose bytes differ from the one in the store")
                }
                name if name.starts_with("damaged-") => Some("a damaged result that was computed again"),
                name if name.starts_with(disk::UNFINISHED) => Some("left by a process that was killed"),
                _ if resumable.contains(&key) => None,
                _ => Some("an attempt that no run would resume"),
            };
            attempts.push((path, garbage));
        }
    }
    for key in keys_in(store.objects())? {
        let folder = store.objects().join(&key);
        for name in disk::entries(&folder)? {
            let garbage = match name.starts_with(disk::UNFINISHED) {
                true => Some("left by a process that was killed"),
                false if named.contains(&key) => None,
                false => Some("a finished stage that no run uses"),
            };
            survey.sort(folder.join(name), garbage);
        }
    }
    for name in disk::entries(store.objects())?.iter().filter(|name| name.starts_with(disk::UNFINISHED)) {
        survey.sort(store.objects().join(name), Some("left by a process that was killed"));
    }
    for (path, key) in store.all_continuations()? {
        let unused = key.is_none_or(|key| !named.contains(&key));
        survey.sort(path, unused.then_some("a training state that no run would continue"));
    }
    survey.features(store, &named)?;
    for (path, why) in submission::unused(runs)? {
        survey.sort(path, Some(why));
    }
    attempts.into_iter().for_each(|(path, garbage)| survey.sort(path, garbage));
    Ok(survey)
}

/// Surveys again with the store locked, and removes unused items.
///
/// # Errors
/// A run is using the store, or an item cannot be removed.
pub fn free(store: &Store, runs: &Path) -> Result<GcSurvey> {
    let Some(_hold) = store.lock_for_gc()? else {
        return Err(Error::failed("a run is reading the store").hint("try again"));
    };
    let survey = survey(store, runs)?;
    for item in &survey.garbage {
        disk::remove(&item.path)?;
    }
    for folder in [store.objects(), store.work()] {
        for key in keys_in(folder)? {
            // Fails unless the folder is empty, as intended.
            let _ = std::fs::remove_dir(folder.join(key));
        }
    }
    store.remove_empty_continuations();
    store.inputs().forget_missing();
    Ok(survey)
}

/// The folders named by a digest.
fn keys_in(folder: &Path) -> Result<Vec<String>> {
    let mut names = disk::entries(folder)?;
    names.retain(|name| name.parse::<crate::digest::Digest>().is_ok());
    Ok(names)
}

fn bytes_below(path: &Path) -> u64 {
    let entries = walkdir::WalkDir::new(path).follow_links(false).into_iter().flatten();
    let metadata =
        entries.filter(|entry| entry.file_type().is_file()).filter_map(|entry| entry.metadata().ok());
    metadata.filter(|metadata| !is_shared(metadata)).map(|metadata| metadata.len()).sum()
}

#[cfg(unix)]
fn is_shared(metadata: &std::fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) > 1
}

#[cfg(not(unix))]
fn is_shared(_: &std::fs::Metadata) -> bool {
    false
}
