//! The graph that stages form through `from`.

use super::diagnostics::Diagnostic;
use super::document::Node;
use super::draft::Draft;
use super::stage::{Checkpoint, Parent};
use super::suggest;

/// Checks every `from`: that its stage exists, has weights to start from, and is named the way its kind asks for.
pub fn check(draft: &mut Draft) {
    let stages: Vec<(String, Option<&str>)> = draft.entries("stage").iter().map(head).collect();
    for (name, node) in draft.entries("stage") {
        if let Some(from) = node.get("from")
            && let Some(text) = from.text()
        {
            for (code, message, help) in problems(draft, &stages, text) {
                draft.diagnostics.push(Diagnostic::new(&from.place, code, message).help(help));
            }
        }
        if let Some(circle) = circle(draft.root, name) {
            // One of a circle's stages speaks for all: the first in the file.
            let first = stages.iter().find(|(stage, _)| circle.contains(stage)).map(|(stage, _)| stage);
            if first == Some(name) {
                let place = &draft.root.nearest(&format!("stage.{name}.from")).place;
                let message = format!("`{name}` starts from itself: {} → {name}", circle.join(" → "));
                let help = "start one of them from another stage".to_owned();
                draft.diagnostics.push(Diagnostic::new(place, "cycle", message).help(help));
            }
        }
    }
}

fn head((name, node): &(String, Node)) -> (String, Option<&str>) {
    (name.clone(), node.get("kind").and_then(Node::text))
}

type Problem = (&'static str, String, Option<String>);

fn problems(draft: &Draft, stages: &[(String, Option<&str>)], text: &str) -> Vec<Problem> {
    let (stage, word) = text.split_once('@').map_or((text, None), |(stage, word)| (stage, Some(word)));
    let mut problems = Vec::new();
    match stages.iter().find(|(name, _)| name == stage) {
        None => {
            let help = suggest::help(stage, "stages", stages.iter().map(|(name, _)| name.as_str()));
            problems.push(("unknown-stage", format!("unknown stage `{stage}`"), help));
        }
        Some((_, kind)) => {
            if let Some(parent) = Parent::parse(text) {
                problems.extend(kind.and_then(|kind| mismatch(draft, kind, parent)));
            }
        }
    }
    if let (None, Some(word)) = (Parent::parse(text), word) {
        let help = suggest::help(word, "after `@` stands one of", ["best", "last"]);
        problems.push(("unknown-checkpoint", format!("unknown checkpoint `@{word}`"), help));
    }
    problems
}

/// Whether a stage of that kind has the weights that are asked of it.
fn mismatch(draft: &Draft, kind: &str, Parent { stage, checkpoint }: Parent) -> Option<Problem> {
    let validated = draft.split_of(stage).map(|split| split.has_validation());
    match (kind, checkpoint) {
        ("evaluate", _) => {
            let message = format!("`{stage}` evaluates and has no weights to start from");
            Some(("no-weights", message, Some("name the stage that it evaluates".into())))
        }
        ("train", None) => {
            let help = match validated {
                Some(false) => format!("write `{stage}@last`"),
                _ => format!("write `{stage}@best` or `{stage}@last`"),
            };
            let message = format!("`{stage}` trains: say which of its weights");
            Some(("missing-checkpoint", message, Some(help)))
        }
        ("train", Some(Checkpoint::Best)) if validated == Some(false) => {
            let message = format!("`{stage}` has no validation split, so none of its epochs is the best");
            let help = format!("write `{stage}@last`, or hold out images with `split.validation`");
            Some(("no-validation", message, Some(help)))
        }
        ("load_weights" | "init_weights", Some(_)) => {
            let message = format!("`{stage}` does not train: it has no best or last epoch");
            Some(("needless-checkpoint", message, Some(format!("write `{stage}`"))))
        }
        _ => None,
    }
}

fn parent<'a>(root: &'a Node, name: &str) -> Option<&'a str> {
    let from = root.get("stage")?.get(name)?.get("from")?.text()?;
    Some(from.split_once('@').map_or(from, |(stage, _)| stage))
}

/// The stages from `name` up to `name` again.
fn circle(root: &Node, name: &str) -> Option<Vec<String>> {
    let mut path = vec![name.to_owned()];
    loop {
        let next = parent(root, path.last()?)?;
        if next == name {
            return Some(path);
        }
        if path.iter().any(|seen| seen == next) {
            return None;
        }
        path.push(next.to_owned());
    }
}
