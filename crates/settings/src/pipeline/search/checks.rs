//! What a search cannot do, and why.

use std::collections::BTreeSet;

use super::super::diagnostics::Diagnostic;
use super::super::document::{Node, NodeValue};
use super::super::source_text::Span;
use super::super::stage::Parent;
use super::super::unchecked::UncheckedPipeline;
use super::super::{Monitor, label_checks, suggest};

fn key_of(node: &Node) -> &Span {
    node.key.as_ref().unwrap_or(&node.place)
}

fn report(
    diagnostics: &mut Vec<Diagnostic>,
    place: &Span,
    code: &'static str,
    message: String,
    help: impl Into<Option<String>>,
) {
    diagnostics.push(Diagnostic::new(place, code, message).help(help));
}

/// Without quotes, a path is a table in a table.
pub fn unquoted(node: &Node, diagnostics: &mut Vec<Diagnostic>) {
    for (key, table) in node.get("space").map(Node::entries).unwrap_or_default() {
        let inner = table.entries().first();
        let nested = inner.is_some_and(|(_, inner)| matches!(inner.value, NodeValue::Table(_)));
        if nested && !key.contains('.') {
            let (mut path, mut at) = (key.clone(), table);
            while let Some((key, inner)) = at.entries().first() {
                if !matches!(inner.value, NodeValue::Table(_)) {
                    break;
                }
                path += &format!(".{key}");
                at = inner;
            }
            let message = format!("`{key}` is not the path of a setting");
            report(
                diagnostics,
                key_of(table),
                "unknown-key",
                message,
                format!("quote the path: `\"{path}\" = …`"),
            );
        }
    }
}

/// The train stage that is ranked.
pub fn stage(node: &Node, draft: &UncheckedPipeline, diagnostics: &mut Vec<Diagnostic>) -> Option<String> {
    let is_train = |stage: &Node| stage.get("kind").and_then(Node::text) == Some("train");
    let stages = draft.entries("stage");
    let trained = || stages.iter().filter(|(_, stage)| is_train(stage)).map(|(name, _)| name.as_str());
    let Some(asked) = node.get("stage") else {
        let last = trained().next_back();
        if last.is_none() {
            let message = "a search needs a train stage, and the file has none".to_owned();
            report(diagnostics, node.span(), "conflict", message, None);
        }
        return last.map(str::to_owned);
    };
    let name = asked.text()?;
    if trained().any(|stage| stage == name) {
        return Some(name.to_owned());
    }
    let (code, message) = match stages.iter().any(|(stage, _)| stage == name) {
        true => ("conflict", format!("`{name}` is not a train stage")),
        false => ("unknown-stage", format!("unknown stage `{name}`")),
    };
    report(diagnostics, &asked.place, code, message, suggest::help(name, "the train stages are", trained()));
    None
}

/// The metric of the ranking. It is measured on validation images, which the stage must have.
pub fn metric(
    node: &Node,
    draft: &UncheckedPipeline,
    stage: &str,
    diagnostics: &mut Vec<Diagnostic>,
) -> Monitor {
    let own = draft.read(&format!("stage.{stage}.monitor")).unwrap_or_default();
    if draft.parts_of(stage).is_some_and(|parts| !parts.validation) {
        let message =
            format!("samples are ranked on validation images, but the data set of `{stage}` has none");
        let help = "add a validation split, such as `split = { validation = 0.2 }`".to_owned();
        report(diagnostics, node.span(), "no-validation", message, help);
    }
    let Some(asked) = node.get("metric") else { return own };
    let metric: Monitor = serde_json::from_value(asked.to_json()).unwrap_or(own);
    if draft.label_kind(stage).is_some_and(|kind| !label_checks::monitored(metric).contains(&kind)) {
        let message =
            format!("`validation/{}` is not measured for the annotations of `{stage}`", metric.score());
        let help = format!("use a metric that `monitor` of `{stage}` may name");
        report(diagnostics, &asked.place, "conflict", message, help);
    }
    metric
}

