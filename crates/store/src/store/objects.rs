//! Finished stages by key and variant: lookup, verification, and publishing by one rename.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{DecodableIndex, InputIndex, disk, lock};
use crate::digest::Digest;
use crate::error::{Error, Result};

/// The file next to a stage's results that lists them.
const RECORD: &str = "object.json";

/// The finished stages of all runs below one `runs` folder, and the index of input digests.
pub struct Store {
    objects: PathBuf,
    attempts_folder: PathBuf,
    inputs: InputIndex,
}

/// Which variants of a key's result are accepted.
#[derive(Clone, Copy, Debug)]
pub enum VariantRequest<'a> {
    /// Any, but this one is preferred.
    Any { preferring: &'a str },
    /// Only this one.
    Exactly(&'a str),
}

/// A finished, verified stage in the store: the files in `dir`, with their digests.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedStage {
    pub dir: PathBuf,
    pub variant: String,
    /// By relative path with `/`.
    pub files: BTreeMap<String, Digest>,
}

/// The outcome of a lookup.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    Found(FinishedStage),
    Missing,
    /// The stored bytes are not those that were published. Callers treat it as missing.
    Damaged {
        dir: PathBuf,
        reason: String,
    },
}

impl Lookup {
    pub fn found(self) -> Option<FinishedStage> {
        match self {
            Self::Found(finished) => Some(finished),
            Self::Missing | Self::Damaged { .. } => None,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct ObjectRecord {
    variant: String,
    files: BTreeMap<String, Digest>,
}

/// While it exists, `gc` waits, so that a result just looked up cannot vanish before a run directory names it.
pub struct GcHold {
    /// `None` in a read-only store without a lock file.
    _lock: Option<File>,
}

impl Store {
    /// The store of a `runs` folder. It creates nothing; folders are created when first needed.
    pub fn open(runs: &Path) -> Self {
        let objects = runs.join(".store");
        let inputs = InputIndex::open(objects.join("inputs.index"));
        Self { objects, attempts_folder: runs.join(".work"), inputs }
    }

    /// The index of input file digests.
    pub fn inputs(&self) -> &InputIndex {
        &self.inputs
    }

    /// The index of images with intact headers.
    pub fn decodable_index(&self) -> DecodableIndex {
        DecodableIndex::open(self.objects.join("sound.index"))
    }

    /// The folder of finished stages: `.store`.
    pub fn objects(&self) -> &Path {
        &self.objects
    }

    /// The folder of stages in progress: `.work`.
    pub fn work(&self) -> &Path {
        &self.attempts_folder
    }

    /// The folder of cached features: `.store/features`.
    pub fn features(&self) -> PathBuf {
        self.objects.join("features")
    }

    pub(super) fn attempts_of(&self, key: &Digest) -> PathBuf {
        self.attempts_folder.join(key.to_string())
    }

    /// Blocks `gc` from a lookup until the run directory names the key. Hold it briefly.
    pub fn block_gc(&self) -> Result<GcHold> {
        let path = self.objects.join("lock");
        let file = match lock::open(&path) {
            // A read-only store: lock the existing file, if there is one.
            Err(_) if self.objects.is_dir() => lock::open_existing(&path).ok(),
            opened => Some(opened?),
        };
        file.as_ref().map(lock::lock_shared).transpose()?;
        Ok(GcHold { _lock: file })
    }

    /// The opposite of [`Store::block_gc`], for `gc`. `None` while another process holds the store.
    pub fn lock_for_gc(&self) -> Result<Option<GcHold>> {
        let file = lock::open(&self.objects.join("lock"))?;
        Ok(lock::try_exclusive(&file)?.may_proceed().then_some(GcHold { _lock: Some(file) }))
    }

    /// Looks up a finished stage and verifies it. Files with a changed stat are read again.
    pub fn lookup(&self, key: &Digest, wanted: VariantRequest) -> Result<Lookup> {
        let folder = self.objects.join(key.to_string());
        let mut damaged = None;
        for name in self.candidates(&folder, wanted)? {
            let dir = folder.join(name);
            match self.verify(&dir) {
                Ok(finished) if request_admits(wanted, &finished.variant) => {
                    return Ok(Lookup::Found(finished));
                }
                Ok(_) => {}
                Err(error) => damaged = Some(Lookup::Damaged { dir, reason: error.message }),
            }
        }
        Ok(damaged.unwrap_or(Lookup::Missing))
    }

    fn candidates(&self, folder: &Path, wanted: VariantRequest) -> Result<Vec<String>> {
        let (VariantRequest::Any { preferring: first } | VariantRequest::Exactly(first)) = wanted;
        let first = folder_name(first);
        let mut names = disk::entries(folder)?;
        names.retain(|name| !name.starts_with('.'));
        match wanted {
            VariantRequest::Any { .. } => names.sort_by_key(|name| *name != first),
            VariantRequest::Exactly(_) => names.retain(|name| *name == first),
        }
        Ok(names)
    }

    fn verify(&self, dir: &Path) -> Result<FinishedStage> {
        let ObjectRecord { variant, files } = disk::read_json(&dir.join(RECORD))?;
        if let Some(name) = files.keys().find(|name| !disk::stays_below(name)) {
            return Err(Error::failed(format!("`{name}` is not a file of a stage")));
        }
        let paths: Vec<PathBuf> = files.keys().map(|name| dir.join(name)).collect();
        for path in &paths {
            let entry = fs::symlink_metadata(path).map_err(|error| Error::io("read", path, error))?;
            if !entry.is_file() {
                return Err(Error::failed(format!("`{}` is not a plain file", path.display())));
            }
        }
        let found = self.inputs.digests(&paths)?;
        match files.iter().zip(found).find(|((_, recorded), found)| *recorded != found) {
            Some(((name, _), _)) => {
                Err(Error::failed(format!("the bytes of `{name}` changed since it was published")))
            }
            None => Ok(FinishedStage { dir: dir.to_owned(), variant, files }),
        }
    }

    /// Publishes the files below `output` as the result of `key`: read-only, synced to disk, and visible by one
    /// rename.
    ///
    /// If the result exists, it is kept and `output` is removed, because both have the same bytes.
    ///
    /// # Errors
    /// The existing result has other bytes. Both are kept, and the message names them.
    pub fn publish(&self, key: &Digest, variant: &str, output: &Path) -> Result<FinishedStage> {
        let names = disk::files_below(output)?;
        if names.iter().any(|name| name == RECORD) {
            return Err(Error::failed(format!("a stage must not write `{RECORD}`")));
        }
        let digests = names.iter().map(|name| disk::digest_file(&output.join(name)));
        let digests = digests.collect::<Result<Vec<Digest>>>()?;
        let files: BTreeMap<String, Digest> = names.into_iter().zip(digests).collect();
        disk::write_json(
            &output.join(RECORD),
            &ObjectRecord { variant: variant.to_owned(), files: files.clone() },
        )?;
        disk::seal_tree(output)?;

        let folder = self.objects.join(key.to_string());
        let dir = folder.join(folder_name(variant));
        loop {
            fs::create_dir_all(&folder).map_err(|error| Error::io("make", &folder, error))?;
            match fs::rename(output, &dir) {
                Ok(()) => break,
                Err(error) if disk::is_occupied(&error) => {}
                // Another process removed this empty folder.
                Err(error) if error.kind() == io::ErrorKind::NotFound && output.exists() => continue,
                Err(error) => return Err(Error::io("publish", &dir, error)),
            }
            match self.verify(&dir) {
                Ok(existing) if existing.files == files && existing.variant == variant => {
                    disk::remove(output)?;
                    return Ok(existing);
                }
                Ok(existing) => return Err(self.conflict(key, &existing, &files, output)?),
                Err(_) => {
                    disk::move_aside(&dir, &self.attempts_of(key), "damaged")?;
                }
            }
        }
        for parent in [&folder, &self.objects] {
            disk::sync_folder(parent).map_err(|error| Error::io("publish", &dir, error))?;
        }
        Ok(FinishedStage { dir, variant: variant.to_owned(), files })
    }

    /// Keeps both results and reports the differences.
    fn conflict(
        &self,
        key: &Digest,
        existing: &FinishedStage,
        files: &BTreeMap<String, Digest>,
        output: &Path,
    ) -> Result<Error> {
        let names: std::collections::BTreeSet<&String> = existing.files.keys().chain(files.keys()).collect();
        let differing: Vec<String> = names
            .into_iter()
            .filter(|name| existing.files.get(*name) != files.get(*name))
            .map(|name| format!("`{name}`"))
            .collect();
        let kept = disk::move_aside(output, &self.attempts_of(key), "conflict")?;
        let differing = differing.join(", ");
        Ok(Error::failed(format!(
            "recomputing the same stage gave other bytes in {differing}: before `{}`, now `{}`",
            existing.dir.display(),
            kept.display()
        ))
        .hint("both are kept: compare them, and delete the one in the store if it is wrong"))
    }
}

fn request_admits(wanted: VariantRequest, variant: &str) -> bool {
    match wanted {
        VariantRequest::Any { .. } => true,
        VariantRequest::Exactly(exact) => exact == variant,
    }
}

/// A variant's folder: `cuda sm_90 cudnn 9.1` is `cuda-sm_90-cudnn-9.1`.
pub(super) fn folder_name(variant: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let name: String = variant.chars().map(|letter| if plain(letter) { letter } else { '-' }).collect();
    name.trim_start_matches('.').to_owned()
}
