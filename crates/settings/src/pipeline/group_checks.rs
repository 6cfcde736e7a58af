//! Checks of parameter groups and of `unfreeze` that no schema can express.

use super::document::Node;
use super::semantic_checks::pattern_list;
use super::unchecked::UncheckedPipeline;
use super::{Group, Rates, Unfreeze};

/// Checks the `groups` and `unfreeze` entries of the train stage at `path`.
pub fn check(draft: &mut UncheckedPipeline, path: &str) {
    let groups = draft.get(&format!("{path}.groups")).map(Node::items).unwrap_or_default();
    for (index, group) in groups.iter().enumerate() {
        if let Ok(group) = serde_json::from_value(group.to_json()) {
            parameter_group(draft, &format!("{path}.groups[{index}]"), &group);
        }
    }
    unfreeze(draft, path);
}

fn parameter_group(draft: &mut UncheckedPipeline, path: &str, group: &Group) {
    pattern_list(draft, &format!("{path}.match"), &group.patterns);
    one_rate(draft, path, group.rates());
    if group.rates().is_empty() {
        let message = "this group has no effect".to_owned();
        let help = "set `lr`, `lr_scale`, `weight_decay` or `warmup_epochs`".to_owned();
        draft.report(draft.span(path), "no-effect", message, help);
    }
}

fn one_rate(draft: &mut UncheckedPipeline, path: &str, rates: Rates) {
    if rates.lr.is_some() && rates.lr_scale.is_some() {
        let message = "`lr` and `lr_scale` both set the learning rate".to_owned();
        let place = draft.key_span(&format!("{path}.lr_scale"));
        draft.report(place, "conflict", message, "keep one of them".to_owned());
    }
}

/// Checks each entry, and that the entries follow one another within the stage.
fn unfreeze(draft: &mut UncheckedPipeline, path: &str) {
    let entries = draft.get(&format!("{path}.unfreeze")).map(Node::items).unwrap_or_default();
    let entries: Vec<Option<Unfreeze>> =
        entries.iter().map(|entry| serde_json::from_value(entry.to_json()).ok()).collect();
    let epochs: Option<u32> = draft.read(&format!("{path}.epochs"));
    let mut before = 0;
    for (index, entry) in entries.iter().enumerate() {
        let Some(entry) = entry else { continue };
        let path = format!("{path}.unfreeze[{index}]");
        joining(draft, &path, entry);
        let left = epochs.map(|epochs| f64::from(epochs.saturating_sub(entry.after_epochs)));
        if let (Some(warmup), Some(left)) = (entry.warmup_epochs, left.filter(|left| *left > 0.0))
            && warmup > left
        {
            let message =
                format!("the warmup ({warmup} epochs) is longer than the rest of the stage ({left} epochs)");
            let place = draft.span(&format!("{path}.warmup_epochs"));
            draft.report(place, "conflict", message, "shorten `warmup_epochs`, or raise `epochs`".to_owned());
        }
        let place = draft.span(&format!("{path}.after_epochs"));
        if epochs.is_some_and(|epochs| entry.after_epochs >= epochs) {
            let message = format!("`after_epochs` is {}, but the stage is over by then", entry.after_epochs);
            draft.report(place, "conflict", message, "lower `after_epochs`, or raise `epochs`".to_owned());
        } else if (1..=before).contains(&entry.after_epochs) {
            let message =
                format!("`after_epochs` must be greater than in the entry before, which has {before}");
            let help = "sort the entries, and merge entries for the same epoch; `groups` can set different learning rates";
            draft.report(place, "conflict", message, help.to_owned());
        }
        before = before.max(entry.after_epochs);
    }
}

fn joining(draft: &mut UncheckedPipeline, path: &str, entry: &Unfreeze) {
    if let Some(patterns) = &entry.patterns {
        pattern_list(draft, &format!("{path}.match"), patterns);
    }
    one_rate(draft, path, entry.rates());
    let (message, place) = match (&entry.patterns, entry.last) {
        (Some(_), Some(_)) => {
            ("`match` and `last` both select parameters", draft.key_span(&format!("{path}.last")))
        }
        (None, None) => ("this entry unfreezes nothing", draft.span(path)),
        _ => return,
    };
    draft.report(
        place,
        "conflict",
        message.to_owned(),
        "select parameters with either `match` or `last`".to_owned(),
    );
}
