//! `--set PATH=VALUE`: changes a setting from the command line, as if it were written in the file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::diagnostics::Diagnostic;
use super::document::{self, Node, NodeValue};
use super::entries::Entries;
use super::source_text::{SourceText, Span};
use super::{override_help, suggest};

/// One parsed `--set`.
pub struct Override {
    steps: Vec<Step>,
    value: Node,
}

struct Step {
    name: String,
    /// An element of an array, counted from 0.
    index: Option<usize>,
    place: Span,
}

impl Override {
    /// Parses `stage.frozen.optimizer.lr=3e-4`. A value that is not TOML and has no quotes or brackets is a string.
    pub fn parse(argument: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<Self> {
        let source = Arc::new(SourceText::new("--set", argument));
        let Some(equals) = argument.find('=') else {
            let place = Span::new(&source, 0..argument.len());
            let help = match argument.trim().split_once(char::is_whitespace) {
                Some((path, value)) => format!("write `{path}={}`", value.trim()),
                None => format!("write `{}=` followed by a value", argument.trim()),
            };
            diagnostics.push(Diagnostic::new(&place, "bad-set", "missing `=`").help(help));
            return None;
        };
        let place = |range| Span::new(&source, range);
        let example = "write PATH=VALUE, such as `stage.frozen.epochs=3`";
        for (side, what) in [(0..equals, "path before"), (equals + 1..argument.len(), "value after")] {
            if argument[side].trim().is_empty() {
                let message = format!("missing {what} the `=`");
                let place = place(equals..equals + 1);
                diagnostics.push(Diagnostic::new(&place, "bad-set", message).help(example.to_owned()));
                return None;
            }
        }
        let steps = parse_path(&source.text[..equals], "bad-set", &place, diagnostics)?;
        if steps[0].name == "extends" {
            let message = "`extends` cannot be set from the command line";
            diagnostics.push(Diagnostic::new(&steps[0].place, "bad-set", message));
            return None;
        }
        let value = parse_value(&source, equals + 1, diagnostics)?;
        Some(Self { steps, value })
    }

    /// A setting changed within a file. Its place is that of the whole path.
    pub fn at(path: &str, place: &Span, value: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Self> {
        let steps = parse_path(path, "bad-path", &|_| place.clone(), diagnostics)?;
        Some(Self { steps, value: value.clone() })
    }

    /// An option that has its own setting: `--threads 4` is `run.threads`.
    pub fn option(option: &str, path: [&str; 2], text: &str, value: NodeValue) -> Self {
        let source = Arc::new(SourceText::new(option, text));
        let place = Span::new(&source, 0..text.len());
        let step = |name: &str| Step { name: name.to_owned(), index: None, place: place.clone() };
        Self { steps: path.map(step).into(), value: Node { key: None, place: place.clone(), value } }
    }

    /// Whether it changes a default, which must be applied before the defaults are merged into the stages.
    pub fn is_default(&self) -> bool {
        self.steps[0].name == "defaults"
    }

    /// Whether the settings of a preset depend on it.
    pub fn shapes_a_preset(&self) -> bool {
        let [stage, _, setting] = &self.steps[..] else { return false };
        stage.name == "stage" && ["preset", "batch_size", "epochs"].contains(&setting.name.as_str())
    }

    /// The first name of its path.
    pub fn first(&self) -> &str {
        &self.steps[0].name
    }

    /// Its path as text.
    pub fn path(&self) -> String {
        let step = |step: &Step| match step.index {
            Some(index) => format!("[{index}]"),
            None => format!(".{}", step.name),
        };
        self.steps.iter().map(step).collect::<String>().trim_start_matches('.').to_owned()
    }

    /// The place where its path starts.
    pub fn span(&self) -> &Span {
        &self.steps[0].place
    }

    /// Its path, for comparison with others.
    fn key(&self) -> Vec<(&str, Option<usize>)> {
        self.steps.iter().map(|step| (step.name.as_str(), step.index)).collect()
    }

    /// Sets the value. Keys that no table may have are left to the checker, which knows all keys.
    pub fn apply(&self, root: &mut Node, diagnostics: &mut Vec<Diagnostic>) {
        let table = self.steps[0].name.as_str();
        let names: Vec<&str> =
            self.steps.iter().map(|step| step.name.as_str()).take_while(|name| !name.is_empty()).collect();
        // After many errors, the rest is left to the checker.
        let help =
            if suggest::has_many_errors(diagnostics) { None } else { override_help::help(root, &names) };
        if let Some(help) = help {
            let message = format!("`{}` is not the full path of a setting", names.join("."));
            diagnostics.push(Diagnostic::new(self.span(), "unknown-path", message).help(help));
            return;
        }
        let mut node = root;
        for (depth, step) in self.steps.iter().enumerate() {
            let named = depth == 1 && ["data", "model", "stage"].contains(&table);
            let next = match step.index {
                Some(index) => element(node, index),
                None => entry(node, step, named.then_some(table)),
            };
            node = match next {
                Ok(next) => next,
                Err((message, help)) => {
                    diagnostics.push(Diagnostic::new(&step.place, "unknown-path", message).help(help));
                    return;
                }
            };
        }
        node.value = self.value.value.clone();
        node.place = self.value.place.clone();
        if let Some(step) = self.steps.last().filter(|step| step.index.is_none()) {
            node.key = Some(step.place.clone());
        }
    }
}

/// Settings that are already changed. Finds one that changes the same setting as another, or a part of it, or a table
/// around it.
#[derive(Default)]
pub struct ChangedSettings<'a> {
    by_path: BTreeMap<Vec<(&'a str, Option<usize>)>, &'a Override>,
}

impl<'a> ChangedSettings<'a> {
    pub fn add(&mut self, set: &'a Override) {
        self.by_path.entry(set.key()).or_insert(set);
    }

    pub fn overlapping(&self, set: &Override) -> Option<&'a Override> {
        let key = set.key();
        let above = (1..=key.len()).find_map(|length| self.by_path.get(&key[..length]));
        // In sorted order, paths that start with a path come right after it.
        let below = || self.by_path.range(key.clone()..).next().filter(|(path, _)| path.starts_with(&key));
        above.or_else(|| below().map(|(_, set)| set)).copied()
    }
}

/// Why a step of a path cannot be taken, and how to fix it.
type PathError = (String, Option<String>);

/// The setting of a table with that name. It is created if missing, but `--set` creates no data sets, models and
/// stages.
fn entry<'a>(node: &'a mut Node, step: &Step, named: Option<&str>) -> Result<&'a mut Node, PathError> {
    let kind = node.value.to_string();
    let NodeValue::Table(entries) = &mut node.value else {
        let help = format!("end the path before `.{}`", step.name);
        return Err((format!("cannot set `{}` in {kind}, which has no keys", step.name), Some(help)));
    };
    let position = match (entries.position(&step.name), named) {
        (Some(position), _) => position,
        (None, Some(what)) => {
            let help = suggest::help(&step.name, "there are", entries.iter().map(|(name, _)| name.as_str()));
            return Err((format!("unknown {what} `{}`", step.name), help));
        }
        (None, None) => {
            let table = NodeValue::Table(Entries::default());
            let node = Node { key: Some(step.place.clone()), place: step.place.clone(), value: table };
            entries.push(step.name.clone(), node)
        }
    };
    Ok(entries.at_mut(position))
}

