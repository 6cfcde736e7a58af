//! Finds runs: the folder of all runs, and the run that an argument names.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::RunDirectory;
use super::directory::{LATEST, PLAN};
use super::event_log::events_of;
use crate::error::{Error, Result};
use crate::pipeline::run_label;
use crate::pipeline::suggest::closest;
use crate::regular_file;
use crate::store::disk;

/// The folder of all runs of a pipeline file: `runs` in the nearest ancestor folder that has `runs` or `.git`,
/// else next to the file.
pub fn runs_root(pipeline: &Path) -> Result<PathBuf> {
    let pipeline = std::path::absolute(pipeline).map_err(|error| Error::io("find", pipeline, error))?;
    runs_root_from(pipeline.parent().unwrap_or(Path::new("/")))
}

/// As [`runs_root`], for a folder.
pub fn runs_root_from(folder: &Path) -> Result<PathBuf> {
    let folder = std::path::absolute(folder).map_err(|error| Error::io("find", folder, error))?;
    let marked =
        folder.ancestors().find(|folder| folder.join("runs").is_dir() || folder.join(".git").exists());
    Ok(marked.unwrap_or(&folder).join("runs"))
}

/// Every run below a `runs` folder, by name and id.
pub fn all_runs(runs: &Path) -> Result<Vec<RunDirectory>> {
    let mut found = Vec::new();
    for name in disk::entries(runs)?.into_iter().filter(|name| !name.starts_with('.')) {
        found.extend(runs_of(runs, &name)?);
    }
    Ok(found)
}

/// Every run of a name, by id.
pub(super) fn runs_of(runs: &Path, name: &str) -> Result<Vec<RunDirectory>> {
    let folder = runs.join(name);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    Ok(disk::entries(&folder)?.iter().filter_map(|id| RunDirectory::open(folder.join(id)).ok()).collect())
}

/// The run that an argument names: a path, a pipeline file, a run's name (its latest run), the first digits of
/// an id, alone or as `name/digits`, or `name/label` of a matrix run.
///
/// A pipeline file means the latest run with exactly these bytes, else the latest of its name.
///
/// # Errors
/// It names no run, or several.
pub fn resolve_run(argument: &str, runs: &Path) -> Result<RunDirectory> {
    let mut found = resolve_runs(argument, runs)?;
    if Path::new(argument).is_file() {
        // As for a name: of the runs of a matrix, the one started last.
        found.sort_by_cached_key(|run| (started(run).pop(), run.id()));
        found = found.split_off(found.len().saturating_sub(1));
    }
    match &found[..] {
        [run] => Ok(run.clone()),
        _ => {
            let candidates: Vec<String> = found.iter().map(described).collect();
            Err(Error::usage(format!("`{argument}` matches several runs: {}", candidates.join(", ")))
                .hint("use more digits, or name and label: `defrost list` shows them"))
        }
    }
}

/// The runs that an argument names: one as with [`resolve_run`], or several: all of a pipeline file with a
/// matrix, all whose labels match `name/pattern`, all whose ids begin with the digits.
///
/// Of each label, only the latest run.
pub fn resolve_runs(argument: &str, runs: &Path) -> Result<Vec<RunDirectory>> {
    let path = Path::new(argument);
    if path.join(PLAN).is_file() {
        return Ok(vec![RunDirectory::open(path)?]);
    }
    if path.join(LATEST).is_file() {
        return Ok(vec![latest(path)?]);
    }
    if path.ends_with(LATEST) && path.is_file() {
        return Ok(vec![latest(path.parent().unwrap_or(Path::new(".")))?]);
    }
    if path.is_file() {
        return of_pipeline(path, runs);
    }
    if disk::stays_below(argument) && runs.join(argument).join(LATEST).is_file() {
        return Ok(vec![latest(&runs.join(argument))?]);
    }
    let (name, digits) = match argument.split_once('/') {
        Some((name, digits)) => (Some(name), digits),
        None => (None, argument),
    };
    let all = all_runs(runs)?;
    let matches = |run: &&RunDirectory| {
        !digits.is_empty() && run.id().starts_with(digits) && name.is_none_or(|name| name == name_of(run))
    };
    let found: Vec<RunDirectory> = all.iter().filter(matches).cloned().collect();
    if !found.is_empty() {
        return Ok(found);
    }
    if let Some(name) = name {
        let of_name = all.iter().filter(|run| name_of(run) == name).cloned().collect();
        let mut selected = latest_by_label(of_name);
        selected.retain(|(label, _)| label.as_deref().is_some_and(|label| run_label::selects(digits, label)));
        if !selected.is_empty() {
            return Ok(selected.into_iter().map(|(_, run)| run).collect());
        }
    }
    Err(unknown(argument, runs, &all))
}

