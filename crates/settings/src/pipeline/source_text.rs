//! Texts that contain settings, and places in them.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// A text that contains settings: a file, or one argument of the command line.
#[derive(Debug)]
pub struct SourceText {
    /// The file as the user named it, or the option, such as `--set`.
    pub name: String,
    pub text: String,
    index: OnceLock<LineIndex>,
}

/// Where lines start, and how many characters precede each stretch of the text. With these, looking up a place is as
/// fast in a long text or line as in a short one.
#[derive(Debug)]
struct LineIndex {
    /// In bytes.
    lines: Vec<usize>,
    /// The number of characters before every [`STRETCH`]th byte.
    characters: Vec<usize>,
}

const STRETCH: usize = 1024;

impl SourceText {
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), index: OnceLock::new() }
    }

    fn index(&self) -> &LineIndex {
        self.index.get_or_init(|| {
            let bytes = self.text.as_bytes();
            let breaks = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            let lines = std::iter::once(0).chain(breaks.map(|(place, _)| place + 1)).collect();
            let mut before = 0;
            let mut characters = vec![0];
            for stretch in bytes.chunks(STRETCH) {
                before += starts(stretch);
                characters.push(before);
            }
            LineIndex { lines, characters }
        })
    }

    /// The line of a byte, from 0.
    fn line(&self, byte: usize) -> usize {
        self.index().lines.partition_point(|start| *start <= byte) - 1
    }

    /// The number of characters before a byte.
    fn characters_before(&self, byte: usize) -> usize {
        let stretch = byte / STRETCH;
        self.index().characters[stretch] + starts(&self.text.as_bytes()[stretch * STRETCH..byte])
    }
}

/// The number of characters that start in these bytes of UTF-8.
fn starts(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

impl PartialEq for SourceText {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.name == other.name && self.text == other.text
    }
}

/// A part of a source, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub source: Arc<SourceText>,
    pub range: Range<usize>,
}

impl Span {
    pub fn new(source: &Arc<SourceText>, range: Range<usize>) -> Self {
        Self { source: Arc::clone(source), range }
    }

    /// Line and column of the first character, from 1. Columns count characters.
    pub fn line_column(&self) -> (usize, usize) {
        let column =
            self.source.characters_before(self.start()) - self.source.characters_before(self.line_start());
        (self.source.line(self.start()) + 1, column + 1)
    }

    /// The lines of the part, from 1.
    pub fn lines(&self) -> Range<usize> {
        let end = self.range.end.max(self.range.start + 1) - 1;
        self.source.line(self.start()) + 1..self.source.line(end.min(self.source.text.len())) + 2
    }

    /// The first byte. If a parser pointed past the text or into a character, the start of the character before.
    fn start(&self) -> usize {
        floor_boundary(&self.source.text, self.range.start)
    }

    /// Where the line of the first character starts, in bytes.
    pub fn line_start(&self) -> usize {
        self.source.index().lines[self.source.line(self.start())]
    }

    /// The line of the first character, and the part of the line that the place covers.
    pub fn line(&self) -> (&str, Range<usize>) {
        let first = self.line_start();
        let line = self.source.text[first..].lines().next().unwrap_or_default();
        // A place that spans lines covers the first line to its end.
        let start = floor_boundary(line, self.start() - first);
        let end = floor_boundary(line, self.range.end.saturating_sub(first));
        (line, start..end.max(start))
    }
}

fn floor_boundary(text: &str, index: usize) -> usize {
    (0..=index.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_are_those_that_counting_finds() {
        let text = format!("{}\nü{}\r\n\n", "äö€𝄞a".repeat(700), "x".repeat(3000));
        let source = Arc::new(SourceText::new("p.toml", text.as_str()));
        for byte in (0..text.len() + 3).step_by(37).chain([text.len() - 1, text.len(), text.len() + 9]) {
            let start = floor_boundary(&text, byte);
            let line = text[..start].matches('\n').count() + 1;
            let column = text[..start].chars().rev().take_while(|c| *c != '\n').count() + 1;
            assert_eq!(Span::new(&source, byte..byte + 1).line_column(), (line, column), "{byte}");
        }
        assert_eq!(Span::new(&Arc::new(SourceText::new("", "")), 0..0).line_column(), (1, 1));
    }
}
