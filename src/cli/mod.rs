//! The command line: one file per command, and the only place that prints, reads the environment, or exits.

mod broken;
mod console;
mod data_table;
mod estimates;
mod images;
mod options;
mod panics;
mod progress;
mod session;
mod signals;
mod typed;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use defrost::error::{Error, Kind};

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
    /// Write a commented starter pipeline that validates
    Init(init),
    /// Check pipeline files and print every error
    Validate(validate),
    /// Show the stages, what is cached, and why not
    Plan(plan),
    /// Show which parameters train, by which rule, at which learning rate
    Params(params),
    /// Find a learning rate: the loss of a train stage while the rate grows
    LrFind(lr_find),
    /// Run what is not cached, resume what was interrupted
    Run(run),
    /// List the runs
    List(list),
    /// Show the state of a run
    Status(status),
    /// Re-hash a run and prove again that what was frozen did not move
    Verify(verify),
    /// Show what differs between two runs, settings and results
    Diff(diff),
    /// Show runs side by side in one table and one picture, mean and deviation over seeds
    Compare(compare),
    /// Class probabilities for images
    Predict(predict),
    /// Embeddings of images, to compare them by
    Embed(embed),
    /// Write the self-contained HTML report of a run
    Report(report),
    /// Preview, then free, cache space that no run needs
    Gc(gc),
    /// Print the JSON Schema of pipeline files
    Schema(schema),
    /// Time training and inference steps of an architecture on synthetic images
    Bench(bench),
    /// Show devices and environment
    Doctor(doctor),
    /// Print shell completions
    Completions(completions),
}

/// Declarative transfer learning: what the file says is what happened.
#[derive(Parser)]
#[command(name = "defrost", version, about, arg_required_else_help = true, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print exactly one JSON document on standard output
    #[arg(long, global = true)]
    json: bool,
}

pub fn main() -> ExitCode {
    signals::report_large_files();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return typed::refuse(error),
    };
    let console = Console::new(cli.json);
    let command = || dispatch(cli.command, &console).and_then(|code| console.finish().map(|()| code));
    let outcome = panics::guarded(command);
    match outcome {
        Ok(code) => code,
        Err(error) => {
            console.fail(&error);
            ExitCode::from(match error.kind {
                Kind::Usage => 2,
                Kind::Failed | Kind::OutOfMemory | Kind::Bug => 1,
                Kind::Interrupted => 130,
            })
        }
    }
}
