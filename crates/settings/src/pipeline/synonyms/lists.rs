//! The lists of words: text files in this folder.
//!
//! An unindented line is what is meant; the indented lines below it list words for it, separated by spaces. `#` starts
//! a comment line.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A setting that other tools name differently.
pub struct SettingSynonyms {
    pub words: Vec<&'static str>,
    /// Such as `stage.NAME.optimizer.momentum`, where `NAME` is any stage.
    pub path: &'static str,
    /// An example of its value.
    pub value: &'static str,
    /// The table around it, with everything it needs, if the setting alone does not make a valid table.
    pub whole: Option<(&'static str, &'static str)>,
}

/// A value of a setting, and what others write for it.
pub struct ValueSynonyms {
    pub words: Vec<&'static str>,
    pub path: &'static str,
    pub value: &'static str,
}

/// A value of other tools that a setting does not have, and what to do instead.
pub struct ValueRemark {
    pub words: Vec<&'static str>,
    pub path: &'static str,
    pub text: &'static str,
}

/// A setting of other tools that pipelines do not have, and what to do instead.
pub struct Remark {
    pub words: Vec<&'static str>,
    pub text: &'static str,
}

pub static SETTINGS: LazyLock<Vec<SettingSynonyms>> = LazyLock::new(|| {
    let setting = |Entry { head, whole, words }| {
        let (path, value) = assignment(head);
        SettingSynonyms { words, path, value, whole: whole.map(assignment) }
    };
    entries(include_str!("settings.txt")).into_iter().map(setting).collect()
});

pub static VALUES: LazyLock<Vec<ValueSynonyms>> = LazyLock::new(|| {
    let meaning = |Entry { head, words, .. }| {
        let (path, value) = assignment(head);
        ValueSynonyms { words, path, value }
    };
    entries(include_str!("values.txt")).into_iter().map(meaning).collect()
});

pub static VALUE_REMARKS: LazyLock<Vec<ValueRemark>> = LazyLock::new(|| {
    let remark = |Entry { head, words, .. }| {
        let (path, text) = assignment(head);
        ValueRemark { words, path, text }
    };
    entries(include_str!("value_remarks.txt")).into_iter().map(remark).collect()
});

pub static REMARKS: LazyLock<Vec<Remark>> = LazyLock::new(|| {
    let remark = |Entry { head, words, .. }| Remark { words, text: head };
    entries(include_str!("remarks.txt")).into_iter().map(remark).collect()
});

/// Examples of tables by path, one for each kind. The first is used if nothing says which kind.
pub static TABLES: LazyLock<HashMap<&str, Vec<&str>>> = LazyLock::new(|| {
    let mut tables: HashMap<&str, Vec<&str>> = HashMap::new();
    for Entry { head, .. } in entries(include_str!("tables.txt")) {
        let (path, example) = assignment(head);
        tables.entry(path).or_default().push(example);
    }
    tables
});

struct Entry {
    head: &'static str,
    whole: Option<&'static str>,
    words: Vec<&'static str>,
}

fn entries(text: &'static str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match (line.strip_prefix("    "), entries.last_mut()) {
            (Some(below), Some(entry)) => match below.strip_prefix("in ") {
                Some(whole) => entry.whole = Some(whole),
                None => entry.words.extend(below.split(' ')),
            },
            _ => entries.push(Entry { head: line, whole: None, words: Vec::new() }),
        }
    }
    entries
}

/// The path and the value of `path = value`.
fn assignment(line: &'static str) -> (&'static str, &'static str) {
    line.split_once(" = ").unwrap_or((line, ""))
}
