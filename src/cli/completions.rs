//! `defrost completions`: prints shell completions.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use defrost::{Error, Result};

use super::{Cli, Console};

const EXAMPLES: &str = "\
Examples:
  defrost completions bash > ~/.local/share/bash-completion/completions/defrost
  defrost completions zsh > ~/.zfunc/_defrost    (needs `fpath+=~/.zfunc` before `compinit`)
  defrost completions fish > ~/.config/fish/completions/defrost.fish";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Shell to print completions for
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    if console.json() {
        return Err(Error::usage("`completions` prints a shell script, not JSON").hint("remove `--json`"));
    }
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "defrost", &mut script);
    console.raw(&script);
    Ok(ExitCode::SUCCESS)
}