/// Each rung trains for more epochs than the one before, and the last for all.
pub fn rungs(
    node: &Node,
    draft: &UncheckedPipeline,
    stage: &str,
    early: &[(u32, &Node)],
    diagnostics: &mut Vec<Diagnostic>,
) {
    let all = draft.get(&format!("stage.{stage}.epochs")).map(|node| &node.value);
    let mut before = 0;
    for (epochs, at) in early {
        if *epochs <= before {
            let message = format!("this rung must have more epochs than the one before, which has {before}");
            report(
                diagnostics,
                &at.place,
                "conflict",
                message,
                "list the rungs in ascending order".to_owned(),
            );
        }
        before = *epochs;
        if let Some(NodeValue::Integer(all)) = all
            && i64::from(*epochs) >= *all
        {
            let message = format!(
                "this rung must have fewer epochs than the last, which trains the {all} of `{stage}`"
            );
            let help = format!("remove it, or raise `epochs` of `{stage}`");
            report(diagnostics, &at.place, "conflict", message, help);
        }
    }
    let samples = node.get("samples").map(|node| (&node.value, &node.place));
    let eta = node.get("halving").and_then(|halving| halving.get("eta")).map(|node| &node.value);
    if let (Some((NodeValue::Integer(samples), place)), false) = (samples, early.is_empty()) {
        let eta = if let Some(NodeValue::Integer(eta)) = eta { *eta } else { 3 };
        if *samples < eta {
            let message = format!(
                "with {samples} samples and `eta = {eta}`, nothing is left to rank after the first rung"
            );
            report(
                diagnostics,
                place,
                "conflict",
                message,
                "draw more samples, or set a smaller `eta`".to_owned(),
            );
        }
    }
}

/// Whether a search may draw a setting.
pub fn setting(
    path: &str,
    table: &Node,
    draft: &UncheckedPipeline,
    stage: &str,
    metric: Monitor,
    node: &Node,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let words: Vec<&str> = path.split('.').map(|word| word.split('[').next().unwrap_or(word)).collect();
    let refusal = match &words[..] {
        ["name", ..] => {
            Some(("all runs of a search have the same name", "remove it: runs of a search differ by label"))
        }
        ["run", ..] => Some(("`run` settings change no result, so a search cannot rank them", "remove it")),
        ["extends" | "matrix" | "search", ..] => {
            Some(("a search cannot change `extends`, `[[matrix]]` or itself", "remove it"))
        }
        ["seed"] => Some((
            "a search over the seed selects luck",
            "repeat the best settings with other seeds: `[[matrix]]` with `path = \"seed\"`",
        )),
        ["data" | "model" | "stage" | "defaults"] => {
            Some(("this would replace a whole table", "quote the path: `\"model.net.arch\" = …`"))
        }
        ["data", _, "split" | "root" | "file" | "classes" | "format", ..] => Some((
            "with other images or classes, the metric of two samples cannot be compared",
            "draw settings of the model, the stages or the preprocessing",
        )),
        ["stage", other, "monitor"] if *other == stage => {
            Some(("the ranking needs the same `@best` for all samples", "set one `monitor`"))
        }
        ["stage", other, "loss", ..] if *other == stage && metric == Monitor::ValidationLoss => Some((
            "samples with different losses cannot be ranked by `validation/loss`",
            "set `metric` in `[search]` to a score, which does not depend on the loss",
        )),
        ["stage", other, "epochs"] if *other == stage && node.get("halving").is_some() => {
            Some(("the rungs set the epochs of this stage", "remove it, or remove `[search.halving]`"))
        }
        _ => None,
    };
    if let Some((message, help)) = refusal {
        return report(diagnostics, key_of(table), "bad-path", message.to_owned(), help.to_owned());
    }
    if let ["stage", other, ..] = &words[..]
        && draft.get(&format!("stage.{other}")).is_some()
        && !above(draft, stage).contains(*other)
    {
        let message =
            format!("`{other}` is not above `{stage}`, so this setting does not change the ranking");
        let help = format!("remove it, or rank another stage: `stage = \"{other}\"` in `[search]`");
        report(diagnostics, key_of(table), "bad-path", message, help);
    }
}

/// A stage and those that it reads, directly or not.
fn above(draft: &UncheckedPipeline, stage: &str) -> BTreeSet<String> {
    let (mut all, mut next) = (BTreeSet::new(), vec![stage.to_owned()]);
    while let Some(name) = next.pop() {
        if !all.insert(name.clone()) {
            continue;
        }
        let Some(node) = draft.get(&format!("stage.{name}")) else { continue };
        let own = ["from", "teacher", "average", "ensemble"].into_iter().filter_map(|key| node.get(key));
        let taught = node.get("distill").and_then(|distill| distill.get("teacher"));
        for source in own.chain(taught) {
            let texts = source.items().iter().filter_map(Node::text).chain(source.text());
            next.extend(texts.filter_map(|text| Some(Parent::parse(text)?.stage.to_owned())));
        }
    }
    all
}
