//! The options that all commands that read a pipeline share.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use defrost::pipeline::{self, DiagnosticReport, LoadOptions, RemoteWeights, Resolved};
use defrost::plan::{self, DiskAccess, SharedInputs, StageDraft};
use defrost::report::SampleReport;
use defrost::run::{self, RunDirectory};
use defrost::{Error, Result};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::console::shown;
use super::page::PAGE;
use super::{Console, fetch};

#[derive(clap::Args)]
pub struct PipelineOptions {
    /// Change a setting: a dotted path and a TOML value, such as `stage.frozen.optimizer.lr=3e-4`
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Device instead of the file's: `auto`, `cpu` or `cuda:N`
    #[arg(long)]
    pub device: Option<String>,
    /// Number of compute threads, in place of `run.threads`
    #[arg(long)]
    pub threads: Option<usize>,
    /// Select runs of a matrix: a label, or parts of one such as `arch=resnet*`
    #[arg(long, value_name = "LABEL")]
    pub only: Vec<String>,
    /// Folder of all runs, instead of the nearest `runs`
    #[arg(long, value_name = "DIR", value_parser = OsStringValueParser::new().try_map(folder))]
    pub runs_dir: Option<PathBuf>,
}

/// The runs that keep their stages after the check. Each takes some hundred kilobytes.
const KEPT: usize = 200;

impl PipelineOptions {
    /// Reads the runs of a pipeline file (one, or those of its matrix or search) and resolves their names. Reports all
    /// errors together. Of thousands of runs, only the first keep their stages: the others have none, and are resolved
    /// again when their turn comes.
    pub fn check(
        &self,
        file: &Path,
        depth: DiskAccess,
    ) -> Result<Vec<(Resolved, Vec<StageDraft>)>, DiagnosticReport> {
        let options = LoadOptions {
            set: self.set.clone(),
            device: self.device.clone(),
            threads: self.threads,
            only: self.only.clone(),
            inputs: depth == DiskAccess::Inputs,
            env: &variable,
        };
        let mut runs = pipeline::load_without_patterns(file, &options).map_err(DiagnosticReport::brief)?;
        let hub = fetch::hub();
        runs.iter_mut().for_each(|run| run.locate_weights(&|name| hub.find(name)));
        let shared = SharedInputs::default();
        let resolve = |(index, run): (usize, &mut Resolved)| {
            let mut drafts = plan::resolve_shared(run, depth, &shared)?;
            if index >= KEPT && depth == DiskAccess::Inputs {
                run.warnings.extend(plan::data_warnings(run, &drafts));
                drafts = Vec::new();
            }
            Ok(drafts)
        };
        let resolved: Vec<_> = runs.iter_mut().enumerate().map(resolve).collect();
        let drafts = DiagnosticReport::of_runs(runs.iter().map(|run| run.label.as_deref()).zip(resolved));
        let drafts = drafts.map_err(DiagnosticReport::brief)?;
        Ok(runs.into_iter().zip(drafts).collect())
    }

    /// [`Self::check`] for a command that continues with the runs: errors are printed and returned as one error.
    pub fn load_all(
        &self,
        file: &Path,
        depth: DiskAccess,
        console: &Console,
    ) -> Result<Vec<(Resolved, Vec<StageDraft>)>> {
        self.check(file, depth).map_err(|report| {
            console.report(&report, file);
            if console.json() {
                console.document(&json!({
                    "valid": false,
                    "errors": report.diagnostics,
                    "more": report.more,
                }));
            }
            Error::usage(format!("`{}` is not valid", file.display()))
        })
    }

    /// [`Self::load_all`] for a command that works on one run. In a file with a matrix, `--only` selects it.
    pub fn load(
        &self,
        file: &Path,
        depth: DiskAccess,
        console: &Console,
    ) -> Result<(Resolved, Vec<StageDraft>)> {
        let mut runs = self.load_all(file, depth, console)?;
        if let [(first, _), _, ..] = runs.as_slice() {
            return Err(several_runs(file, runs.len(), first.label.as_deref().unwrap_or_default()));
        }
        Ok(runs.remove(0))
    }

    /// The folder of all runs for a pipeline file.
    pub fn runs(&self, file: &Path) -> Result<PathBuf> {
        self.runs_dir.clone().map_or_else(|| run::runs_root(file), Ok)
    }
}

