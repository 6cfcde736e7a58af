//! Words that users of other tools type (torchvision, timm, fastai, Lightning, Ultralytics and Keras), and their names
//! here. The words are in text files; this file turns a word into a suggestion that is valid where it is made.

mod lists;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value as Json;

use self::lists::{REMARKS, SETTINGS, SettingSynonyms, TABLES, VALUE_REMARKS, VALUES};
use super::document::{self, Node, NodeValue};
use super::override_help::{fits, variants};
use super::schema::merged;
use super::schema_check;
use super::source_text::SourceText;
use super::suggest;

/// What to write instead of an invalid key. `path` is the path of the table, from the top of the file.
pub fn key(root: &Node, path: &[&str], word: &str, node: &Node) -> Option<String> {
    let known = known(word)?;
    let here = general(path);
    let shared = |setting: &SettingSynonyms| {
        setting.path.split('.').zip(here.iter().copied()).take_while(|(a, b)| a == b).count()
    };
    // Of several, the setting nearest to the table with the word; of equally near ones, the first.
    let nearest = known.settings.iter().copied().rev().max_by_key(|setting| shared(setting));
    match nearest {
        Some(setting) => instead(root, path, setting, node),
        None => known.remark.map(str::to_owned),
    }
}

/// The key of a table that a word means there, or the key of the table that contains what the word means.
pub fn entry(path: &[&str], word: &str) -> Option<&'static str> {
    let here = general(path).join(".");
    let below = |setting: &&SettingSynonyms| {
        let rest = setting.path.strip_prefix(here.as_str())?;
        let rest = if here.is_empty() { rest } else { rest.strip_prefix('.')? };
        rest.split('.').next()
    };
    known(word)?.settings.iter().find_map(below)
}

/// Our word for a value of the setting with that path.
pub fn value(path: &[&str], word: &str) -> Option<&'static str> {
    let (path, word) = (general(path).join("."), folded(word));
    let mut values = VALUES.iter().filter(|meaning| meaning.path == path);
    values
        .find(|meaning| meaning.words.iter().any(|other| folded(other) == word))
        .map(|meaning| meaning.value)
}

/// What to write instead of a value that no setting here has.
pub fn value_remark(path: &[&str], word: &str) -> Option<&'static str> {
    let (path, word) = (general(path).join("."), folded(word));
    let mut remarks = VALUE_REMARKS.iter().filter(|remark| remark.path == path);
    remarks.find(|remark| remark.words.iter().any(|other| folded(other) == word)).map(|remark| remark.text)
}

/// What to write if the setting with that path must be a table, and is not.
pub fn table(path: &[&str], schema: &Json, node: &Node) -> Option<String> {
    let examples = TABLES.get(general(path).join(".").as_str())?;
    let name = path.last()?;
    let numbered = || with_number(examples[0], node).filter(|text| holds(schema, text));
    let named = node.text().and_then(|word| {
        let kind_path: Vec<&str> = path.iter().copied().chain(["kind"]).collect();
        let kinds = examples.iter().filter_map(|example| kind_of(example));
        let kind = value(&kind_path, word).or_else(|| suggest::closest(word, kinds))?;
        examples.iter().find(|example| kind_of(example) == Some(kind)).map(|example| (*example).to_owned())
    });
    let text = named.or_else(numbered).unwrap_or_else(|| examples[0].to_owned());
    Some(format!("write a table: `{name} = {text}`"))
}

/// The path and an example of the setting that an option of another tool means, such as `--imgsz`.
pub fn option(word: &str) -> Option<(&'static str, &'static str)> {
    let setting = known(word)?.settings.first()?;
    // The whole table, if the setting alone may not fit the table that the file has.
    let whole = setting.whole.filter(|_| !setting.path.ends_with(".lr"));
    Some(whole.unwrap_or((setting.path, setting.value)))
}

/// The remark about an option that is not a setting.
pub fn remark(word: &str) -> Option<&'static str> {
    known(word)?.remark
}

/// What is known about a word.
#[derive(Default)]
struct WordMeaning {
    settings: Vec<&'static SettingSynonyms>,
    remark: Option<&'static str>,
}

fn known(word: &str) -> Option<&'static WordMeaning> {
    static WORDS: LazyLock<HashMap<String, WordMeaning>> = LazyLock::new(|| {
        let mut words: HashMap<String, WordMeaning> = HashMap::new();
        for setting in SETTINGS.iter() {
            for word in &setting.words {
                words.entry(folded(word)).or_default().settings.push(setting);
            }
        }
        for remark in REMARKS.iter() {
            for word in &remark.words {
                words.entry(folded(word)).or_default().remark = Some(remark.text);
            }
        }
        words
    });
    WORDS.get(&folded(word))
}