/// The latest run of each label, ordered by first start. Runs without a label count as one.
fn latest_by_label(runs: Vec<RunDirectory>) -> Vec<(Option<String>, RunDirectory)> {
    let dated = |run: RunDirectory| {
        let starts = started(&run);
        (starts.first().cloned(), run.id(), starts.last().cloned(), label_of(&run), run)
    };
    let mut dated: Vec<_> = runs.into_par_iter().map(dated).collect();
    dated.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    let mut found: Vec<(Option<String>, Option<String>, RunDirectory)> = Vec::new();
    let mut places: HashMap<Option<String>, usize> = HashMap::new();
    for (_, _, last, label, run) in dated {
        match places.get(&label) {
            Some(place) if found[*place].1 <= last => found[*place] = (label, last, run),
            Some(_) => {}
            None => {
                places.insert(label.clone(), found.len());
                found.push((label, last, run));
            }
        }
    }
    found.into_iter().map(|(label, _, run)| (label, run)).collect()
}

/// The latest run of each label of a name.
pub(super) fn labelled(runs: &Path, name: &str) -> Result<HashMap<String, RunDirectory>> {
    let latest = latest_by_label(runs_of(runs, name)?);
    Ok(latest.into_iter().filter_map(|(label, run)| Some((label?, run))).collect())
}

/// The latest run of a name.
pub(super) fn latest_of(runs: &Path, name: &str) -> Result<RunDirectory> {
    latest(&runs.join(name))
}

/// The start times of a run.
fn started(run: &RunDirectory) -> Vec<String> {
    events_of(run, &["run_started"]).into_iter().map(|(time, _)| time).collect()
}

pub(super) fn label_of(run: &RunDirectory) -> Option<String> {
    run.head().ok()?.label
}

/// `turtles/3f9c1a2b`, with the label if there is one.
fn described(run: &RunDirectory) -> String {
    match label_of(run) {
        Some(of) => format!("{} ({of})", display_name(run)),
        None => display_name(run),
    }
}

/// `turtles/3f9c1a2b`.
pub(super) fn display_name(run: &RunDirectory) -> String {
    format!("{}/{}", name_of(run), run.id())
}

/// The folder of a run, which has the pipeline's name.
pub(super) fn name_of(run: &RunDirectory) -> String {
    let name = run.path().parent().and_then(Path::file_name).unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The run named by `latest` in a folder of runs.
fn latest(folder: &Path) -> Result<RunDirectory> {
    let path = folder.join(LATEST);
    let text = regular_file::read_text(&path).map_err(|error| Error::io("read", &path, error))?;
    let id = text.trim();
    if !disk::stays_below(id) {
        return Err(Error::usage(format!("`{}` contains no run id", path.display())));
    }
    RunDirectory::open(folder.join(id)).map_err(|_| {
        Error::usage(format!("`{}` names the run `{id}`, which does not exist", path.display()))
            .hint("use the id of a run: `defrost list` shows them")
    })
}

/// All runs with exactly the bytes of a pipeline file, the latest of each label; else the latest run of its
/// name.
fn of_pipeline(file: &Path, runs: &Path) -> Result<Vec<RunDirectory>> {
    let bytes = fs::read(file).map_err(|error| Error::io("read", file, error))?;
    let written =
        |run: &RunDirectory| fs::read(run.path().join("pipeline.toml")).is_ok_and(|there| there == bytes);
    let found: Vec<RunDirectory> = all_runs(runs)?.into_par_iter().filter(written).collect();
    if !found.is_empty() {
        return Ok(latest_by_label(found).into_iter().map(|(_, run)| run).collect());
    }
    let table: Option<toml::Table> = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
    let name = table.and_then(|table| Some(table.get("name")?.as_str()?.to_owned()));
    let stem = || file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = name.unwrap_or_else(stem);
    if disk::stays_below(&name) && runs.join(&name).join(LATEST).is_file() {
        return Ok(vec![latest(&runs.join(&name))?]);
    }
    Err(Error::usage(format!("`{}` has no run in `{}`", file.display(), runs.display()))
        .hint(format!("run it first: `defrost run {}`", file.display())))
}

fn unknown(argument: &str, runs: &Path, all: &[RunDirectory]) -> Error {
    let error = Error::usage(format!("no run `{argument}` in `{}`", runs.display()));
    let mut names: Vec<String> = all.iter().map(name_of).collect();
    names.dedup();
    match closest(argument, names.iter().map(String::as_str)) {
        Some(name) => error.hint(format!("did you mean `{name}`?")),
        None if names.is_empty() => error.hint("there are no runs yet: start one with `defrost run FILE`"),
        None => error.hint("use a path, the first digits of an id, a name, or a pipeline file; `defrost list` shows all runs"),
    }
}
