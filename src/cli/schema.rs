//! `defrost schema`: prints the JSON Schema of pipeline files.

use std::process::ExitCode;

use defrost::{Result, pipeline};

use super::Console;

#[derive(clap::Args)]
#[command(after_help = "Example: defrost schema > pipeline.schema.json")]
pub struct Args {}

/// The output is the same with and without `--json`: the schema is one JSON document.
pub fn run(_args: Args, console: &Console) -> Result<ExitCode> {
    console.document(pipeline::schema());
    Ok(ExitCode::SUCCESS)
}