/// A word without what tools spell differently: case, and the characters that join its parts.
fn folded(word: &str) -> String {
    word.to_lowercase().replace(['_', '-', '.', ' '], "")
}

/// A path with `NAME` in place of the names that the user chose. Defaults are those of train stages.
fn general<'a>(path: &[&'a str]) -> Vec<&'a str> {
    match path {
        ["defaults", "train", rest @ ..] => [&["stage", "NAME"][..], rest].concat(),
        [table @ ("data" | "model" | "stage"), _, rest @ ..] => [&[*table, "NAME"][..], rest].concat(),
        _ => path.to_vec(),
    }
}

/// Says where to write a setting, and what.
fn instead(root: &Node, path: &[&str], setting: &SettingSynonyms, node: &Node) -> Option<String> {
    let steps: Vec<&str> = setting.path.split('.').collect();
    let (owner, rest) = match steps[..] {
        [table, "NAME", ..] => (owner(root, path, table, steps[2]), &steps[2..]),
        ["run", ..] => (Ok(vec!["run"]), &steps[1..]),
        _ => (Ok(Vec::new()), &steps[..]),
    };
    let whole = setting.whole;
    // The user's own value, if it is also valid here.
    let fits = |schema: &&Json| is_plain(node) && holds_node(schema, node);
    let given = schema_at(setting.path).filter(fits).map(|_| source_text(node));
    let example = given.unwrap_or(setting.value);
    let mut table = match owner {
        Ok(table) => table,
        Err(kind) => {
            let text = nested(rest, example, whole);
            return Some(format!("write `{text}` in {kind}"));
        }
    };
    // Into tables that the file has already, if they accept it.
    let mut rest = rest;
    while rest.len() > 1 {
        let inner: Vec<&str> = table.iter().copied().chain([rest[0]]).collect();
        let found = inner.iter().try_fold(root, |node, step| node.get(step));
        let takes = |node: &Node| matches!(node.value, NodeValue::Table(_)) && has(&inner, node, rest[1]);
        if !found.is_some_and(takes) {
            break;
        }
        table = inner;
        rest = &rest[1..];
    }
    let whole_here = whole.filter(|(whole, _)| rest.len() > 1 && whole.ends_with(rest[0]));
    let text = nested(rest, example, whole_here);
    if !kinds_of(root, &table).any(|kind| takes(kind, &text)) {
        // Only tables of another kind accept it.
        let all = match steps[..] {
            [outer, "NAME", ..] => &merged()["properties"][outer]["additionalProperties"],
            _ => return None,
        };
        let text = nested(&steps[2..], example, whole);
        let kind = variants(all).find(|kind| takes(kind, &text))?;
        return Some(format!("write `{text}` in {}", described(steps[0], kind)));
    }
    Some(if table == path {
        format!("write `{text}`")
    } else if table.is_empty() {
        format!("write `{text}` at the top of the file")
    } else if let Some(below) = table.strip_prefix(path).filter(|_| !path.is_empty()) {
        format!("write `{text}` in `{}`", below.join("."))
    } else {
        format!("write `{text}` in `[{}]`", table.join("."))
    })
}

/// Whether a kind of table accepts a setting, written out.
fn takes(kind: &Json, text: &str) -> bool {
    let Some((key, value)) = text.split_once(" = ") else { return false };
    kind["properties"].get(key).is_some_and(|schema| holds(schema, value))
}

/// The kinds that a table of the file may have: one if the table says so, else all.
fn kinds_of<'a>(root: &'a Node, table: &'a [&'a str]) -> impl Iterator<Item = &'static Json> {
    let node = table.iter().try_fold(root, |node, step| node.get(step));
    let path = general(table).join(".");
    let schema = if path.is_empty() { Some(merged()) } else { schema_at(&path) };
    let defaults = table == ["defaults", "train"];
    schema.into_iter().flat_map(variants).filter(move |kind| match defaults {
        true => kind["properties"]["kind"]["const"] == "train",
        false => node.is_none_or(|node| fits(kind, node)),
    })
}

/// `augment = { horizontal_flip = 0.5 }`
fn nested(rest: &[&str], value: &str, whole: Option<(&str, &str)>) -> String {
    match (rest, whole) {
        ([only], _) => format!("{only} = {value}"),
        ([first, ..], Some((_, text))) => format!("{first} = {text}"),
        ([first, rest @ ..], None) => format!("{first} = {{ {} }}", nested(rest, value, None)),
        ([], _) => value.to_owned(),
    }
}

