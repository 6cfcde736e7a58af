//! What is wrong, where, and how to fix it: as text with the source line underlined, and as JSON.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::source_text::{SourceText, Span};
use crate::sanitize;

/// Of a longer line, only the part around the error is shown.
const WIDE: usize = 200;
/// Of a longer line of a message, the middle is left out.
const LONG: usize = 800;
/// The most characters that are shown before the underlined text, of it, and after it.
const AROUND: usize = 60;

/// One error or warning about a pipeline file.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// Stable and kebab-case, such as `unknown-key`.
    pub code: &'static str,
    /// Lowercase, without a full stop.
    pub message: String,
    /// The file or the option (such as `--set`) that the setting came from.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The bytes in the file.
    pub span: Range<usize>,
    /// How to fix it.
    pub help: Option<String>,
    /// Whether it is a warning, which does not prevent a run.
    pub warning: bool,
    pub(super) source: Arc<SourceText>,
}

impl Diagnostic {
    pub fn new(place: &Span, code: &'static str, message: impl Into<String>) -> Self {
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

    /// Turns it into a warning, which does not prevent a run.
    pub fn as_warning(self) -> Self {
        Self { warning: true, ..self }
    }

    /// The message, the source line with the error underlined, and the help. `styled` adds colors as ANSI escapes.
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let level = if self.warning { Level::WARNING } else { Level::ERROR };
        let title = level.primary_title(readable(&self.message)).id(self.code);
        let file = sanitize::line(&self.file);
        let excerpt = Excerpt::new(&Span { source: Arc::clone(&self.source), range: self.span.clone() });
        let snippet = Snippet::source(&excerpt.text)
            .line_start(self.line)
            .path(file.as_ref())
            .annotation(AnnotationKind::Primary.span(excerpt.span.clone()));
        let mut section = title.element(snippet);
        if let Some(help) = &self.help {
            section = section.element(Level::HELP.message(readable(help)));
        }
        let text = renderer.render(&[section]);
        // The column is the column in the file, not in the excerpt.
        let (shown, real) = (excerpt.column(), self.column);
        if shown == real {
            return text;
        }
        let line = self.line;
        text.replacen(&format!("{file}:{line}:{shown}"), &format!("{file}:{line}:{real}"), 1)
    }
}

impl Diagnostic {
    /// The text of a further message about the same place, without the source line.
    pub(super) fn render_again(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let level = if self.warning { Level::WARNING } else { Level::ERROR };
        let title = level.primary_title(readable(&self.message)).id(self.code);
        let help = self.help.as_ref().map(|help| Level::HELP.message(readable(help)));
        renderer.render(&[Group::with_title(title).elements(help)])
    }
}

/// A line of the source as shown: invisible characters are escaped, and long lines are shortened.
struct Excerpt {
    text: String,
    /// The underlined part, in bytes.
    span: Range<usize>,
}

impl Excerpt {
    fn new(place: &Span) -> Self {
        let (line, span) = place.line();
        let (before, inside, after) = (&line[..span.start], &line[span.clone()], &line[span.end..]);
        // Tabs are as wide as in the renderer.
        let shown = |part: &str| match sanitize::line(&part.replace('\t', "    ")) {
            Cow::Borrowed(_) => part.to_owned(),
            Cow::Owned(escaped) => escaped,
        };
        let (mut before, mut inside, mut after) = (shown(before), shown(inside), shown(after));
        if [&before, &inside, &after].iter().map(|part| part.chars().count()).sum::<usize>() > WIDE {
            before = last(&before, AROUND);
            inside = first(&inside, AROUND);
            after = first(&after, AROUND);
        }
        let span = before.len()..before.len() + inside.len();
        Self { text: before + &inside + &after, span }
    }

    /// The column that the renderer counts.
    fn column(&self) -> usize {
        self.text[..self.span.start].chars().count() + 1
    }
}

fn first(text: &str, count: usize) -> String {
    match text.char_indices().nth(count) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn last(text: &str, count: usize) -> String {
    match text.char_indices().nth_back(count) {
        Some((start, character)) => format!("…{}", &text[start + character.len_utf8()..]),
        None => text.to_owned(),
    }
}

/// A message as shown: invisible characters are escaped, and long lines are shortened.
fn readable(text: &str) -> String {
    let line = |line: &str| match line.chars().count() > LONG {
        true => first(line, LONG / 2) + last(line, LONG / 4).trim_start_matches('…'),
        false => line.to_owned(),
    };
    sanitize::lines(text).split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Text of the user, shortened for use in a message.
pub(super) fn brief(text: &str) -> String {
    first(text, AROUND)
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
