//! What is wrong, where, and what to do about it; as text with the source line underlined, and as JSON.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};
use serde::{Serialize, Serializer, ser::SerializeStruct};

/// A text that settings stand in: a file, or one argument of the command line.
#[derive(Debug, PartialEq)]
pub struct Source {
    /// The file as the user named it, or the option, such as `--set`.
    pub name: String,
    pub text: String,
}

/// A stretch of a source, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub source: Arc<Source>,
    pub range: Range<usize>,
}

impl Place {
    pub fn new(source: &Arc<Source>, range: Range<usize>) -> Self {
        Self { source: Arc::clone(source), range }
    }

    /// Line and column of the first character, from 1; columns count characters.
    pub fn line_column(&self) -> (usize, usize) {
        let start = self.line_start();
        let text = &self.source.text;
        let line = text[..start].matches('\n').count() + 1;
        (line, text[start..self.start()].chars().count() + 1)
    }

    /// The first byte, moved back onto a character of the text where a parser pointed past or into one.
    fn start(&self) -> usize {
        floor_boundary(&self.source.text, self.range.start)
    }

    /// Where the line of the first character starts, in bytes.
    pub fn line_start(&self) -> usize {
        self.source.text[..self.start()].rfind('\n').map_or(0, |newline| newline + 1)
    }
}

fn floor_boundary(text: &str, index: usize) -> usize {
    (0..=index.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)
}

/// One thing that is wrong with a pipeline file.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// Stable and kebab-case, such as `unknown-key`.
    pub code: &'static str,
    /// Lowercase, without a full stop.
    pub message: String,
    /// The file, or the option (`--set`) the setting came from.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The bytes in the file.
    pub span: Range<usize>,
    /// The cure.
    pub help: Option<String>,
    /// Whether it keeps nothing from running.
    pub warning: bool,
    source: Arc<Source>,
}

impl Diagnostic {
    pub fn new(place: &Place, code: &'static str, message: impl Into<String>) -> Self {
        let (line, column) = place.line_column();
        Self {
            code,
            message: message.into(),
            file: place.source.name.clone(),
            line,
            column,
            span: place.range.clone(),
            help: None,
            warning: false,
            source: Arc::clone(&place.source),
        }
    }

    pub fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }

    /// As something that keeps nothing from running.
    pub fn as_warning(self) -> Self {
        Self { warning: true, ..self }
    }

    /// The message, the source line with the place underlined, and the help. `styled` adds colors as ANSI escapes.
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let level = if self.warning { Level::WARNING } else { Level::ERROR };
        let title = level.primary_title(normalize_untrusted_str(&self.message)).id(self.code);
        let start = floor_boundary(&self.source.text, self.span.start);
        let first = Place::new(&self.source, start..start).line_start();
        let line = self.source.text[first..].lines().next().unwrap_or_default();
        // A place that spans lines is underlined to the end of its first.
        let end = floor_boundary(line, self.span.end.saturating_sub(first));
        let start = floor_boundary(line, start - first);
        let snippet = Snippet::source(line)
            .line_start(self.line)
            .path(normalize_untrusted_str(&self.file))
            .annotation(AnnotationKind::Primary.span(start..end.max(start)));
        let mut section = title.element(snippet);
        if let Some(help) = &self.help {
            section = section.element(Level::HELP.message(normalize_untrusted_str(help)));
        }
        renderer.render(&[section])
    }
}

impl Diagnostic {
    /// What is said below another of the same place: without the source line.
    fn render_again(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let level = if self.warning { Level::WARNING } else { Level::ERROR };
        let title = level.primary_title(normalize_untrusted_str(&self.message)).id(self.code);
        let help = self.help.as_ref().map(|help| Level::HELP.message(normalize_untrusted_str(help)));
        renderer.render(&[Group::with_title(title).elements(help)])
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Diagnostic", 6)?;
        fields.serialize_field("code", self.code)?;
        fields.serialize_field("message", &self.message)?;
        fields.serialize_field("file", &self.file)?;
        fields.serialize_field("line", &self.line)?;
        fields.serialize_field("column", &self.column)?;
        fields.serialize_field("help", &self.help)?;
        fields.end()
    }
}

/// What may be wrong with one place several times: keys that a table lacks, mistakes of what a file or folder holds.
const SEVERAL: [&str; 3] = ["missing-key", "data", "pairs"];

/// All that is wrong with a pipeline file, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Sorts by file and place, and keeps one of several that say the same of the same place: a default that is
    /// merged into three stages is wrong once.
    pub fn new(diagnostics: Vec<Diagnostic>) -> Self {
        let mut kept: Vec<Diagnostic> = Vec::new();
        for new in sorted(diagnostics) {
            let same = |old: &Diagnostic| {
                old.code == new.code
                    && old.span == new.span
                    && Arc::ptr_eq(&old.source, &new.source)
                    && (old.message == new.message || !SEVERAL.contains(&new.code))
            };
            if !kept.iter().any(same) {
                kept.push(new);
            }
        }
        Self { diagnostics: kept }
    }

    /// All runs of a file, or what is wrong with them, each once: what is wrong with some alone says with which.
    pub fn of_runs<'a, T>(
        runs: impl Iterator<Item = (Option<&'a str>, Result<T, Self>)>,
    ) -> Result<Vec<T>, Self> {
        let (mut right, mut count) = (Vec::new(), 0);
        let mut found: Vec<(Diagnostic, Vec<&str>)> = Vec::new();
        for (label, run) in runs {
            count += 1;
            for diagnostic in
                run.map(|run| right.push(run)).err().into_iter().flat_map(|report| report.diagnostics)
            {
                let label = label.unwrap_or_default();
                match found.iter_mut().find(|(known, _)| *known == diagnostic) {
                    Some((_, labels)) => labels.push(label),
                    None => found.push((diagnostic, vec![label])),
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
        Err(Self { diagnostics: sorted(found.into_iter().map(named).collect()) })
    }

    pub fn render(&self, styled: bool) -> String {
        let mut text = String::new();
        for (i, diagnostic) in self.diagnostics.iter().enumerate() {
            let before = i.checked_sub(1).map(|before| &self.diagnostics[before]);
            // The line is shown once where much is wrong with what it names.
            let same = before.is_some_and(|before| {
                before.code == diagnostic.code
                    && before.span == diagnostic.span
                    && Arc::ptr_eq(&before.source, &diagnostic.source)
            });
            match (before, same) {
                (None, _) => text += &diagnostic.render(styled),
                (_, true) => text = text + "\n" + &diagnostic.render_again(styled),
                (_, false) => text = text + "\n\n" + &diagnostic.render(styled),
            }
        }
        text
    }
}

/// By file and place: files in the order of their first error, then the arguments of the command line in theirs.
fn sorted(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut sources: Vec<Arc<Source>> = Vec::new();
    for diagnostic in &diagnostics {
        if !sources.iter().any(|source| Arc::ptr_eq(source, &diagnostic.source)) {
            sources.push(Arc::clone(&diagnostic.source));
        }
    }
    let rank = |d: &Diagnostic| {
        let position = sources.iter().position(|source| Arc::ptr_eq(source, &d.source));
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
