//! `defrost watch`: follows runs in a browser, on a page of this machine.

mod http;
mod pages;
mod request;

use std::net::TcpListener;
use std::process::ExitCode;

use defrost::{Error, Result};
use serde_json::json;

use super::console::shown;
use super::signals::Stop;
use super::{Console, RunsOptions};
use pages::Pages;

#[derive(clap::Args)]
#[command(after_help = "Examples: defrost watch\n          defrost watch turtles --port 0")]
pub struct Args {
    /// Runs: paths, names, first digits of ids or pipeline files. Without any, all runs, and those that start later
    runs: Vec<String>,
    /// Port on 127.0.0.1; 0 is a free one
    #[arg(long, value_name = "PORT", default_value_t = 7007)]
    port: u16,
    #[command(flatten)]
    options: RunsOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let pages = Pages::new(&args.runs, &args.options, console, secret()?)?;
    let listener = TcpListener::bind(("127.0.0.1", args.port)).map_err(|error| {
        Error::failed(format!("cannot listen on 127.0.0.1:{}: {error}", args.port))
            .hint("choose another port with `--port N`, or a free one with `--port 0`")
    })?;
    let failed = |error| Error::failed(format!("cannot serve pages: {error}"));
    let port = listener.local_addr().map_err(failed)?.port();
    let stop = Stop::default();
    let interrupt = stop.listen()?;
    let address = format!("http://127.0.0.1:{port}{}", pages.root());
    if console.json() {
        console.document(&json!({ "address": address }));
    }
    console.status(shown(&address));
    console.status(format!(
        "On another machine, run `ssh -L {port}:127.0.0.1:{port} {}` there, then open the same address. Ctrl-C stops.",
        shown(host())
    ));
    http::serve(&listener, interrupt, &|request| pages.answer(request)).map_err(failed)?;
    Ok(ExitCode::from(130))
}

/// A part of the address that nobody can guess: other users of this machine reach its ports, but not these runs.
fn secret() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::failed(format!("the system has no random numbers: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// `user@host`, as far as the system says.
fn host() -> String {
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.as_deref().map(str::trim).filter(|host| !host.is_empty()).unwrap_or("HOST");
    user.map_or_else(|| host.to_owned(), |user| format!("{user}@{host}"))
}
