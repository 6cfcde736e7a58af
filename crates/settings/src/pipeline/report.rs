//! All that is wrong with a pipeline file.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::diagnostics::Diagnostic;
use super::source::Source;

/// All that is wrong with a pipeline file, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The first of them; of a file that is wrong all over, nobody reads more.
    pub diagnostics: Vec<Diagnostic>,
    /// How many more there are.
    pub more: usize,
}

/// So many errors are shown.
const SHOWN: usize = 50;
/// So many are kept until those of several runs are compared.
const KEPT: usize = 200;

impl Report {
    /// Sorts by file and place, and keeps one of several that say the same of the same place: a default that is
    /// merged into three stages is wrong once.
    pub fn new(diagnostics: Vec<Diagnostic>) -> Self {
        Self::of(distinct(diagnostics), 0, KEPT)
    }

    fn of(mut diagnostics: Vec<Diagnostic>, more: usize, most: usize) -> Self {
        let more = more + diagnostics.len().saturating_sub(most);
        diagnostics.truncate(most);
        Self { diagnostics, more }
    }

    /// All runs of a file, or what is wrong with them, each once: what is wrong with some alone says with which.
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

    /// With what is wrong with all runs ahead of what is wrong with one.
    pub(super) fn after(self, common: Self) -> Self {
        let more = common.more + self.more;
        let all = Self::new([common.diagnostics, self.diagnostics].concat());
        Self { more: all.more + more, ..all }
    }

    /// The first errors, as many as a person reads.
    pub fn brief(self) -> Self {
        Self::of(self.diagnostics, self.more, SHOWN)
    }

    /// How many errors there are in all.
    pub fn count(&self) -> usize {
        self.diagnostics.len() + self.more
    }

    pub fn render(&self, styled: bool) -> String {
        let mut text = String::new();
        let mut before = None;
        for diagnostic in &self.diagnostics {
            let mark = Mark::of(diagnostic);
            // The line is shown once where much is wrong with what it names.
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

/// What may be wrong with one place several times: keys that a table lacks, mistakes of what a file or folder holds.
const SEVERAL: [&str; 3] = ["missing-key", "data", "pairs"];

/// What is said, and of which place.
#[derive(PartialEq, Eq, Hash)]
struct Mark {
    code: &'static str,
    span: Range<usize>,
    source: *const Source,
}

impl Mark {
    fn of(diagnostic: &Diagnostic) -> Self {
        let source = Arc::as_ptr(&diagnostic.source);
        Self { code: diagnostic.code, span: diagnostic.span.clone(), source }
    }
}

/// One of several that say the same of the same place.
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

/// By file and place: files in the order of their first error, then the arguments of the command line in theirs.
fn sorted(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut sources: HashMap<*const Source, usize> = HashMap::new();
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}
