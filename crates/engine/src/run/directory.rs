//! One run directory: its location, its content, and writing it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::RunRecord;
use super::record::{RecordHead, RecordKeys};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::regular_file;
use crate::store::{FinishedStage, Store, disk, lock};

pub(super) const PLAN: &str = "plan.json";
pub(super) const EVENTS: &str = "events.jsonl";
pub(super) const LOG: &str = "log.txt";
pub(super) const LATEST: &str = "latest";
/// Statistics of the run's data sets.
pub(super) const DATA: &str = "data.json";
/// Small pictures of some of their images.
pub(super) const SAMPLES: &str = "samples.json";
const PIPELINE: &str = "pipeline.toml";
pub(super) const RESOLVED: &str = "resolved.toml";
const MANIFEST: &str = "manifest.json";
pub(super) const STATE: &str = "state";
const STAGES: &str = "stages";

/// The files that the manifest lists, besides everything below `stages`.
const LISTED: [&str; 6] = [PIPELINE, RESOLVED, PLAN, DATA, SAMPLES, "report.html"];

/// The files that it does not list: itself, and files that may contain clocks and host names. The report has
/// neither.
const UNLISTED: [&str; 4] = [MANIFEST, STATE, EVENTS, LOG];
/// Event files for TensorBoard, which contain clocks too.
const TENSORBOARD: &str = "tensorboard/";

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Running,
    Interrupted,
    Failed,
    Complete,
}

impl RunState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
            Self::Complete => "complete",
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for RunState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Running, Self::Interrupted, Self::Failed, Self::Complete]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(())
    }
}

/// A run directory, by path: `runs/<name>/<digits of the recipe>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDirectory {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    files: BTreeMap<String, Digest>,
}

impl RunDirectory {
    /// The directory of a recipe below a `runs` folder, existing or not: eight digits of the recipe, or more if
    /// another recipe has the same. Writes nothing.
    pub fn locate(runs: &Path, name: &str, recipe: &Digest) -> Result<Self> {
        if !disk::stays_below(name) || name.contains('/') || name.starts_with('.') {
            return Err(Error::usage(format!(
                "`{name}` is not a valid folder name below `{}`",
                runs.display()
            )));
        }
        let digits = recipe.to_string();
        let taken = |path: &Path| {
            disk::read_json(&path.join(PLAN)).is_ok_and(|record: RecordHead| record.recipe != *recipe)
        };
        let path = (8..=digits.len())
            .map(|length| runs.join(name).join(&digits[..length]))
            .find(|path| !taken(path));
        Ok(Self { path: path.expect("no other recipe has all the digits") })
    }