/// The option of commands that read runs.
#[derive(clap::Args)]
pub struct RunsOptions {
    /// Folder of all runs, instead of the nearest `runs`
    #[arg(long, value_name = "DIR", value_parser = OsStringValueParser::new().try_map(folder))]
    pub runs_dir: Option<PathBuf>,
}

impl RunsOptions {
    /// The folder of all runs, found from the current folder.
    pub fn root(&self) -> Result<PathBuf> {
        self.runs_dir.clone().map_or_else(|| run::runs_root_from(Path::new(".")), Ok)
    }

    /// The run that an argument names: a path, an id prefix, a name (its latest run) or a pipeline file (the run with
    /// its current settings, else its latest). If the argument does not say which run of a matrix, this is printed.
    pub fn resolve(&self, argument: &str, console: &Console) -> Result<RunDirectory> {
        let runs = self.root_of(argument)?;
        let run = run::resolve_run(argument, &runs)?;
        let last = argument.rsplit('/').next().unwrap_or(argument);
        let unsaid = |label: &String| !argument.ends_with(label.as_str()) && !run.id().starts_with(last);
        if let Some(label) = run.record()?.label.filter(unsaid) {
            console.status(shown(format!("{argument}: the latest run of the matrix, `{label}`")));
        } else if let Some(settings) = stages_of(Path::new(argument))
            && !has_settings(&run, &settings)
        {
            let (name, id) = (run.record()?.name, run.id());
            let own = |other: &RunDirectory| {
                other.record().is_ok_and(|record| record.name == name) && has_settings(other, &settings)
            };
            if let Some(own) = run::all_runs(&runs)?.into_iter().find(own) {
                return Ok(own);
            }
            console.status(shown(format!(
                "{argument}: the latest run, `{name}/{id}`, has other settings than the file"
            )));
        }
        Ok(run)
    }

    /// The runs that an argument names: there are several for a matrix or a pattern. A pipeline file names the runs
    /// with its current settings; a warning lists those that do not exist.
    pub fn resolve_all(&self, argument: &str, console: &Console) -> Result<Vec<RunDirectory>> {
        let root = self.root_of(argument)?;
        if let Some(name) = searched_name(Path::new(argument))
            && let Some((report, _)) = run::read_search(&root, &name)
        {
            let opened = |sample: &SampleReport| RunDirectory::open(root.join(sample.run.as_ref()?)).ok();
            let found: Vec<RunDirectory> = report.samples.iter().filter_map(opened).collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let Some(made) = settings_of(Path::new(argument)) else { return run::resolve_runs(argument, &root) };
        if let [(None, _)] = made.as_slice() {
            return Ok(vec![self.resolve(argument, console)?]);
        }
        // Settings are read once. Only fetched weights, whose names differ, are compared run by run.
        let settings = |run: RunDirectory| Some((stages(run.settings().ok()?), run));
        let all: Vec<(Value, RunDirectory)> =
            run::all_runs(&root)?.into_par_iter().filter_map(settings).collect();
        let by_settings: HashMap<String, &RunDirectory> =
            all.iter().rev().map(|(settings, run)| (settings.to_string(), run)).collect();
        let of_run = |(_, wanted): &(Option<String>, Value)| {
            let same = by_settings.get(&wanted.to_string()).copied();
            same.or_else(|| {
                let pinned = || all.iter().find(|(made, _)| unpinned(made.clone(), wanted) == *wanted);
                has_names(wanted).then(pinned).flatten().map(|(_, run)| run)
            })
        };
        let of_runs: Vec<Option<&RunDirectory>> = made.iter().map(of_run).collect();
        let found: Vec<RunDirectory> = of_runs.iter().copied().flatten().cloned().collect();
        let missing = made.iter().zip(&of_runs).filter(|(_, found)| found.is_none());
        let missing: Vec<&str> = missing.filter_map(|((label, _), _)| label.as_deref()).collect();
        if found.is_empty() {
            console.warn(format!("no run of {argument} has the file's settings: comparing its latest runs"));
            return run::resolve_runs(argument, &root);
        }
        if !missing.is_empty() {
            let (count, all) = (missing.len(), made.len());
            let more = if count > PAGE { format!("; and {} more", count - PAGE) } else { String::new() };
            let missing = missing.into_iter().take(PAGE).collect::<Vec<_>>().join("; ");
            console.warn(format!(
                "{argument}: {count} of {all} runs are missing or have other settings: {missing}{more}"
            ));
        }
        Ok(found)
    }

    /// The folder of all runs, found from an argument that may be a pipeline file.
    pub(super) fn root_of(&self, argument: &str) -> Result<PathBuf> {
        let file = Path::new(argument);
        if self.runs_dir.is_none() && file.is_file() { run::runs_root(file) } else { self.root() }
    }
}

/// The error of a command that works on one run, for a file with several. `label` is the label of one of them.
pub fn several_runs(file: &Path, count: usize, label: &str) -> Error {
    Error::usage(format!("`{}` has {count} runs, but this command works on one", file.display()))
        .hint(format!("select one, such as `--only \"{label}\"`; `defrost validate` lists them"))
}

/// A folder on the command line. After `=`, a shell does not expand `~`, so it would create a folder named `~`.
fn folder(text: OsString) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(text);
    if path.starts_with("~") {
        return Err("a shell replaces `~` only at the start of a word: put a space before it");
    }
    Ok(path)
}

