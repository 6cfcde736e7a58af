use std::path::{Path, PathBuf};
use std::process::ExitCode;

use defrost::pipeline::{self, Diagnostic, LoadOptions, Report, Resolved};
use defrost::plan::parameters;
use defrost::{Error, Result};
use serde_json::json;

use super::{Console, PipelineOptions};

/// Example: defrost validate turtles.toml --set stage.frozen.epochs=3
#[derive(clap::Args)]
pub struct Args {
    /// The pipeline files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Leave out what needs the data and weights: for a machine that has neither
    #[arg(long)]
    no_inputs: bool,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let mut errors: Vec<Diagnostic> = Vec::new();
    for file in &args.files {
        match load_and_check(file, &args.pipeline, !args.no_inputs) {
            Ok(resolved) => {
                let stages = resolved.stages.len();
                let noun = if stages == 1 { "stage" } else { "stages" };
                console.say(format!("ok: {}: {stages} {noun}", file.display()));
            }
            Err(report) => {
                show(&report, file);
                errors.extend(report.diagnostics);
            }
        }
    }
    if console.json() {
        console.document(&document(&errors));
    }
    Ok(ExitCode::from(if errors.is_empty() { 0 } else { 2 }))
}

/// Loads the pipeline of a command that works with it. What is wrong is shown, and returned as one error.
pub fn load(file: &Path, options: &PipelineOptions, inputs: bool, console: &Console) -> Result<Resolved> {
    load_and_check(file, options, inputs).map_err(|report| {
        show(&report, file);
        if console.json() {
            console.document(&document(&report.diagnostics));
        }
        Error::usage(format!("`{}` is not valid", file.display()))
    })
}

fn load_and_check(file: &Path, options: &PipelineOptions, inputs: bool) -> Result<Resolved, Report> {
    let env = |name: &str| std::env::var(name).ok();
    let options = LoadOptions {
        set: options.set.clone(),
        device: options.device.clone(),
        threads: options.threads,
        inputs,
        env: &env,
    };
    let resolved = pipeline::load(file, &options)?;
    let diagnostics = parameters::check(&resolved, inputs);
    if diagnostics.is_empty() { Ok(resolved) } else { Err(Report::new(diagnostics)) }
}

fn show(report: &Report, file: &Path) {
    let count = report.diagnostics.len();
    let noun = if count == 1 { "error" } else { "errors" };
    anstream::eprintln!("{}\n\n{}: {count} {noun}", report.render(true), file.display());
}

fn document(errors: &[Diagnostic]) -> serde_json::Value {
    json!({ "valid": errors.is_empty(), "errors": errors })
}
