//! The graph of stages, formed by `from`, `ensemble` and teachers.

use std::collections::{HashMap, HashSet, VecDeque};

use super::diagnostics::{Diagnostic, brief};
use super::document::Node;
use super::stage::{CheckpointKind, Parent};
use super::suggest;
use super::unchecked::UncheckedPipeline;

/// The stages of a file with their kinds.
pub struct StageKinds<'a> {
    by_name: HashMap<&'a str, Option<&'a str>>,
    names: Vec<&'a str>,
}

impl<'a> FromIterator<(&'a str, Option<&'a str>)> for StageKinds<'a> {
    fn from_iter<T: IntoIterator<Item = (&'a str, Option<&'a str>)>>(stages: T) -> Self {
        let stages: Vec<_> = stages.into_iter().collect();
        Self { names: stages.iter().map(|(name, _)| *name).collect(), by_name: stages.into_iter().collect() }
    }
}

/// Checks every reference to a stage: the stage exists, it has the requested weights, and its name has the right form
/// for its kind.
pub fn check(draft: &mut UncheckedPipeline) {
    let entries = draft.entries("stage");
    let kinds = entries.iter().map(|(name, node)| (name.as_str(), node.get("kind").and_then(Node::text)));
    let stages: StageKinds = kinds.collect();
    for (_, node) in entries {
        for StageReference { node: place, text, role } in references(node) {
            for (code, message, help) in problems(draft, &stages, text, role) {
                draft.diagnostics.push(Diagnostic::new(&place.place, code, message).help(help));
            }
        }
    }
    for circle in circles(entries) {
        let (name, node) = &entries[circle[0]];
        let names: Vec<&str> = circle.iter().map(|place| entries[*place].0.as_str()).collect();
        let next = names.get(1).unwrap_or(&names[0]);
        let leads = references(node).into_iter().find(|reference| reference.stage() == *next);
        let place = leads.map_or(node.span(), |reference| &reference.node.place);
        let way = match &names[..] {
            [first, second, .., last] if names.len() > MOST_SHOWN => {
                format!("{first} → {second} → … → {last}")
            }
            _ => names.join(" → "),
        };
        let message = format!("`{name}` depends on itself: {way} → {name}");
        let help = "let one of these stages start from another stage".to_owned();
        draft.diagnostics.push(Diagnostic::new(place, "cycle", message).help(help));
    }
}

/// Of a longer cycle only the ends are shown.
const MOST_SHOWN: usize = 12;

/// A reference to a stage, with its place.
struct StageReference<'a> {
    node: &'a Node,
    text: &'a str,
    role: WeightsUse,
}

/// What the weights of a stage are used for.
#[derive(Clone, Copy, PartialEq)]
pub enum WeightsUse {
    /// To continue from, or to evaluate.
    Start,
    /// As one of several models whose predictions are averaged.
    Member,
    /// As a teacher.
    Teacher,
}

impl StageReference<'_> {
    fn stage(&self) -> &str {
        self.text.split_once('@').map_or(self.text, |(stage, _)| stage)
    }
}

/// All references of a stage.
fn references(stage: &Node) -> Vec<StageReference<'_>> {
    let from = stage.get("from").into_iter().map(|node| (node, WeightsUse::Start));
    let averaged = stage.get("average").map(Node::items).unwrap_or_default();
    let averaged = averaged.iter().map(|node| (node, WeightsUse::Start));
    let members = stage.get("ensemble").map(Node::items).unwrap_or_default();
    let members = members.iter().map(|node| (node, WeightsUse::Member));
    let teacher = stage.get("distill").and_then(|distill| distill.get("teacher"));
    let teacher = teacher.into_iter().map(|node| (node, WeightsUse::Teacher));
    from.chain(averaged)
        .chain(members)
        .chain(teacher)
        .filter_map(|(node, role)| Some(StageReference { node, text: node.text()?, role }))
        .collect()
}

