//! Where the sets of features are: one folder each, named by what its rows are made of.
//!
//! `<set>/set.json` says what that is, `<set>/<digest>.rows` hold the rows, `<set>/users/<key>` names a stage that reads
//! them: `gc` keeps what a stage of some run uses.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::segment::{self, Rows, Segment};
use super::set::FeatureSet;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::events::Interrupt;
use crate::pipeline::FeatureType;
use crate::store::{InputIndex, disk, lock};

const USERS: &str = "users";
const LOCK: &str = "lock";

/// The sets of features below a folder, under one numeric profile.
#[derive(Clone)]
pub struct FeatureStore<'a> {
    folder: PathBuf,
    index: &'a InputIndex,
    variant: &'a str,
    /// How many bytes all sets together may take.
    limit: u64,
    /// The key of the stage at work.
    user: Option<Digest>,
}

/// While it lives, others who would compute rows of the set wait.
pub struct Lock {
    _file: File,
}

impl<'a> FeatureStore<'a> {
    /// Makes nothing; folders come with what is first put there. `index` remembers which files were found whole.
    pub fn new(folder: PathBuf, index: &'a InputIndex, variant: &'a str, limit: u64) -> Self {
        Self { folder, index, variant, limit, user: None }
    }

    /// The same sets, used by the stage of a key.
    pub fn used_by(&self, key: &Digest) -> Self {
        Self { user: Some(*key), ..self.clone() }
    }

    /// The same stage, with sets of its own in another folder.
    pub fn elsewhere(&self, folder: PathBuf) -> Self {
        Self { folder, ..self.clone() }
    }

    fn set(&self, made_of: &Value) -> PathBuf {
        self.folder.join(Digest::of_json(&self.document(made_of)).to_string())
    }

    fn document(&self, made_of: &Value) -> Value {
        json!({ "made_of": made_of, "profile": self.variant })
    }

    /// The rows there are of what is `made_of` these things, in numbers of one kind; files whose bytes are not those
    /// of their names are removed. The stage at work becomes a user of the set.
    ///
    /// # Errors
    /// The folder cannot be written.
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
        // One that vanishes meanwhile was freed: what it held is computed again.
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

    /// What is there, at the price of reading the keys alone: to be told, not to be computed with.
    pub fn look(&self, made_of: &Value, kind: FeatureType) -> Result<FeatureSet> {
        let mut set = FeatureSet::new(kind);
        for (path, _) in segments(&self.set(made_of))? {
            if let Ok(segment) = Segment::open(&path) {
                set.add(segment);
            }
        }
        Ok(set)
    }

    /// Puts rows where everyone finds them, for good, and adds them to a set.
    ///
    /// # Errors
    /// They cannot be written, as on a full disk.
    pub fn publish(&self, made_of: &Value, set: &mut FeatureSet, rows: Rows) -> Result<()> {
        let shapes = set.shapes().map(<[_]>::to_vec);
        // Without one readable image nothing is known of the rows, and nothing is gained by keeping that.
        if rows.is_empty() || (rows.bytes() == 0 && shapes.is_none()) {
            return Ok(());
        }
        let path = rows.write(&self.set(made_of), &shapes.unwrap_or_default())?;
        match set.add(Segment::open(&path)?) {
            true => Ok(()),
            false => Err(Error::bug("features of another shape than those in the store")),
        }
    }

    /// How many bytes more may be kept.
    pub fn room(&self) -> Result<u64> {
        let mut taken = 0;
        for set in disk::entries(&self.folder)? {
            let files = segments(&self.folder.join(set))?;
            taken += files.iter().filter_map(|(path, _)| Some(fs::metadata(path).ok()?.len())).sum::<u64>();
        }
        Ok(self.limit.saturating_sub(taken))
    }

    /// Waits until nobody else computes rows of a set, calling `waiting` once if somebody does.
    ///
    /// # Errors
    /// Interrupted while waiting; or the folder cannot be written.
    pub fn lock(&self, made_of: &Value, interrupt: &Interrupt, waiting: &mut dyn FnMut()) -> Result<Lock> {
        let file = lock::open(&self.set(made_of).join(LOCK))?;
        let mut told = false;
        while !lock::try_alone(&file)?.go_on() {
            interrupt.check()?;
            if !std::mem::replace(&mut told, true) {
                waiting();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(Lock { _file: file })
    }

    /// The keys of the stages that have used a set, by the set's folder.
    pub fn users(set: &Path) -> Result<Vec<String>> {
        disk::entries(&set.join(USERS))
    }

    /// Whether somebody is just computing rows of a set.
    pub fn is_live(set: &Path) -> bool {
        lock::is_held(&set.join(LOCK))
    }
}

/// The files of rows in a folder with the digests they are named by, in the order of their names.
fn segments(folder: &Path) -> Result<Vec<(PathBuf, Digest)>> {
    let named = |name: &String| Some((folder.join(name), segment::named(name)?));
    Ok(disk::entries(folder)?.iter().filter_map(named).collect())
}
