//! The command line: one file per command. Only this module prints, reads the environment, and exits.

mod console;
mod data_table;
mod estimates;
mod execution;
mod executor;
mod fetch;
mod images;
mod launcher;
mod options;
mod page;
mod panics;
mod preparation;
mod progress;
mod ranks;
mod search;
mod session;
mod signals;
mod train_stage;
mod undecodable;
mod usage_errors;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use defrost::error::{Error, ErrorKind};

pub use console::Console;
pub use options::{PipelineOptions, RunsOptions};

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident($module:ident)),* $(,)?) => {
        $(mod $module;)*

        #[derive(Subcommand)]
        enum Command {
            $($(#[$doc])* $name($module::Args)),*
        }

        fn dispatch(command: Command, console: &Console) -> Result<ExitCode, Error> {
            match command {
                $(Command::$name(args) => $module::run(args, console)),*
            }
        }
    };
}

commands! {
    /// Write a commented starter pipeline
    Init(init),
    /// Check pipeline files and print all errors
    Validate(validate),
    /// List published weights by architecture, or fetch some
    Weights(weights),
    /// Show which stages of a run are cached, and why the others are not
    Plan(plan),
    /// Show which parameters train, by which rule, and at which learning rate
    Params(params),
    /// Run a learning-rate range test on a train stage, and suggest a rate
    LrFind(lr_find),
    /// Write a sheet of training images as a stage sees them, with their boxes or classes
    Preview(preview),
    /// Run the stages that are not cached, and resume interrupted ones
    Run(run),
    /// Run a file on a Slurm cluster, with one job for each run
    Submit(submit),
    /// Cancel the jobs of a file on a Slurm cluster
    Cancel(cancel),
    /// Execute one task of a submission
    #[command(hide = true)]
    Task(task),
    /// List the runs
    List(list),
    /// Show the state of a run
    Status(status),
    /// Follow runs in a browser, on a page of this machine
    Watch(watch),
    /// Re-hash the files of a run, and check again that frozen parameters did not change
    Verify(verify),
    /// Show how the settings and results of two runs differ
    Diff(diff),
    /// Compare runs in one table and one plot, with mean and deviation over seeds
    Compare(compare),
    /// Rank images by how probably their labels are wrong
    CheckLabels(check_labels),
    /// Predict the classes of images, or the objects in them
    Predict(predict),
    /// Write a trained model as an ONNX file, for other programs
    Export(export),
    /// Compute embeddings of images
    Embed(embed),
    /// Write the self-contained HTML report of a run
    Report(report),
    /// List cached files that no run needs, then remove them with `--yes`
    Gc(gc),
    /// Print the JSON Schema of pipeline files
    Schema(schema),
    /// Time training and inference steps of an architecture on synthetic images
    Bench(bench),
    /// Show devices and environment
    Doctor(doctor),
    /// Print shell completions
    Completions(completions),
    /// Write man pages
    Man(man),
}

/// Declarative transfer learning: each run can prove that it did what the file says
#[derive(Parser)]
#[command(name = "defrost", version, about, arg_required_else_help = true, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON document on standard output
    #[arg(long, global = true)]
    json: bool,
}

pub fn main() -> ExitCode {
    signals::report_large_files();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage_errors::report_usage_error(error),
    };
    let console = Console::new(cli.json);
    if !matches!(cli.command, Command::Run(_)) {
        ranks::warn_if_several(&console);
    }
    let command = || dispatch(cli.command, &console).and_then(|code| console.finish().map(|()| code));
    let outcome = panics::guarded(command);
    match outcome {
        Ok(code) => code,
        Err(error) => {
            let kind = error.kind;
            match ranks::is_hushed() {
                true => ranks::report_own(error),
                false => console.fail(&error),
            }
            ExitCode::from(match kind {
                ErrorKind::Usage => 2,
                ErrorKind::Failed | ErrorKind::OutOfMemory | ErrorKind::Bug => 1,
                ErrorKind::Interrupted => 130,
            })
        }
    }
}
