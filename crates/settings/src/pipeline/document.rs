//! TOML as a tree of settings that know where they were written.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::Diagnostic;
use super::entries::Entries;
use super::source_text::{SourceText, Span};
use super::syntax;

/// A setting: its value, and the places of value and key.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The place of its name. Array elements and the root have none.
    pub key: Option<Span>,
    pub place: Span,
    pub value: NodeValue,
}

/// The TOML values that a pipeline can use.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeValue {
    String(String),
    Integer(i64),
    /// Finite.
    Float(f64),
    Boolean(bool),
    Array(Vec<Node>),
    /// In the order of the text.
    Table(Entries),
    /// Cannot be represented; the error is already reported.
    Invalid,
}

impl Node {
    /// The place that messages point to: the name of a table, the value of any other setting.
    pub fn span(&self) -> &Span {
        match (&self.value, &self.key) {
            (NodeValue::Table(_), Some(key)) => key,
            _ => &self.place,
        }
    }

    pub fn entries(&self) -> &[(String, Node)] {
        if let NodeValue::Table(entries) = &self.value { entries } else { &[] }
    }

    pub fn items(&self) -> &[Node] {
        if let NodeValue::Array(items) = &self.value { items } else { &[] }
    }

    pub fn items_mut(&mut self) -> &mut [Node] {
        if let NodeValue::Array(items) = &mut self.value { items } else { &mut [] }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        if let NodeValue::Table(entries) = &self.value { entries.get(key) } else { None }
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        if let NodeValue::Table(entries) = &mut self.value { entries.get_mut(key) } else { None }
    }

    pub fn remove(&mut self, key: &str) {
        if let NodeValue::Table(entries) = &mut self.value {
            entries.remove(key);
        }
    }

    pub fn text(&self) -> Option<&str> {
        if let NodeValue::String(text) = &self.value { Some(text) } else { None }
    }

    /// The setting at a path such as `stage.frozen.train[0]`, or the innermost setting that contains the path.
    pub fn nearest(&self, path: &str) -> &Node {
        let steps = path.split(['.', '[']).map(|step| step.trim_end_matches(']'));
        let mut node = self;
        for step in steps {
            let next = match &node.value {
                NodeValue::Table(_) => node.get(step),
                NodeValue::Array(items) => step.parse().ok().and_then(|index: usize| items.get(index)),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    /// Visits every setting with its path.
    pub fn visit<'a>(&'a self, path: &mut Vec<&'a str>, visitor: &mut dyn FnMut(&[&str], &'a Node)) {
        visitor(path, self);
        match &self.value {
            NodeValue::Table(entries) => {
                for (key, node) in entries.iter() {
                    path.push(key);
                    node.visit(path, visitor);
                    path.pop();
                }
            }
            NodeValue::Array(items) => items.iter().for_each(|item| item.visit(path, visitor)),
            _ => {}
        }
    }

    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            NodeValue::String(text) => text.as_str().into(),
            NodeValue::Integer(number) => (*number).into(),
            NodeValue::Float(number) => (*number).into(),
            NodeValue::Boolean(flag) => (*flag).into(),
            NodeValue::Array(items) => items.iter().map(Node::to_json).collect(),
            NodeValue::Table(entries) => {
                entries.iter().map(|(key, node)| (key.clone(), node.to_json())).collect()
            }
            NodeValue::Invalid => serde_json::Value::Null,
        }
    }
}

impl fmt::Display for NodeValue {
    /// With its article, as in messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NodeValue::String(_) => "a string",
            NodeValue::Integer(_) => "an integer",
            NodeValue::Float(_) => "a float",
            NodeValue::Boolean(_) => "a boolean",
            NodeValue::Array(_) => "an array",
            NodeValue::Table(_) => "a table",
            NodeValue::Invalid => "nothing",
        })
    }
}

/// Parses a file. Errors are reported, and what cannot be parsed is left out of the tree.
pub fn parse(source: &Arc<SourceText>, diagnostics: &mut Vec<Diagnostic>) -> Node {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    let mut reader = TomlReader { source, offset: 0, diagnostics, refused: BTreeSet::new() };
    reader.syntax_errors(errors);
    let root = table.into_inner();
    Node { key: None, place: Span::new(source, 0..0), value: reader.table(&root, None) }
}

/// Parses the value at byte `offset` of `source`.
pub fn parse_value(
    source: &Arc<SourceText>,
    offset: usize,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Node, Vec<toml::de::Error>> {
    let (value, errors) = DeValue::parse_recoverable(&source.text[offset..]);
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(TomlReader { source, offset, diagnostics, refused: BTreeSet::new() }.node(None, &value))
}

/// Reports the syntax errors of the text at byte `offset` of `source`.
pub fn report_syntax(
    source: &Arc<SourceText>,
    offset: usize,
    errors: Vec<toml::de::Error>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    TomlReader { source, offset, diagnostics, refused: BTreeSet::new() }.syntax_errors(errors);
}

struct TomlReader<'a> {
    source: &'a Arc<SourceText>,
    offset: usize,
    diagnostics: &'a mut Vec<Diagnostic>,
    /// Lines with a syntax error. The parser misreads them, so no further error is reported there.
    refused: BTreeSet<usize>,
}

