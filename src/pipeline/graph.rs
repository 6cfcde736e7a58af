//! The graph that stages form through `from`, `ensemble` and teachers.

use std::collections::VecDeque;

use super::diagnostics::Diagnostic;
use super::document::Node;
use super::draft::Draft;
use super::stage::{Checkpoint, Parent};
use super::suggest;

/// Checks every reference to a stage: that it exists, has the weights that are asked of it, and is named the way its
/// kind asks for.
pub fn check(draft: &mut Draft) {
    let stages: Vec<(String, Option<&str>)> = draft.entries("stage").iter().map(head).collect();
    for (name, node) in draft.entries("stage") {
        for Reference { node: place, text, role } in references(node) {
            for (code, message, help) in problems(draft, &stages, text, role) {
                draft.diagnostics.push(Diagnostic::new(&place.place, code, message).help(help));
            }
        }
        if let Some(circle) = circle(draft.root, name) {
            // One of a circle's stages speaks for all: the first in the file.
            let first = stages.iter().find(|(stage, _)| circle.contains(stage)).map(|(stage, _)| stage);
            if first == Some(name) {
                let next = circle.get(1).unwrap_or(name);
                let leads = references(node).into_iter().find(|reference| reference.stage() == next);
                let place = leads.map_or(node.mark(), |reference| &reference.node.place);
                let message = format!("`{name}` starts from itself: {} → {name}", circle.join(" → "));
                let help = "start one of them from another stage".to_owned();
                draft.diagnostics.push(Diagnostic::new(place, "cycle", message).help(help));
            }
        }
    }
}

/// A stage named by another one, where it stands.
struct Reference<'a> {
    node: &'a Node,
    text: &'a str,
    role: Role,
}

/// What the weights of a stage are wanted for.
#[derive(Clone, Copy, PartialEq)]
pub enum Role {
    /// To go on from, or to be measured.
    Start,
    /// To be one of several models whose predictions are averaged.
    Member,
    /// To teach another.
    Teacher,
}

impl Reference<'_> {
    fn stage(&self) -> &str {
        self.text.split_once('@').map_or(self.text, |(stage, _)| stage)
    }
}

/// All that a stage names.
fn references(stage: &Node) -> Vec<Reference<'_>> {
    let from = stage.get("from").into_iter().map(|node| (node, Role::Start));
    let members = stage.get("ensemble").map(Node::items).unwrap_or_default();
    let members = members.iter().map(|node| (node, Role::Member));
    let teacher = stage.get("distill").and_then(|distill| distill.get("teacher"));
    let teacher = teacher.into_iter().map(|node| (node, Role::Teacher));
    from.chain(members)
        .chain(teacher)
        .filter_map(|(node, role)| Some(Reference { node, text: node.text()?, role }))
        .collect()
}

fn head((name, node): &(String, Node)) -> (String, Option<&str>) {
    (name.clone(), node.get("kind").and_then(Node::text))
}

/// A code, a message, and the cure.
pub type Problem = (&'static str, String, Option<String>);

/// What is wrong with a reference to one of the stages of a file, which stand with their kinds.
pub fn problems(draft: &Draft, stages: &[(String, Option<&str>)], text: &str, role: Role) -> Vec<Problem> {
    let (stage, word) = text.split_once('@').map_or((text, None), |(stage, word)| (stage, Some(word)));
    let mut problems = Vec::new();
    match stages.iter().find(|(name, _)| name == stage) {
        None => {
            let help = suggest::help(stage, "stages", stages.iter().map(|(name, _)| name.as_str()));
            problems.push(("unknown-stage", format!("unknown stage `{stage}`"), help));
        }
        Some((_, kind)) => {
            if let Some(parent) = Parent::parse(text) {
                problems.extend(kind.and_then(|kind| mismatch(draft, kind, parent, role)));
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
fn mismatch(draft: &Draft, kind: &str, Parent { stage, checkpoint }: Parent, role: Role) -> Option<Problem> {
    let validated = draft.parts_of(stage).map(|parts| parts.validation);
    match (kind, checkpoint) {
        ("load_weights" | "init_weights", _) if role == Role::Member => {
            let message = format!("`{stage}` does not train, and an ensemble is of trained stages");
            Some(("not-trained", message, Some("name a train stage, such as `frozen@best`".into())))
        }
        ("init_weights", None) if role == Role::Teacher => {
            let message = format!("`{stage}` has random weights, of which nothing can be learnt");
            Some(("not-trained", message, Some("name a train stage, such as `teacher@best`".into())))
        }
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

/// The shortest way from `name` up to `name` again, if there is one.
fn circle(root: &Node, name: &str) -> Option<Vec<String>> {
    let stages = root.get("stage")?;
    let mut paths = VecDeque::from([vec![name.to_owned()]]);
    let mut seen = Vec::new();
    while let Some(path) = paths.pop_front() {
        for reference in path.last().and_then(|last| stages.get(last)).map(references).into_iter().flatten() {
            let next = reference.stage().to_owned();
            if next == name {
                return Some(path);
            }
            if !seen.contains(&next) {
                paths.push_back([&path[..], std::slice::from_ref(&next)].concat());
                seen.push(next);
            }
        }
    }
    None
}
