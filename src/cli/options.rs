//! The options that every command reading a pipeline shares.

use std::path::PathBuf;

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
