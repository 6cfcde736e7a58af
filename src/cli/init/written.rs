//! The lines of the written file: a key, a value, and the reason for the value.

use std::path::{Component, Path};

use defrost::data::{Dataset, data_format};
use defrost::pipeline::Data;
use defrost::{Error, Result};
use serde_json::{Map, Value};

/// Where the comments of lines begin.
const COMMENTS: usize = 41;

/// The table of a data set.
pub type Settings = Map<String, Value>;

/// A line of a table.
pub struct Line {
    key: &'static str,
    /// As TOML.
    value: String,
    /// The comment; none if it is empty.
    why: String,
}

impl Line {
    pub fn new(key: &'static str, value: &Value, why: impl Into<String>) -> Self {
        Self { key, value: inline(value), why: why.into() }
    }

    /// With a value that is TOML already.
    pub fn of_toml(key: &'static str, value: String, why: impl Into<String>) -> Self {
        Self { key, value, why: why.into() }
    }

    /// With keys of that width.
    fn text(&self, width: usize) -> String {
        let line = format!("{:<width$} = {}", self.key, self.value);
        if self.why.is_empty() { line } else { format!("{line:<COMMENTS$} # {}", self.why) }
    }
}

/// The lines of a table, with equal signs below each other, after keys of at least that width.
pub fn text(lines: &[Line], least: usize) -> String {
    let width = lines.iter().map(|line| line.key.len()).fold(least, usize::max);
    lines.iter().map(|line| line.text(width)).collect::<Vec<_>>().join("\n")
}

/// A value as TOML on one line.
pub fn inline(value: &Value) -> String {
    match value {
        Value::Object(table) => {
            let entries: Vec<String> =
                table.iter().map(|(key, value)| format!("{key} = {}", inline(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A template with its words replaced. Values may contain such words.
pub fn filled(template: &str, values: &[(&str, &str)]) -> String {
    let (mut rest, mut text) = (template, String::new());
    let next = |rest: &str| {
        let places = values.iter().filter_map(|(word, value)| Some((rest.find(word)?, *word, *value)));
        places.min_by_key(|(place, word, _)| (*place, std::cmp::Reverse(word.len())))
    };
    while let Some((place, word, value)) = next(rest) {
        text.push_str(&rest[..place]);
        text.push_str(value);
        rest = &rest[place + word.len()..];
    }
    text + rest
}

/// Reads a data set with these settings, whose paths are relative to the current folder.
///
/// # Errors
/// `validate` would refuse the data.
pub fn read(settings: Settings) -> Result<Dataset> {
    let data: Data = serde_json::from_value(settings.into())
        .map_err(|error| Error::bug(format!("the data set: {error}")))?;
    data_format(&data).read(&|path| Ok(path.into())).map_err(|error| error.within("--data"))
}

/// `path` relative to `dir`, with `/`. An absolute path is kept.
pub fn relative(dir: &Path, path: &Path) -> Result<String> {
    let text = if path.is_absolute() {
        path.to_owned()
    } else {
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(|error| Error::io("find", path, error));
        let (dir, path) = (absolute(dir)?, absolute(path)?);
        let (from, to): (Vec<Component>, Vec<Component>) =
            (dir.components().collect(), path.components().collect());
        let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        let up = from[common..].iter().map(|_| Component::ParentDir);
        up.chain(to[common..].iter().copied()).collect()
    };
    let text = utf8(&text)?;
    Ok(if text.is_empty() { ".".into() } else { text.replace('\\', "/") })
}

pub fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::usage(format!("`{}` is not UTF-8", path.display())))
}