impl TomlReader<'_> {
    fn place(&self, range: Range<usize>) -> Span {
        Span::new(self.source, range.start + self.offset..range.end + self.offset)
    }

    fn report(&mut self, place: &Span, code: &'static str, message: impl Into<String>, help: &str) {
        if self.refused.range(place.lines()).next().is_none() {
            self.diagnostics.push(Diagnostic::new(place, code, message).help(help.to_owned()));
        }
    }

    /// Reports one error per line, and one for a table that is defined twice. Further errors come from the parser's
    /// recovery.
    fn syntax_errors(&mut self, errors: Vec<toml::de::Error>) {
        let end = self.source.text.len() - self.offset;
        let mut resume = 0;
        for error in errors {
            let range = error.span().unwrap_or(end..end);
            let place = self.place(range.clone());
            if range.start < resume || !self.refused.insert(place.line_column().0) {
                continue;
            }
            let duplicate = error.message() == "duplicate key";
            let rest = &self.source.text[place.line_start()..];
            if duplicate && rest.trim_start().starts_with('[') {
                let next = rest.find("\n[").unwrap_or(rest.len());
                resume = place.line_start() + next - self.offset;
            }
            let code = if duplicate { "duplicate-key" } else { "syntax" };
            let help = if duplicate { None } else { syntax::help(&place) };
            let message = error.message().trim().replace('\n', "; ");
            self.diagnostics.push(Diagnostic::new(&place, code, message).help(help));
        }
    }

    fn table(&mut self, table: &DeTable<'_>, inline: Option<Range<usize>>) -> NodeValue {
        if let Some(range) = inline {
            self.refuse_toml_1_1(table, range);
        }
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let node = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let name: &std::borrow::Cow<'_, str> = key.get_ref();
            let place = self.place(key.span());
            (name.clone().into_owned(), self.node(Some(place), value))
        };
        NodeValue::Table(Entries::new(entries.into_iter().map(node).collect()))
    }

    fn node(&mut self, key: Option<Span>, value: &Spanned<DeValue<'_>>) -> Node {
        let place = self.place(value.span());
        let value = match value.get_ref() {
            DeValue::String(text) => NodeValue::String(text.clone().into_owned()),
            DeValue::Boolean(flag) => NodeValue::Boolean(*flag),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => NodeValue::Integer(number),
                Err(_) => {
                    let message = format!("the integer {number} does not fit in 64 bits");
                    self.report(&place, "too-large", message, "the largest is 9223372036854775807");
                    NodeValue::Invalid
                }
            },
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => NodeValue::Float(number),
                _ => {
                    self.report(
                        &place,
                        "not-finite",
                        format!("{number} is not a finite number"),
                        "write a number",
                    );
                    NodeValue::Invalid
                }
            },
            DeValue::Datetime(_) => {
                self.report(
                    &place,
                    "date",
                    "no setting takes a date or a time",
                    "if it is text, write it in quotes",
                );
                NodeValue::Invalid
            }
            DeValue::Array(items) => {
                NodeValue::Array(items.iter().map(|item| self.node(None, item)).collect())
            }
            DeValue::Table(table) => {
                let range = value.span();
                let inline = self.source.text.as_bytes().get(range.start + self.offset) == Some(&b'{');
                self.table(table, inline.then_some(range))
            }
        };
        Node { key, place, value }
    }

    /// TOML 1.1 allows inline tables to span lines and to end in a comma, but editors and most other parsers read TOML
    /// 1.0.
    fn refuse_toml_1_1(&mut self, table: &DeTable<'_>, range: Range<usize>) {
        let text = &self.source.text[self.offset..];
        let mut leaves = Vec::new();
        collect_leaves(table, text, &mut leaves);
        leaves.sort_by_key(|leaf| leaf.start);
        let mut own: Vec<(usize, u8)> = Vec::new();
        let mut next = range.start;
        for leaf in leaves.into_iter().chain(std::iter::once(range.end..range.end)) {
            own.extend((next..leaf.start).map(|index| (index, text.as_bytes()[index])));
            next = next.max(leaf.end);
        }
        if own.iter().any(|(_, byte)| *byte == b'\n') {
            let place = self.place(range.start..range.start + 1);
            let help = "write it on one line, or as a separate [table]";
            self.report(&place, "multi-line-inline-table", "an inline table must not span lines", help);
        } else if let Some((comma, _)) = last_comma(&own) {
            let place = self.place(comma..comma + 1);
            let message = "an inline table must not end in a comma";
            self.report(&place, "trailing-comma", message, "remove the comma");
        }
    }
}

fn last_comma(own: &[(usize, u8)]) -> Option<(usize, u8)> {
    let mut words = own.iter().rev().filter(|(_, byte)| !byte.is_ascii_whitespace());
    words.next().filter(|(_, byte)| *byte == b'}')?;
    words.next().copied().filter(|(_, byte)| *byte == b',')
}

/// The spans inside an inline table that may themselves contain a newline or a comma.
fn collect_leaves(table: &DeTable<'_>, text: &str, leaves: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        leaves.push(key.span());
        match value.get_ref() {
            // The span of a dotted key such as `{ a.b = 1 }` is the span of the key.
            DeValue::Table(inner) if text.as_bytes().get(value.span().start) != Some(&b'{') => {
                collect_leaves(inner, text, leaves);
            }
            _ => leaves.push(value.span()),
        }
    }
}
