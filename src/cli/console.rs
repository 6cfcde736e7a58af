//! Where text goes: everything for people to standard error, one JSON document to standard output when asked.

use std::io::Write;
use std::path::Path;

use defrost::error::Error;
use defrost::pipeline::Report;
use serde::Serialize;

pub struct Console {
    json: bool,
}

impl Console {
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether the caller asked for JSON; then nothing else may go to standard output.
    pub fn json(&self) -> bool {
        self.json
    }

    /// The answer of an informing command, for people: on standard output unless that is kept for JSON.
    pub fn say(&self, text: impl std::fmt::Display) {
        if self.json {
            anstream::eprintln!("{text}");
        } else {
            let _ = writeln!(anstream::stdout(), "{text}");
        }
    }

    /// Prints the one JSON document.
    pub fn document(&self, value: &impl Serialize) {
        let text = serde_json::to_string_pretty(value).expect("documents are plain data");
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// Shows everything that is wrong with a pipeline file.
    pub fn report(&self, report: &Report, file: &Path) {
        let count = report.diagnostics.len();
        let noun = if count == 1 { "error" } else { "errors" };
        anstream::eprintln!("{}\n\n{}: {count} {noun}", report.render(true), file.display());
    }

    pub fn error(&self, error: &Error) {
        anstream::eprintln!("\x1b[1;31merror\x1b[0m: {error}");
        if let Some(hint) = &error.hint {
            anstream::eprintln!("\x1b[1;36mhint\x1b[0m: {hint}");
        }
    }
}
