use std::process::ExitCode;

use defrost::{Result, pipeline};

use super::Console;

/// Example: defrost schema > pipeline.schema.json
#[derive(clap::Args)]
pub struct Args {}

/// With and without `--json`: the schema is one JSON document.
pub fn run(_args: Args, console: &Console) -> Result<ExitCode> {
    console.document(pipeline::schema());
    Ok(ExitCode::SUCCESS)
}
