//! Fetches weights that pipelines name, with progress on standard error.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use defrost::error::ErrorKind;
use defrost::hub::{FetchEvent, Fetching, Hub, HubSettings};
use defrost::pipeline::{FetchedWeights, RemoteWeights};
use defrost::{Error, Result, sanitize};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::console::{shown, tell};
use super::session::LoadedRuns;
use super::signals::Stop;
use super::{Console, progress::headed};

/// Interval between lines, if lines cannot be overwritten.
const INTERVAL: Duration = Duration::from_secs(5);

/// The caches and servers of this user.
pub fn hub() -> Hub {
    let home = std::env::home_dir().unwrap_or_else(|| PathBuf::from("."));
    Hub::new(HubSettings::new(&|name| std::env::var(name).ok(), &home))
}

/// The weights that runs need and that are not fetched yet, each once.
pub fn missing(runs: &LoadedRuns) -> Vec<RemoteWeights> {
    let mut names: Vec<RemoteWeights> = runs.iter().flat_map(|(run, _)| run.unfetched_weights()).collect();
    names.sort();
    names.dedup();
    names
}

/// The error of a command that does not fetch.
pub fn unfetched(names: &[RemoteWeights], file: &Path) -> Error {
    let list = sanitize::list(names.iter().map(ToString::to_string), 5);
    Error::usage(format!("weights are not fetched yet: {list}"))
        .hint(format!("run `defrost weights fetch {}`", file.display()))
}

/// Fetches weights one after the other. What is fetched stays, also if a later one fails.
pub fn all(
    names: &[RemoteWeights],
    update: bool,
    stop: &Stop,
    console: &Console,
) -> Result<Vec<FetchedWeights>> {
    let (hub, interrupt, screen) = (hub(), stop.listen()?, Screen::new());
    let fetching = Fetching { observer: &|event| screen.borrow_mut().event(event), interrupt, update };
    let mut fetched = Vec::new();
    for name in names {
        let found = hub.fetch(name, &fetching);
        screen.borrow_mut().hide();
        let found = found.map_err(|error| match error.kind {
            ErrorKind::Interrupted => Error::interrupted(format!("interrupted while fetching `{name}`"))
                .hint("what arrived is kept: the same command continues there"),
            _ => error,
        })?;
        let pinned = found.pinned.to_string();
        if pinned != name.to_string() {
            console.status(shown(format!("{:>10} {pinned}", "")));
        }
        fetched.push(found);
    }
    Ok(fetched)
}

struct Screen {
    terminal: bool,
    live: Option<ProgressBar>,
    name: String,
    last: Instant,
}

impl Screen {
    fn new() -> RefCell<Self> {
        let terminal =
            std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        RefCell::new(Self { terminal, live: None, name: String::new(), last: Instant::now() })
    }

    fn event(&mut self, event: FetchEvent) {
        match event {
            FetchEvent::Started { name, have, size } => {
                self.name = name.to_owned();
                self.last = Instant::now();
                let mut text = shown(name);
                if let Some(size) = size {
                    text += &format!(", {}", HumanBytes(size));
                }
                if have > 0 {
                    text += &format!(", {} of it were there", HumanBytes(have));
                }
                self.say(&headed("fetching", &text));
                if self.terminal {
                    let bar = live_line(size);
                    bar.set_position(have);
                    self.live = Some(bar);
                }
            }
            FetchEvent::Received { have, size } => match &self.live {
                Some(bar) => {
                    if let (Some(size), None) = (size, bar.length()) {
                        bar.set_length(size);
                        bar.set_style(style(true));
                    }
                    bar.set_position(have);
                }
                None if self.last.elapsed() >= INTERVAL => {
                    let of = size.map_or(String::new(), |size| format!(" of {}", HumanBytes(size)));
                    self.say(&format!("{:>10} {}{of}", "", HumanBytes(have)));
                    self.last = Instant::now();
                }
                None => {}
            },
            FetchEvent::Retrying { cause, seconds } => {
                let when = if seconds > 0 { format!(" in {seconds} s") } else { String::new() };
                self.say(&format!("\x1b[1;33mwarning\x1b[0m: {}; trying again{when}", shown(cause)));
            }
            FetchEvent::Waiting => {
                self.say(&format!("{:>10} another process fetches the same weights", "waiting"));
            }
            FetchEvent::Finished { size } => {
                self.hide();
                self.say(&headed("fetched", &format!("{}, {}", shown(&self.name), HumanBytes(size))));
            }
        }
    }

    fn say(&self, text: &str) {
        match &self.live {
            Some(bar) => bar.suspend(|| tell(text)),
            None => tell(text),
        }
    }

    fn hide(&mut self) {
        if let Some(bar) = self.live.take() {
            bar.finish_and_clear();
        }
    }
}

fn live_line(size: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(size, ProgressDrawTarget::stderr());
    bar.set_style(style(size.is_some()));
    bar
}

fn style(is_known: bool) -> ProgressStyle {
    let template = match is_known {
        true => "           {bar:24} {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left",
        false => "           {bytes}  {bytes_per_sec}",
    };
    ProgressStyle::with_template(template).expect("a valid template").progress_chars("━╸╌")
}
