use std::process::ExitCode;

use defrost::Result;

use super::Console;

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: Args, _console: &Console) -> Result<ExitCode> {
    todo!()
}
