//! Output: text for people goes to standard error; with `--json`, one JSON document goes to standard output.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use defrost::error::Error;
use defrost::pipeline::{Diagnostic, DiagnosticReport, Resolved};
use defrost::sanitize;
use serde::Serialize;

pub struct Console {
    json: bool,
    /// Whether the JSON document is printed.
    documented: Cell<bool>,
    /// Why writing to standard output failed.
    failure: RefCell<Option<std::io::Error>>,
}

/// Whether this process leaves printing to another one.
static HUSHED: AtomicBool = AtomicBool::new(false);

/// From now on, this process prints nothing: rank 0 does.
pub fn hush() {
    HUSHED.store(true, Ordering::Relaxed);
}

pub fn is_hushed() -> bool {
    HUSHED.load(Ordering::Relaxed)
}

/// Prints an error that only this process knows, although rank 0 prints everything else.
pub fn report_hushed(error: &Error) {
    HUSHED.store(false, Ordering::Relaxed);
    tell_error(error);
}

/// Prints a message for people on standard error. If this fails (a closed terminal, a full disk), work continues.
///
/// Only line breaks and colours reach a terminal as control characters. Names go through [`shown`] first, so that none
/// can start a new line.
pub fn tell(text: impl std::fmt::Display) {
    if !is_hushed() {
        let _ = writeln!(anstream::stderr(), "{}", sanitize::printed(&text.to_string()));
    }
}

fn tell_error(error: &Error) {
    tell(format_args!("\x1b[1;31merror\x1b[0m: {error}"));
    if let Some(hint) = &error.hint {
        tell(format_args!("\x1b[1;36mhint\x1b[0m: {}", sanitize::lines(hint)));
    }
    error.others.iter().for_each(tell_error);
}

/// A name, path or value from outside, escaped to fit on one line.
pub fn shown(name: impl std::fmt::Display) -> String {
    sanitize::line(&name.to_string()).into_owned()
}

/// The maximum number of warnings about pipeline files that are shown.
const SHOWN: usize = 50;

impl Console {
    pub fn new(json: bool) -> Self {
        Self { json, documented: Cell::new(false), failure: RefCell::new(None) }
    }

    /// Whether `--json` is set. Then only the document goes to standard output.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Prints the answer of a command for people: on standard output, or on standard error with `--json`.
    pub fn say(&self, text: impl std::fmt::Display) {
        if self.json {
            tell(text);
        } else if !is_hushed() {
            self.keep(writeln!(anstream::stdout(), "{}", sanitize::printed(&text.to_string())));
        }
    }

    /// Prints the one JSON document.
    pub fn document(&self, value: &impl Serialize) {
        let text = serde_json::to_string_pretty(value).expect("documents are plain data");
        self.documented.set(true);
        if is_hushed() {
            return;
        }
        self.keep(writeln!(std::io::stdout(), "{text}"));
    }

    /// Prints output that is neither text for people nor JSON, such as a script.
    pub fn raw(&self, bytes: &[u8]) {
        self.keep(std::io::stdout().write_all(bytes));
    }

    /// A closed pipe, as in `defrost list | head`, is no failure; a full disk is.
    fn keep(&self, written: std::io::Result<()>) {
        if let Err(error) = written
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            self.failure.borrow_mut().get_or_insert(error);
        }
    }

    /// Fails if some output could not be written.
    pub fn finish(&self) -> Result<(), Error> {
        let flushed = std::io::stdout().flush();
        self.keep(flushed);
        match self.failure.take() {
            None => Ok(()),
            Some(error) => Err(Error::failed(format!("cannot write to standard output: {error}"))),
        }
    }

    /// Prints all errors of a pipeline file.
    pub fn report(&self, report: &DiagnosticReport, file: &Path) {
        let count = sanitize::count(report.count(), "error");
        let more = match report.more {
            0 => String::new(),
            _ => format!(", the first {} shown", report.diagnostics.len()),
        };
        tell(format_args!("{}\n\n{}: {count}{more}", report.render(true), shown(file.display())));
    }

    /// Prints the warnings of the runs of a pipeline file, each once.
    pub fn warnings<'a>(&self, runs: impl Iterator<Item = &'a Resolved>) -> Vec<&'a Diagnostic> {
        let mut known = HashSet::new();
        let mut told: Vec<&Diagnostic> = Vec::new();
        for warning in runs.flat_map(|run| &run.warnings) {
            if known.insert((&warning.file, warning.span.start, &warning.message)) {
                told.push(warning);
            }
        }
        told.iter().take(SHOWN).for_each(|warning| tell(format_args!("{}\n", warning.render(true))));
        if told.len() > SHOWN {
            self.warn(format!("there are {} more warnings", told.len() - SHOWN));
        }
        told.truncate(SHOWN);
        told
    }

    /// Prints further warnings, each once.
    pub fn more_warnings(&self, warnings: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let mut told: Vec<Diagnostic> = Vec::new();
        for warning in warnings {
            if !told.contains(&warning) {
                tell(format_args!("{}\n", warning.render(true)));
                told.push(warning);
            }
        }
        told
    }

    /// Prints progress for people.
    pub fn status(&self, message: impl std::fmt::Display) {
        tell(message);
    }

    pub fn warn(&self, message: impl std::fmt::Display) {
        tell(format_args!("\x1b[1;33mwarning\x1b[0m: {}", sanitize::lines(&message.to_string())));
    }

    /// Prints an error. With `--json`, it is also the document, if none was printed before.
    pub fn fail(&self, error: &Error) {
        self.error(error);
        if self.json && !self.documented.get() {
            self.document(&serde_json::json!({ "error": error }));
        }
    }

    pub fn error(&self, error: &Error) {
        tell_error(error);
    }
}
