//! The folders of feature sets, each named by the digest of its description.
//!
//! `<set>/set.json` is the description, `<set>/<digest>.rows` hold the rows, and `<set>/users/<key>` names a
//! stage that reads them: `gc` keeps the sets that stages of existing runs use.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::segment::{self, Segment, SegmentWriter};
use super::set::FeatureSet;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::events::Interrupt;
use crate::pipeline::FeatureType;
use crate::store::{InputIndex, disk, lock};

const USERS: &str = "users";
const LOCK: &str = "lock";

/// The feature sets below a folder, under one numeric profile.
#[derive(Clone)]
pub struct FeatureStore<'a> {
    folder: PathBuf,
    index: &'a InputIndex,
    variant: &'a str,
    /// The maximum bytes of all sets together.
    limit: u64,
    /// The key of the current stage.
    user: Option<Digest>,
}

/// While it exists, other processes wait before computing rows of the set.
pub struct FeatureSetLock {
    _file: File,
}

impl<'a> FeatureStore<'a> {
    /// Creates nothing; folders are created when first needed. `index` caches which files are intact.
    pub fn new(folder: PathBuf, index: &'a InputIndex, variant: &'a str, limit: u64) -> Self {
        Self { folder, index, variant, limit, user: None }
    }

    /// The same store, used by the stage of a key.
    pub fn for_stage(&self, key: &Digest) -> Self {
        Self { user: Some(*key), ..self.clone() }
    }

    /// The same stage, with its own sets in another folder.
    pub fn in_folder(&self, folder: PathBuf) -> Self {
        Self { folder, ..self.clone() }
    }

    fn set(&self, made_of: &Value) -> PathBuf {
        self.folder.join(Digest::of_json(&self.document(made_of)).to_string())
    }

    fn document(&self, made_of: &Value) -> Value {
        json!({ "made_of": made_of, "profile": self.variant })
    }

    /// The existing rows with the description `made_of`, in one type. Files with damaged bytes are removed. The
    /// current stage becomes a user of the set.
    ///
    /// # Errors
    /// The folder is not writable.
    pub fn open(&self, made_of: &Value, kind: FeatureType) -> Result<FeatureSet> {
        let folder = self.set(made_of);
        if let Some(user) = &self.user {
            let marker = folder.join(USERS).join(user.to_string());
            if !marker.is_file() {
                disk::write_json(&folder.join("set.json"), &self.document(made_of))?;
                disk::write_atomically(&marker, b"")?;
            }
        }
        let files = segments(&folder)?;
        // A file that vanishes was freed by `gc`: its rows are computed again.
        let digest =
            |path: &PathBuf| self.index.digests(std::slice::from_ref(path)).ok().map(|found| found[0]);
        let found: Vec<Option<Digest>> = files.par_iter().map(|(path, _)| digest(path)).collect();
        let mut set = FeatureSet::new(kind);
        for ((path, name), found) in files.iter().zip(found) {
            let whole = found == Some(*name) && Segment::open(path).is_ok_and(|segment| set.add(segment));
            if found.is_some() && !whole {
                // It is not used, whether or not it can be removed.
                let _ = disk::remove(path);
            }
        }
        Ok(set)
    }

    /// The existing rows, reading only their keys: for reports, not for computing.
    pub fn open_keys(&self, made_of: &Value, kind: FeatureType) -> Result<FeatureSet> {
        let mut set = FeatureSet::new(kind);
        for (path, _) in segments(&self.set(made_of))? {
            if let Ok(segment) = Segment::open(&path) {
                set.add(segment);
            }
        }
        Ok(set)
    }

    /// Publishes rows and adds them to a set.
    ///
    /// # Errors
    /// They cannot be written, for example on a full disk.
    pub fn publish(&self, made_of: &Value, set: &mut FeatureSet, rows: SegmentWriter) -> Result<()> {
        let shapes = set.shapes().map(<[_]>::to_vec);
        // Without one readable image the shape of a row is unknown, and there is nothing to keep.
        if rows.is_empty() || (rows.bytes() == 0 && shapes.is_none()) {
            return Ok(());
        }
        let path = rows.write(&self.set(made_of), &shapes.unwrap_or_default())?;
        match set.add(Segment::open(&path)?) {
            true => Ok(()),
            false => Err(Error::bug("features of another shape than those in the store")),
        }
    }

    /// The bytes that may still be used.
    pub fn available_bytes(&self) -> Result<u64> {
        let mut taken = 0;
        for set in disk::entries(&self.folder)? {
            let files = segments(&self.folder.join(set))?;
            taken += files.iter().filter_map(|(path, _)| Some(fs::metadata(path).ok()?.len())).sum::<u64>();
        }
        Ok(self.limit.saturating_sub(taken))
    }

    /// Waits until no other process computes rows of a set; calls `waiting` once if one does.
    ///
    /// # Errors
    /// Interrupted while waiting, or the folder is not writable.
    pub fn lock(
        &self,
        made_of: &Value,
        interrupt: &Interrupt,
        waiting: &mut dyn FnMut(),
    ) -> Result<FeatureSetLock> {
        let file = lock::open(&self.set(made_of).join(LOCK))?;
        let mut told = false;
        while !lock::try_exclusive(&file)?.may_proceed() {
            interrupt.check()?;
            if !std::mem::replace(&mut told, true) {
                waiting();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(FeatureSetLock { _file: file })
    }

    /// The keys of the stages that have used a set, from the set's folder.
    pub fn users(set: &Path) -> Result<Vec<String>> {
        disk::entries(&set.join(USERS))
    }

    /// Whether a process computes rows of a set now.
    pub fn is_live(set: &Path) -> bool {
        lock::is_held(&set.join(LOCK))
    }
}

/// The files of rows in a folder with the digests in their names, in name order.
fn segments(folder: &Path) -> Result<Vec<(PathBuf, Digest)>> {
    let named = |name: &String| Some((folder.join(name), segment::digest_of_name(name)?));
    Ok(disk::entries(folder)?.iter().filter_map(named).collect())
}
