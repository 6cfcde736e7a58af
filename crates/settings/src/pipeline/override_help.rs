//! Incomplete paths of settings, such as `epochs` for `stage.frozen.epochs`.

use serde_json::Value as Json;

use super::document::Node;
use super::schema::merged;
use super::suggest;

/// The most full paths that are suggested.
const SHOWN: usize = 4;

/// Full paths for a path whose first name is not at the top of any file.
pub fn help(root: &Node, path: &[&str]) -> Option<String> {
    let first = path.first()?;
    if merged()["properties"].get(first).is_some() {
        return None;
    }
    let mut whole = written(root, path);
    if whole.is_empty() {
        whole = possible(root, path);
    }
    match &whole[..] {
        [] => None,
        [only] => Some(format!("did you mean `{only}`?")),
        several => {
            let shown = suggest::list(several.iter().take(SHOWN).map(String::as_str));
            Some(format!("write the full path, such as {shown}"))
        }
    }
}

/// The settings of the file whose paths end with this path.
fn written(root: &Node, path: &[&str]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    root.visit(&mut Vec::new(), &mut |whole, _| {
        if found.len() <= SHOWN && whole.len() > path.len() && whole.ends_with(path) {
            let joined = whole.join(".");
            if !found.contains(&joined) {
                found.push(joined);
            }
        }
    });
    found
}

/// Full paths that the file could have: in `run`, or in one of its data sets, models and stages, with or without their
/// name.
fn possible(root: &Node, path: &[&str]) -> Vec<String> {
    let rest = path.join(".");
    let has = |schema: &Json| schema["properties"].get(path[0]).is_some();
    let properties = &merged()["properties"];
    let mut found: Vec<String> = has(&properties["run"]).then(|| format!("run.{rest}")).into_iter().collect();
    for table in ["data", "model", "stage"] {
        for (name, node) in root.get(table).map(Node::entries).unwrap_or_default() {
            if name == path[0] {
                found.push(format!("{table}.{rest}"));
            } else if variants(&properties[table]["additionalProperties"])
                .any(|kind| fits(kind, node) && has(kind))
            {
                found.push(format!("{table}.{name}.{rest}"));
            }
        }
    }
    found
}

/// The kinds of table that a schema accepts.
pub fn variants(schema: &Json) -> impl Iterator<Item = &Json> {
    let several = schema["oneOf"].as_array();
    several.into_iter().flatten().chain(several.is_none().then_some(schema))
}

/// Whether a table is of a kind, by its `kind` or `format`.
pub fn fits(kind: &Json, node: &Node) -> bool {
    let constants = kind["properties"].as_object().into_iter().flatten();
    let mut constants = constants.filter_map(|(key, property)| Some((key, property["const"].as_str()?)));
    constants.all(|(key, constant)| node.get(key).and_then(Node::text) == Some(constant))
}