fn element(node: &mut Node, index: usize) -> Result<&mut Node, PathError> {
    let kind = node.value.to_string();
    let count = match &mut node.value {
        NodeValue::Array(items) if index >= items.len() => items.len(),
        NodeValue::Array(items) => return Ok(&mut items[index]),
        _ => return Err((format!("{kind} has no elements"), None)),
    };
    Err((format!("the array has no element {index}: its length is {count}"), None))
}

/// Dotted names, each with any number of `[index]`.
fn parse_path(
    text: &str,
    code: &'static str,
    place_of: &dyn Fn(Range<usize>) -> Span,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut start = 0;
    for part in text.split('.') {
        let name_end = part.find('[').unwrap_or(part.len());
        let name = part[..name_end].trim();
        let place = |range: Range<usize>| place_of(start + range.start..start + range.end);
        let well_formed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let indices: Option<Vec<usize>> = match part[name_end..].trim_end() {
            "" => Some(Vec::new()),
            brackets => brackets
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .and_then(|inner| inner.split("][").map(|digits| digits.parse().ok()).collect()),
        };
        let (false, true, Some(indices)) = (name.is_empty(), name.chars().all(well_formed), indices) else {
            let help = "write a dotted path, such as `stage.finetune.groups[0].lr_scale`".to_owned();
            let message = format!("`{}` is not a path of a setting", text.trim());
            let diagnostic = Diagnostic::new(&place(0..part.len()), code, message);
            diagnostics.push(diagnostic.help(help));
            return None;
        };
        steps.push(Step { name: name.to_owned(), index: None, place: place(0..name_end) });
        let step =
            |index| Step { name: String::new(), index: Some(index), place: place(name_end..part.len()) };
        steps.extend(indices.into_iter().map(step));
        start += part.len() + 1;
    }
    Some(steps)
}

fn parse_value(source: &Arc<SourceText>, start: usize, diagnostics: &mut Vec<Diagnostic>) -> Option<Node> {
    let text = &source.text[start..];
    let bare = text.trim();
    let begin = start + (text.len() - text.trim_start().len());
    let place = Span::new(source, begin..begin + bare.len());
    let string = || Some(Node { key: None, place, value: NodeValue::String(bare.to_owned()) });
    match document::parse_value(source, begin, diagnostics) {
        // No setting takes a date, so what looks like a date is a string.
        Ok(node)
            if node.value == NodeValue::Invalid
                && diagnostics.last().is_some_and(|last| last.code == "date") =>
        {
            diagnostics.pop();
            string()
        }
        Ok(node) => Some(node),
        Err(errors) if bare.starts_with(['"', '\'', '[', '{']) => {
            document::report_syntax(source, begin, errors, diagnostics);
            None
        }
        Err(_) => string(),
    }
}
