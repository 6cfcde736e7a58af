//! All errors of a pipeline file.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::diagnostics::Diagnostic;
use super::source_text::SourceText;

/// All errors of a pipeline file, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiagnosticReport {
    /// The first of them. Further errors are only counted.
    pub diagnostics: Vec<Diagnostic>,
    /// How many more there are.
    pub more: usize,
}

/// The most errors that are shown.
const SHOWN: usize = 50;
/// The most errors that are kept until those of several runs are compared.
const KEPT: usize = 200;

impl DiagnosticReport {
    /// Sorts by file and place, and keeps one of several equal errors at the same place: a wrong default that is merged
    /// into three stages is one error.
    pub fn new(diagnostics: Vec<Diagnostic>) -> Self {
        Self::of(distinct(diagnostics), 0, KEPT)
    }

    fn of(mut diagnostics: Vec<Diagnostic>, more: usize, most: usize) -> Self {
        let more = more + diagnostics.len().saturating_sub(most);
        diagnostics.truncate(most);
        Self { diagnostics, more }
    }

    /// All runs of a file, or their errors, each once. An error in only some runs says in which.
    pub fn of_runs<'a, T>(
        runs: impl Iterator<Item = (Option<&'a str>, Result<T, Self>)>,
    ) -> Result<Vec<T>, Self> {
        let (mut right, mut count, mut more) = (Vec::new(), 0, 0);
        let mut found: Vec<(Diagnostic, Vec<&str>)> = Vec::new();
        let mut known: HashMap<(Mark, String), usize> = HashMap::new();
        for (label, run) in runs {
            count += 1;
            let report = run.map(|run| right.push(run)).err().unwrap_or_default();
            more = more.max(report.more);
            for diagnostic in report.diagnostics {
                let label = label.unwrap_or_default();
                let key = (Mark::of(&diagnostic), diagnostic.message.clone());
                match known.get(&key) {
                    Some(place) => found[*place].1.push(label),
                    None => {
                        known.insert(key, found.len());
                        found.push((diagnostic, vec![label]));
                    }
                }
            }
        }
        if found.is_empty() {
            return Ok(right);
        }
        let named = |(mut diagnostic, labels): (Diagnostic, Vec<&str>)| {
            diagnostic.message += &match labels.len() {
                all if all == count => String::new(),
                1 => format!(" (in the run `{}`)", labels[0]),
                several => format!(" (in {several} of {count} runs, such as `{}`)", labels[0]),
            };
            diagnostic
        };
        Err(Self::of(sorted(found.into_iter().map(named).collect()), more, KEPT))
    }

    /// Adds the errors that all runs share, before those of single runs.
    pub(super) fn after(self, common: Self) -> Self {
        let more = common.more + self.more;
        let all = Self::new([common.diagnostics, self.diagnostics].concat());
        Self { more: all.more + more, ..all }
    }

    /// The first errors, up to the number that is shown.
    pub fn brief(self) -> Self {
        Self::of(self.diagnostics, self.more, SHOWN)
    }

    /// The number of all errors.
    pub fn count(&self) -> usize {
        self.diagnostics.len() + self.more
    }

    pub fn render(&self, styled: bool) -> String {
        let mut text = String::new();
        let mut before = None;
        for diagnostic in &self.diagnostics {
            let mark = Mark::of(diagnostic);
            // If many errors concern what one line names, the line is shown once.
            match before.as_ref().map(|before| *before == mark) {
                None => text += &diagnostic.render(styled),
                Some(true) => text = text + "\n" + &diagnostic.render_again(styled),
                Some(false) => text = text + "\n\n" + &diagnostic.render(styled),
            }
            before = Some(mark);
        }
        text
    }
}

/// The kinds of errors that one place can have several times: missing keys, and mistakes in a file or folder.
const SEVERAL: [&str; 4] = ["missing-key", "data", "pairs", "subset"];

/// The code, message and place of an error.
#[derive(PartialEq, Eq, Hash)]
struct Mark {
    code: &'static str,
    span: Range<usize>,
    source: *const SourceText,
}

impl Mark {
    fn of(diagnostic: &Diagnostic) -> Self {
        let source = Arc::as_ptr(&diagnostic.source);
        Self { code: diagnostic.code, span: diagnostic.span.clone(), source }
    }
}

/// Keeps one of several equal errors at the same place.
fn distinct(diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut known = HashSet::new();
    let is_new = |diagnostic: &Diagnostic| {
        let several = SEVERAL.contains(&diagnostic.code).then(|| diagnostic.message.clone());
        known.insert((Mark::of(diagnostic), several))
    };
    let mut diagnostics = sorted(diagnostics);
    diagnostics.retain(is_new);
    diagnostics
}

/// Sorts by file and place: files in the order of their first error, then the arguments of the command line in order.
fn sorted(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut sources: HashMap<*const SourceText, usize> = HashMap::new();
    for diagnostic in &diagnostics {
        let place = sources.len();
        sources.entry(Arc::as_ptr(&diagnostic.source)).or_insert(place);
    }
    let rank = |d: &Diagnostic| {
        let position = sources.get(&Arc::as_ptr(&d.source)).copied();
        (d.file.starts_with("--"), position, d.span.start, d.span.end)
    };
    diagnostics.sort_by_key(rank);
    diagnostics
}

impl fmt::Display for DiagnosticReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for DiagnosticReport {}
