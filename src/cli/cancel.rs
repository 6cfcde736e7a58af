//! `defrost cancel`: cancels the jobs of a pipeline file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use defrost::pipeline::run_label;
use defrost::{Error, Result, sanitize};
use serde_json::json;

use super::console::shown;
use super::executor::queue;
use super::executor::slurm::Cluster;
use super::{Console, RunsOptions, preparation};

#[derive(clap::Args)]
#[command(
    after_help = "Examples: defrost cancel seeds.toml\n          defrost cancel seeds.toml --only seed=3"
)]
pub struct Args {
    /// Pipeline file that was submitted
    file: PathBuf,
    /// Cancel only these runs: a label, or parts of one such as `arch=resnet*`
    #[arg(long, value_name = "LABEL")]
    only: Vec<String>,
    #[command(flatten)]
    runs: RunsOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let mine = preparation::submitted(&args.file, &args.runs)?;
    if mine.is_empty() {
        return Err(Error::usage(format!("`{}` was not submitted to a cluster", args.file.display()))
            .hint(format!("submit it: `defrost submit {}`", args.file.display())));
    }
    let queue = queue::of(&mine)?;
    let mut jobs: BTreeMap<Option<&str>, Vec<String>> = BTreeMap::new();
    for submission in &mine {
        let record = &submission.record;
        for (array, index, task) in submission.tasks() {
            let label = record.runs[task.run].frozen.label.as_deref().unwrap_or_default();
            // Stages that several runs share are cancelled only with all runs.
            let chosen = args.only.is_empty()
                || (task.is_run() && args.only.iter().any(|pattern| run_label::selects(pattern, label)));
            let job = record.arrays[array].job.as_ref();
            if let Some(job) = job.filter(|_| chosen).and_then(|job| queue.get(&(job.clone(), index))) {
                jobs.entry(record.cluster.as_deref()).or_default().push(job.id.clone());
            }
        }
    }
    for (cluster, ids) in &jobs {
        Cluster(*cluster).cancel(ids)?;
    }
    let ids: Vec<&String> = jobs.values().flatten().collect();
    if console.json() {
        console.document(&json!({ "cancelled": ids }));
    } else if ids.is_empty() {
        console.say("no job of this file is in the queue");
    } else {
        console.say(format!(
            "cancelled {}; finished stages and checkpoints stay: `defrost submit {}` continues",
            sanitize::count(ids.len(), "job"),
            shown(args.file.display())
        ));
    }
    Ok(ExitCode::SUCCESS)
}
