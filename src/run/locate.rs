//! Finding runs: the folder of all runs, and the run that a command line names.

use std::fs;
use std::path::{Path, PathBuf};

use super::RunDirectory;
use super::directory::{LATEST, PLAN};
use crate::error::{Error, Result};
use crate::pipeline::suggest::closest;
use crate::store::disk;

/// The folder of all runs for a pipeline file: `runs` at the nearest folder above it that has `runs` or `.git`, else
/// beside it.
pub fn runs_root(pipeline: &Path) -> Result<PathBuf> {
    let pipeline = std::path::absolute(pipeline).map_err(|error| Error::io("find", pipeline, error))?;
    runs_root_from(pipeline.parent().unwrap_or(Path::new("/")))
}

/// As [`runs_root`], for whoever stands in a folder.
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
        if runs.join(&name).is_dir() {
            let ids = disk::entries(&runs.join(&name))?;
            found.extend(ids.iter().filter_map(|id| RunDirectory::open(runs.join(&name).join(id)).ok()));
        }
    }
    Ok(found)
}

/// The run that an argument means: a path, a pipeline file, a run's name (its latest), or the first digits of an id,
/// alone or as `name/digits`.
///
/// A pipeline file means the run with these very bytes, else the latest of its name.
pub fn resolve_run(argument: &str, runs: &Path) -> Result<RunDirectory> {
    let path = Path::new(argument);
    if path.join(PLAN).is_file() {
        return RunDirectory::open(path);
    }
    if path.join(LATEST).is_file() {
        return latest(path);
    }
    if path.is_file() {
        return of_pipeline(path, runs);
    }
    if disk::stays_below(argument) && runs.join(argument).join(LATEST).is_file() {
        return latest(&runs.join(argument));
    }
    let (name, digits) = match argument.split_once('/') {
        Some((name, digits)) => (Some(name), digits),
        None => (None, argument),
    };
    let all = all_runs(runs)?;
    let matches = |run: &&RunDirectory| {
        !digits.is_empty() && run.id().starts_with(digits) && name.is_none_or(|name| name == name_of(run))
    };
    let found: Vec<&RunDirectory> = all.iter().filter(matches).collect();
    match found[..] {
        [run] => Ok(run.clone()),
        [] => Err(unknown(argument, runs, &all)),
        _ => {
            let candidates: Vec<String> = found.iter().map(|run| label(run)).collect();
            Err(Error::usage(format!("`{argument}` names several runs: {}", candidates.join(", ")))
                .hint("give more digits, or the name before them"))
        }
    }
}

/// `turtles/3f9c1a2b`.
pub(super) fn label(run: &RunDirectory) -> String {
    format!("{}/{}", name_of(run), run.id())
}

/// The name a run lies under, which is the pipeline's.
pub(super) fn name_of(run: &RunDirectory) -> String {
    let name = run.path().parent().and_then(Path::file_name).unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The run that `latest` in a folder of runs names.
fn latest(folder: &Path) -> Result<RunDirectory> {
    let path = folder.join(LATEST);
    let text = fs::read_to_string(&path).map_err(|error| Error::io("read", &path, error))?;
    let id = text.trim();
    if !disk::stays_below(id) {
        return Err(Error::usage(format!("`{}` names no run", path.display())));
    }
    RunDirectory::open(folder.join(id)).map_err(|_| {
        Error::usage(format!("`{}` names `{id}`, which is not there", path.display()))
            .hint("name a run by its id: `defrost list` shows them")
    })
}

fn of_pipeline(file: &Path, runs: &Path) -> Result<RunDirectory> {
    let bytes = fs::read(file).map_err(|error| Error::io("read", file, error))?;
    let written =
        |run: &RunDirectory| fs::read(run.path().join("pipeline.toml")).is_ok_and(|there| there == bytes);
    if let Some(run) = all_runs(runs)?.into_iter().find(written) {
        return Ok(run);
    }
    let table: Option<toml::Table> = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
    let name = table.and_then(|table| Some(table.get("name")?.as_str()?.to_owned()));
    let stem = || file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = name.unwrap_or_else(stem);
    if disk::stays_below(&name) && runs.join(&name).join(LATEST).is_file() {
        return latest(&runs.join(&name));
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
        None if names.is_empty() => error.hint("there are no runs yet: `defrost run FILE` makes one"),
        None => error.hint("a run is a path, the first digits of an id, a name, or a pipeline file; `defrost list` shows all"),
    }
}