    /// An existing run directory.
    ///
    /// # Errors
    /// The path has no `plan.json`.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        if !path.join(PLAN).is_file() {
            return Err(Error::usage(format!(
                "`{}` is not a run directory: it has no `{PLAN}`",
                path.display()
            )));
        }
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The digits in its name.
    pub fn id(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The plan of the run.
    pub fn record(&self) -> Result<RunRecord> {
        disk::read_json(&self.path.join(PLAN))
    }

    /// The beginning of its plan. The rest is not kept, which takes most of the time.
    pub(super) fn head(&self) -> Result<RecordHead> {
        disk::read_json(&self.path.join(PLAN))
    }

    /// The keys of its stages that are known.
    pub(super) fn keys(&self) -> Result<Vec<Digest>> {
        let record: RecordKeys = disk::read_json(&self.path.join(PLAN))?;
        Ok(record.stages.into_iter().filter_map(|stage| stage.key).collect())
    }

    /// The merged settings, as JSON.
    pub fn settings(&self) -> Result<serde_json::Value> {
        let path = self.path.join(RESOLVED);
        let text = regular_file::read_text(&path).map_err(|error| Error::io("read", &path, error))?;
        toml::from_str(&text)
            .map_err(|error| Error::failed(format!("cannot read `{}`: {error}", path.display())))
    }

    /// Starts or restarts the run. The plan is written first, because `gc` reads it; then the pipeline, the
    /// state, and `latest`.
    pub fn begin(&self, record: &RunRecord, pipeline: &[u8], resolved: &str) -> Result<()> {
        self.write_record(record)?;
        self.set_state(RunState::Running)?;
        self.write(PIPELINE, pipeline)?;
        self.write(RESOLVED, resolved.as_bytes())?;
        let latest = self.path.parent().unwrap_or(Path::new(".")).join(LATEST);
        disk::write_atomically(&latest, format!("{}\n", self.id()).as_bytes())
    }

    /// Writes the plan again, after a key has become known.
    pub fn write_record(&self, record: &RunRecord) -> Result<()> {
        let mut text = serde_json::to_string_pretty(record).expect("a plan is plain data");
        text.push('\n');
        self.write(PLAN, text.as_bytes())
    }

    /// Writes a run-level file such as `report.html`, unless it has these bytes.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        if fs::read(&path).is_ok_and(|existing| existing == bytes) {
            return Ok(());
        }
        disk::write_atomically(&path, bytes)
    }

    /// The state of the run. A run marked as running without a process was killed: it is interrupted.
    pub fn state(&self) -> RunState {
        let text = regular_file::read_text(&self.path.join(STATE)).unwrap_or_default();
        match text.trim().parse().unwrap_or(RunState::Interrupted) {
            RunState::Running if !self.is_live() => RunState::Interrupted,
            state => state,
        }
    }

    pub fn set_state(&self, state: RunState) -> Result<()> {
        disk::write_atomically(&self.path.join(STATE), format!("{state}\n").as_bytes())
    }

    /// Whether a process works in it, which holds the lock of `events.jsonl`.
    pub fn is_live(&self) -> bool {
        lock::is_held(&self.path.join(EVENTS))
    }

    /// The folder of a stage, for files that grow during the run; [`RunDirectory::materialize`] replaces them.
    pub fn stage(&self, name: &str) -> PathBuf {
        self.path.join(STAGES).join(name)
    }

    /// An empty folder for a stage that will be computed.
    pub fn clear_stage(&self, name: &str) -> Result<PathBuf> {
        let folder = self.stage(name);
        disk::remove(&folder)?;
        std::fs::create_dir_all(&folder).map_err(|error| Error::io("make", &folder, error))?;
        Ok(folder)
    }

    /// Fills a stage's folder with exactly its finished files.
    pub fn materialize(&self, store: &Store, stage: &str, finished: &FinishedStage) -> Result<()> {
        let folder = self.stage(stage);
        sweep(&folder, |name| finished.files.contains_key(name))?;
        let mut changed = false;
        for (name, digest) in &finished.files {
            let target = folder.join(name);
            if !is_there(store, &target, digest) {
                disk::duplicate(&finished.dir.join(name), &target)?;
                changed = true;
            }
        }
        if changed {
            // A run marked as complete has its files even after a power failure.
            disk::sync_folder(&folder).map_err(|error| Error::io("write", &folder, error))?;
        }
        Ok(())
    }

    /// Whether a stage's folder has exactly its finished files.
    pub(super) fn has(&self, store: &Store, stage: &str, finished: &FinishedStage) -> bool {
        let folder = self.stage(stage);
        finished.files.iter().all(|(name, digest)| is_there(store, &folder.join(name), digest))
    }

    /// Finishes a run with all stages in place: removes leftovers of an earlier run, and writes the manifest.
    /// Also called after `report.html` changes.
    pub fn seal(&self, store: &Store) -> Result<()> {
        let record = self.record()?;
        let stages: BTreeSet<&str> = record.stages.iter().map(|stage| stage.name.as_str()).collect();
        for name in disk::entries(&self.path.join(STAGES))? {
            if !stages.contains(name.as_str()) {
                disk::remove(&self.path.join(STAGES).join(name))?;
            }
        }
        for name in disk::entries(&self.path)?.iter().filter(|name| name.starts_with(disk::UNFINISHED)) {
            disk::remove(&self.path.join(name))?;
        }
        let mut names = disk::files_below(&self.path.join(STAGES))?;
        names.iter_mut().for_each(|name| name.insert_str(0, "stages/"));
        names.extend(LISTED.map(str::to_owned).into_iter().filter(|name| self.path.join(name).is_file()));
        let paths: Vec<PathBuf> = names.iter().map(|name| self.path.join(name)).collect();
        let files = names.into_iter().zip(store.inputs().digests(&paths)?).collect();
        let mut text = serde_json::to_string_pretty(&Manifest { files }).expect("a manifest is plain data");
        text.push('\n');
        self.write(MANIFEST, text.as_bytes())
    }

    /// The files here that belong in a manifest, including links.
    pub(super) fn listed_files(&self) -> Vec<String> {
        let walk = walkdir::WalkDir::new(&self.path).follow_links(false).min_depth(1).sort_by_file_name();
        let files = walk.into_iter().flatten().filter(|entry| !entry.file_type().is_dir());
        let names = files.filter_map(|entry| relative(&self.path, entry.path()));
        let is_unlisted = |name: &str| UNLISTED.contains(&name) || name.starts_with(TENSORBOARD);
        names.filter(|name| !is_unlisted(name)).collect()
    }

    /// Whether a file is as the manifest says.
    pub(super) fn is_intact(&self, store: &Store, name: &str) -> bool {
        let listed = self.manifest().ok().and_then(|files| files.get(name).copied());
        listed.is_some_and(|digest| is_there(store, &self.path.join(name), &digest))
    }

    /// The content of the manifest.
    pub(super) fn manifest(&self) -> Result<BTreeMap<String, Digest>> {
        let manifest: Manifest = disk::read_json(&self.path.join(MANIFEST))?;
        Ok(manifest.files)
    }
}

fn is_there(store: &Store, file: &Path, digest: &Digest) -> bool {
    let found = || store.inputs().digests(&[file.to_owned()]);
    file.is_file() && found().is_ok_and(|found| found == [*digest])
}

/// Removes files that do not belong in a folder, all links, and empty folders.
fn sweep(folder: &Path, stays: impl Fn(&str) -> bool) -> Result<()> {
    if fs::symlink_metadata(folder).is_ok_and(|entry| !entry.is_dir()) {
        return disk::remove(folder);
    }
    for entry in walkdir::WalkDir::new(folder).follow_links(false).min_depth(1).contents_first(true) {
        let Ok(entry) = entry else { continue };
        if entry.file_type().is_dir() {
            // Fails unless the folder is empty, as intended.
            let _ = fs::remove_dir(entry.path());
            continue;
        }
        if entry.file_type().is_symlink() || !relative(folder, entry.path()).is_some_and(|name| stays(&name))
        {
            disk::remove(entry.path())?;
        }
    }
    Ok(())
}

fn relative(folder: &Path, path: &Path) -> Option<String> {
    Some(path.strip_prefix(folder).ok()?.to_str()?.replace(std::path::MAIN_SEPARATOR, "/"))
}