/// An environment variable.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The tables of a pipeline file. `None` if it cannot be read, or is no TOML.
pub fn table_of(file: &Path) -> Option<toml::Table> {
    pipeline::read_text(file).ok()?.parse().ok()
}

/// The name of a pipeline file that has a search.
pub fn searched_name(file: &Path) -> Option<String> {
    let table = table_of(file)?;
    // Only files that may have a search are loaded: `extends` may add one.
    if !table.contains_key("search") && !table.contains_key("extends") {
        return None;
    }
    let run = pipeline::load(file, &LoadOptions::unchanged(false, &variable)).ok()?;
    run.of_search.is_some().then_some(run.name)
}

/// The settings of the one run of a pipeline file, except those of the machine. `None` if the file cannot be read or
/// makes several runs.
fn stages_of(file: &Path) -> Option<Value> {
    match settings_of(file)?.as_mut_slice() {
        [(_, settings)] => Some(settings.take()),
        _ => None,
    }
}

/// The label and the settings of each run of a pipeline file, except those of the machine. `None` if the file cannot be
/// read.
fn settings_of(file: &Path) -> Option<Vec<(Option<String>, Value)>> {
    let runs = pipeline::load_all(file, &LoadOptions::unchanged(false, &variable)).ok()?;
    let settings = |run: &Resolved| Some((run.label.clone(), stages(toml::from_str(&run.to_toml()).ok()?)));
    runs.par_iter().map(settings).collect()
}

/// Whether a run has these settings. False if its settings cannot be read.
fn has_settings(run: &RunDirectory, settings: &Value) -> bool {
    run.settings().is_ok_and(|made| unpinned(stages(made), settings) == *settings)
}

/// Whether a stage loads weights by name.
fn has_names(settings: &Value) -> bool {
    let stages = settings["stage"].as_object().into_iter().flat_map(|stages| stages.values());
    stages.filter_map(|stage| stage.get("file")?.as_str()).any(|file| RemoteWeights::parse(file).is_some())
}

/// The settings of a run, in which fetched weights have the names that `settings` has for them.
fn unpinned(mut made: Value, settings: &Value) -> Value {
    let name = |stage: &Value| RemoteWeights::parse(stage.get("file")?.as_str()?)?.ok();
    for (stage, table) in made.get_mut("stage").and_then(Value::as_object_mut).into_iter().flatten() {
        let Some(own) = settings.pointer(&format!("/stage/{stage}")) else { continue };
        if let (Some(written), Some(pinned)) = (name(own), name(table))
            && written.is_pinned_by(&pinned)
        {
            table["file"] = own["file"].clone();
            if let (None, Some(table)) = (own.get("sha256"), table.as_object_mut()) {
                table.remove("sha256");
            }
        }
    }
    made
}

/// Settings without those of the machine, which do not affect results.
fn stages(mut settings: Value) -> Value {
    settings.as_object_mut().map(|tables| tables.remove("run"));
    settings
}
