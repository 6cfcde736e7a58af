//! `defrost man`: writes the man pages.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_mangen::Man;
use defrost::{Error, Result, store};
use serde_json::json;

use super::console::shown;
use super::{Cli, Console};

const EXAMPLES: &str = "\
Example: defrost man ~/.local/share/man/man1    (then `man defrost` and `man defrost-run`)";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder to write `defrost.1` to, and a page for each command, such as `defrost-run.1`. It is created if it does not
    /// exist
    dir: PathBuf,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    fs::create_dir_all(&args.dir).map_err(|error| Error::io("make", &args.dir, error))?;
    let mut files = Vec::new();
    for (name, page) in pages() {
        let path = args.dir.join(name);
        store::write_output(&path, &page)?;
        files.push(path.display().to_string());
    }
    if console.json() {
        console.document(&json!({ "files": files }));
    } else {
        console.say(format!("wrote {} man pages to {}", files.len(), shown(args.dir.display())));
    }
    Ok(ExitCode::SUCCESS)
}

/// The pages by file name: of the program, and of each command.
fn pages() -> Vec<(String, Vec<u8>)> {
    let mut program = Cli::command().disable_help_subcommand(true);
    // Names and global options of commands are complete only then.
    program.build();
    let commands = program.get_subcommands().filter(|command| !command.is_hide_set());
    let all: Vec<clap::Command> = std::iter::once(&program).chain(commands).cloned().collect();
    let page = |command: clap::Command| {
        let man = Man::new(command);
        let name = man.get_filename();
        let mut page = Vec::new();
        man.render(&mut page).expect("a vector takes all bytes");
        (name, page)
    };
    all.into_iter().map(page).collect()
}
