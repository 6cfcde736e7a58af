//! Merges `extends` and `[defaults]` into a file. Every setting keeps the place where it was written.

use std::path::Path;
use std::sync::Arc;

use super::RemoteWeights;
use super::diagnostics::Diagnostic;
use super::document::{self, Node, NodeValue};
use super::paths::{self, Variables};
use super::source_text::SourceText;
use super::unchecked::unnamed;

/// The settings that select which parameters train. They exclude each other, so a stage that sets one takes none of
/// them from the defaults.
pub const FREEZE_SETTINGS: [&str; 5] = ["freeze", "train", "freeze_first", "train_first", "train_last"];

/// Merges `root` over the file that `extends` names. Tables are merged; other values are replaced.
pub fn extend(
    root: Node,
    folder: &Path,
    variables: &mut Variables,
    diagnostics: &mut Vec<Diagnostic>,
) -> Node {
    let Some((target, place)) = root.get("extends").and_then(|node| Some((node.text()?, node.place.clone())))
    else {
        return root;
    };
    let expanded = match variables.expand(target) {
        Ok(expanded) => expanded,
        // Reported together with all other variables.
        Err(_) => return root,
    };
    let path = folder.join(&expanded);
    let text = match paths::read(&path) {
        Ok(text) => text,
        Err((problem, help)) => {
            let message = format!("cannot read `{expanded}`: {problem}");
            let help = help.map_or_else(|| paths::missing_help(folder, &expanded), str::to_owned);
            let code = if path.exists() { "unreadable" } else { "missing-file" };
            diagnostics.push(Diagnostic::new(&place, code, message).help(help));
            return root;
        }
    };
    let source = Arc::new(SourceText::new(path.display().to_string(), text));
    let mut base = document::parse(&source, diagnostics);
    if let Some(second) = base.get("extends") {
        let message = "an extended file cannot itself use `extends`";
        let help = format!("merge both files into `{expanded}`");
        diagnostics.push(Diagnostic::new(second.span(), "nested-extends", message).help(help));
    }
    if let Some(prefix) =
        Path::new(target).parent().and_then(Path::to_str).filter(|prefix| !prefix.is_empty())
    {
        rebase(&mut base, prefix, variables);
    }
    merge(base, root)
}

/// Makes the paths of an extended file relative to the file that extends it.
fn rebase(base: &mut Node, prefix: &str, variables: &mut Variables) {
    paths::for_each(base, &mut |text| {
        let is_whole = |path: &str| Path::new(path).is_absolute() || RemoteWeights::parse(path).is_some();
        if !variables.expand(text).is_ok_and(|expanded| is_whole(&expanded)) {
            *text = format!("{prefix}/{text}");
        }
    });
}

fn merge(base: Node, over: Node) -> Node {
    let value = match (base.value, over.value) {
        (NodeValue::Table(mut entries), NodeValue::Table(own)) => {
            for (key, node) in own.into_list() {
                match entries.get_mut(&key) {
                    Some(slot) => {
                        let empty = Node { key: None, place: node.place.clone(), value: NodeValue::Invalid };
                        *slot = merge(std::mem::replace(slot, empty), node);
                    }
                    None => {
                        entries.push(key, node);
                    }
                }
            }
            NodeValue::Table(entries)
        }
        (_, value) => value,
    };
    Node { key: over.key, place: over.place, value }
}

/// Gives every train stage the settings of `[defaults.train]` that it does not set, and every stage the data set and the
/// model of `[defaults]` that it does not name. Tables replace whole.
pub fn apply_defaults(root: &mut Node) {
    apply_train_defaults(root);
    for (what, kinds) in [("data", &ALL_KINDS[..]), ("model", &ALL_KINDS[..2])] {
        let named = root.get("defaults").and_then(|defaults| defaults.get(what)).cloned();
        let (Some(named), Some(Node { value: NodeValue::Table(stages), .. })) =
            (named, root.get_mut("stage"))
        else {
            continue;
        };
        for (_, stage) in stages.iter_mut() {
            let takes = stage.get("kind").and_then(Node::text).is_some_and(|kind| kinds.contains(&kind));
            let lacks = stage.get(what).is_none();
            if let (true, true, NodeValue::Table(settings)) = (takes, lacks, &mut stage.value) {
                settings.push(what.to_owned(), named.clone());
            }
        }
    }
}

/// Gives every evaluation that has no `split` that of its data set, if all images of it are in one.
pub fn apply_splits(root: &mut Node) {
    let data = root.get("data").cloned();
    let tables = data.as_ref().map(Node::entries).unwrap_or_default();
    let Some(Node { value: NodeValue::Table(stages), .. }) = root.get_mut("stage") else { return };
    for (_, stage) in stages.iter_mut() {
        let searches =
            |side: &str| stage.get("identification").is_some_and(|table| table.get(side).is_some());
        // A search that names two splits has no use for the stage's own.
        let names_both = searches("gallery") && searches("query") && stage.get("verification").is_none();
        let is_open = stage.get("kind").and_then(Node::text) == Some("evaluate")
            && stage.get("split").is_none()
            && !names_both;
        let name = match stage.get("data") {
            Some(named) => named.text(),
            None => unnamed(tables),
        };
        let table = name.and_then(|name| tables.iter().find(|(table, _)| table == name));
        let split = table.and_then(|(_, table)| table.get("split")?.get("all"));
        if let (true, Some(split), NodeValue::Table(settings)) = (is_open, split.cloned(), &mut stage.value) {
            settings.push("split".to_owned(), Node { key: None, ..split });
        }
    }
}

/// The kinds of stages; the first two create a model.
const ALL_KINDS: [&str; 4] = ["load_weights", "init_weights", "train", "evaluate"];

fn apply_train_defaults(root: &mut Node) {
    let defaults = root.get("defaults").and_then(|defaults| defaults.get("train")).cloned();
    let (Some(defaults), Some(Node { value: NodeValue::Table(stages), .. })) =
        (defaults, root.get_mut("stage"))
    else {
        return;
    };
    for (_, stage) in stages.iter_mut() {
        if stage.get("kind").and_then(Node::text) != Some("train") {
            continue;
        }
        let says_who_trains = FREEZE_SETTINGS.iter().any(|key| stage.get(key).is_some());
        let NodeValue::Table(settings) = &mut stage.value else { continue };
        for (key, value) in defaults.entries() {
            let own = settings.get(key).is_some();
            let excluded = says_who_trains && FREEZE_SETTINGS.contains(&key.as_str());
            // These two make a table a stage; the schema refuses them in the defaults.
            let never = key == "kind" || key == "from";
            if !own && !excluded && !never {
                settings.push(key.clone(), value.clone());
            }
        }
    }
}