/// The table that accepts a key: the current one, else the first in the file; else the kind of table that would.
fn owner<'a>(root: &'a Node, path: &[&'a str], table: &'a str, key: &str) -> Result<Vec<&'a str>, String> {
    let kinds = &merged()["properties"][table]["additionalProperties"];
    let takes =
        |node: &Node| variants(kinds).any(|kind| fits(kind, node) && kind["properties"].get(key).is_some());
    let named = |name: &str| root.get(table).and_then(|tables| tables.get(name));
    match path {
        ["defaults", "train", ..] if table == "stage" => {
            let train = variants(kinds).find(|kind| kind["properties"]["kind"]["const"] == "train");
            if train.is_some_and(|train| train["properties"].get(key).is_some()) {
                return Ok(path[..2].to_vec());
            }
        }
        [first, name, ..] if *first == table && named(name).is_some_and(takes) => {
            return Ok(path[..2].to_vec());
        }
        _ => {}
    }
    let mut tables = root.get(table).map(Node::entries).unwrap_or_default().iter();
    if let Some((name, _)) = tables.find(|(_, node)| takes(node)) {
        return Ok(vec![table, name.as_str()]);
    }
    let kind = variants(kinds).find(|kind| kind["properties"].get(key).is_some());
    Err(kind.map_or_else(|| described(table, &Json::Null), |kind| described(table, kind)))
}

/// `a data set with `format = "csv"``
fn described(table: &str, kind: &Json) -> String {
    let what = match table {
        "data" => "a data set",
        "model" => "a model",
        _ => "a stage",
    };
    let mut properties = kind["properties"].as_object().into_iter().flatten();
    let tag =
        properties.find_map(|(key, property)| Some(format!("`{key} = \"{}\"`", property["const"].as_str()?)));
    tag.map_or_else(|| what.to_owned(), |tag| format!("{what} with {tag}"))
}

/// Whether the table at that path of the file may have a key.
fn has(path: &[&str], node: &Node, key: &str) -> bool {
    let Some(schema) = schema_at(&general(path).join(".")) else { return false };
    let tables: Vec<&Json> = variants(schema).filter(|kind| kind["properties"].is_object()).collect();
    tables.iter().any(|kind| fits(kind, node) && kind["properties"].get(key).is_some())
}

/// The schema of the setting at a general path, in any kind of table that has it.
fn schema_at(path: &str) -> Option<&'static Json> {
    fn below<'a>(schema: &'a Json, steps: &[&str]) -> Option<&'a Json> {
        let [step, rest @ ..] = steps else { return Some(schema) };
        if *step == "NAME" {
            return below(&schema["additionalProperties"], rest);
        }
        variants(schema).find_map(|kind| below(kind["properties"].get(*step)?, rest))
    }
    below(merged(), &path.split('.').collect::<Vec<_>>())
}

/// Whether a schema accepts a text as a value.
fn holds(schema: &Json, text: &str) -> bool {
    let source = Arc::new(SourceText::new("", text));
    let mut diagnostics = Vec::new();
    let node = document::parse_value(&source, 0, &mut diagnostics);
    diagnostics.is_empty() && node.is_ok_and(|node| holds_node(schema, &node))
}

fn holds_node(schema: &Json, node: &Node) -> bool {
    let mut diagnostics = Vec::new();
    schema_check::check(schema, node, "value", &mut diagnostics);
    diagnostics.is_empty()
}

fn is_plain(node: &Node) -> bool {
    !matches!(node.value, NodeValue::Table(_) | NodeValue::Invalid) && source_text(node).len() <= 40
}

fn source_text(node: &Node) -> &str {
    node.place.source.text.get(node.place.range.clone()).unwrap_or_default()
}

/// `sgd` of `{ kind = "sgd", lr = 0.1 }`.
fn kind_of(example: &str) -> Option<&str> {
    example.strip_prefix("{ kind = \"")?.split_once('"').map(|(kind, _)| kind)
}

/// An example with the user's number in place of its first number.
fn with_number(example: &str, node: &Node) -> Option<String> {
    if !matches!(node.value, NodeValue::Integer(_) | NodeValue::Float(_)) {
        return None;
    }
    let start = example.find(|c: char| c.is_ascii_digit())?;
    let end = start + example[start..].find([' ', ',', ']'])?;
    Some(format!("{}{}{}", &example[..start], source_text(node), &example[end..]))
}