/// A code, a message, and how to fix it.
pub type ReferenceProblem = (&'static str, String, Option<String>);

/// Checks a reference to a stage of the file.
pub fn problems(
    draft: &UncheckedPipeline,
    stages: &StageKinds,
    text: &str,
    role: WeightsUse,
) -> Vec<ReferenceProblem> {
    let (stage, word) = text.split_once('@').map_or((text, None), |(stage, word)| (stage, Some(word)));
    let mut problems = Vec::new();
    match stages.by_name.get(stage) {
        None => {
            let enough = suggest::has_many_errors(&draft.diagnostics);
            let help = || suggest::help(stage, "stages", stages.names.iter().copied());
            let help = if enough { None } else { help() };
            problems.push(("unknown-stage", format!("unknown stage `{}`", brief(stage)), help));
        }
        Some(kind) => {
            if let Some(parent) = Parent::parse(text) {
                problems.extend(kind.and_then(|kind| mismatch(draft, kind, parent, role)));
            }
        }
    }
    if let (None, Some(word)) = (Parent::parse(text), word) {
        let help = suggest::help(word, "valid checkpoints", ["best", "last"]);
        problems.push(("unknown-checkpoint", format!("unknown checkpoint `@{word}`"), help));
    }
    problems
}

/// Checks that a stage of that kind has the requested weights.
fn mismatch(
    draft: &UncheckedPipeline,
    kind: &str,
    Parent { stage, checkpoint }: Parent,
    role: WeightsUse,
) -> Option<ReferenceProblem> {
    let validated = draft.parts_of(stage).map(|parts| parts.validation);
    match (kind, checkpoint) {
        ("load_weights" | "init_weights", _) if role == WeightsUse::Member => {
            let message = format!("`{stage}` is not a train stage, and an ensemble needs train stages");
            Some(("not-trained", message, Some("name a train stage, such as `frozen@best`".into())))
        }
        ("init_weights", None) if role == WeightsUse::Teacher => {
            let message = format!("`{stage}` has random weights, so it cannot be a teacher");
            Some(("not-trained", message, Some("name a train stage, such as `teacher@best`".into())))
        }
        ("evaluate", _) => {
            let message = format!("`{stage}` is an evaluate stage, which has no weights");
            Some(("no-weights", message, Some(format!("name the stage that `{stage}` evaluates"))))
        }
        ("train", None) => {
            let help = match validated {
                Some(false) => format!("write `{stage}@last`"),
                _ => format!("write `{stage}@best` or `{stage}@last`"),
            };
            let message = format!("`{stage}` is a train stage: choose its best or last weights");
            Some(("missing-checkpoint", message, Some(help)))
        }
        ("train", Some(CheckpointKind::Best)) if validated == Some(false) => {
            let message = format!("`{stage}` has no validation split, so it has no best epoch");
            let help = format!("write `{stage}@last`, or hold out images with `split.validation`");
            Some(("no-validation", message, Some(help)))
        }
        ("load_weights" | "init_weights", Some(_)) => {
            let message = format!("`{stage}` is not a train stage, so it has no best or last epoch");
            Some(("needless-checkpoint", message, Some(format!("write `{stage}`"))))
        }
        _ => None,
    }
}

/// The stages that depend on themselves, as positions. For each group of such stages, the shortest cycle through the
/// stage that comes first in the file.
fn circles(stages: &[(String, Node)]) -> Vec<Vec<usize>> {
    let places: HashMap<&str, usize> =
        stages.iter().enumerate().map(|(place, (name, _))| (name.as_str(), place)).collect();
    let above: Vec<Vec<usize>> = stages
        .iter()
        .map(|(_, node)| references(node).iter().filter_map(|r| places.get(r.stage()).copied()).collect())
        .collect();
    let mut left = cyclic_stages(&above);
    let mut circles = Vec::new();
    for first in 0..stages.len() {
        if let Some(circle) = left[first].then(|| shortest(first, &above, &left)).flatten() {
            // Other cycles of the group add no information.
            reachable(first, &above, &left).into_iter().for_each(|place| left[place] = false);
            circles.push(circle);
        }
    }
    circles
}

/// The stages on a cycle or between two cycles. Stages without parents, then those without children, are removed until
/// none is left to remove.
fn cyclic_stages(above: &[Vec<usize>]) -> Vec<bool> {
    let mut below: Vec<Vec<usize>> = vec![Vec::new(); above.len()];
    for (place, parents) in above.iter().enumerate() {
        parents.iter().for_each(|parent| below[*parent].push(place));
    }
    let mut left = vec![true; above.len()];
    for (up, down) in [(above, &below[..]), (&below[..], above)] {
        let alive = |place: &usize| left[*place];
        let mut waits: Vec<usize> = up.iter().map(|list| list.iter().filter(|p| alive(p)).count()).collect();
        let mut free: Vec<usize> = (0..up.len()).filter(|place| alive(place) && waits[*place] == 0).collect();
        while let Some(place) = free.pop() {
            left[place] = false;
            for &next in &down[place] {
                waits[next] = waits[next].saturating_sub(1);
                if left[next] && waits[next] == 0 {
                    free.push(next);
                }
            }
        }
    }
    left
}

/// The shortest path from a stage up to itself, if there is one.
fn shortest(first: usize, above: &[Vec<usize>], left: &[bool]) -> Option<Vec<usize>> {
    let mut from: HashMap<usize, usize> = HashMap::new();
    let mut queue = VecDeque::from([first]);
    while let Some(place) = queue.pop_front() {
        for &next in above[place].iter().filter(|next| left[**next]) {
            if next == first {
                let mut circle = vec![place];
                while let Some(before) = from.get(&circle[circle.len() - 1]) {
                    circle.push(*before);
                }
                circle.reverse();
                return Some(circle);
            }
            if let std::collections::hash_map::Entry::Vacant(slot) = from.entry(next) {
                slot.insert(place);
                queue.push_back(next);
            }
        }
    }
    None
}

/// The parents of a stage, and the stage, among those that are left.
fn reachable(first: usize, above: &[Vec<usize>], left: &[bool]) -> HashSet<usize> {
    let mut found = HashSet::from([first]);
    let mut next = vec![first];
    while let Some(place) = next.pop() {
        next.extend(above[place].iter().copied().filter(|parent| left[*parent] && found.insert(*parent)));
    }
    found
}
