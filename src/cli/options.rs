//! The options that every command reading a pipeline shares.

use std::path::{Path, PathBuf};

use defrost::pipeline::{self, LoadOptions, Report, Resolved};
use defrost::plan::{self, Depth, Draft};
use defrost::run::{self, RunDirectory};
use defrost::{Error, Result};
use serde_json::json;

use super::Console;

#[derive(clap::Args)]
pub struct PipelineOptions {
    /// Change a setting: a dotted path and a TOML value, such as `stage.frozen.optimizer.lr=3e-4`
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// `auto`, `cpu` or `cuda:N`, instead of the file's
    #[arg(long)]
    pub device: Option<String>,
    /// Threads for computing, instead of the file's
    #[arg(long)]
    pub threads: Option<usize>,
    /// The folder of all runs, instead of the nearest `runs`
    #[arg(long, value_name = "DIR")]
    pub runs_dir: Option<PathBuf>,
}

impl PipelineOptions {
    /// Reads a pipeline file and resolves its names, with all that is wrong in one report.
    pub fn check(&self, file: &Path, depth: Depth) -> Result<(Resolved, Vec<Draft>), Report> {
        let options = LoadOptions {
            set: self.set.clone(),
            device: self.device.clone(),
            threads: self.threads,
            inputs: depth == Depth::Inputs,
            env: &|name| std::env::var(name).ok(),
        };
        let pipeline = pipeline::load(file, &options)?;
        let drafts = plan::resolve(&pipeline, depth)?;
        Ok((pipeline, drafts))
    }

    /// [`Self::check`] for a command that goes on with the pipeline: what is wrong is shown, and returned as one error.
    pub fn load(&self, file: &Path, depth: Depth, console: &Console) -> Result<(Resolved, Vec<Draft>)> {
        self.check(file, depth).map_err(|report| {
            console.report(&report, file);
            if console.json() {
                console.document(&json!({ "valid": false, "errors": report.diagnostics }));
            }
            Error::usage(format!("`{}` is not valid", file.display()))
        })
    }

    /// The folder of all runs for a pipeline file.
    pub fn runs(&self, file: &Path) -> Result<PathBuf> {
        self.runs_dir.clone().map_or_else(|| run::runs_root(file), Ok)
    }
}

/// The option of commands that look at runs.
#[derive(clap::Args)]
pub struct RunsOptions {
    /// The folder of all runs, instead of the nearest `runs`
    #[arg(long, value_name = "DIR")]
    pub runs_dir: Option<PathBuf>,
}

impl RunsOptions {
    /// The folder of all runs, seen from where the user stands.
    pub fn root(&self) -> Result<PathBuf> {
        self.runs_dir.clone().map_or_else(|| run::runs_root_from(Path::new(".")), Ok)
    }

    /// The run an argument means: a path, an id prefix, a name (its latest) or a pipeline file.
    pub fn resolve(&self, argument: &str) -> Result<RunDirectory> {
        let file = Path::new(argument);
        let runs =
            if self.runs_dir.is_none() && file.is_file() { run::runs_root(file)? } else { self.root()? };
        run::resolve_run(argument, &runs)
    }
}
