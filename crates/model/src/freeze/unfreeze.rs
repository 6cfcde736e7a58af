//! Phases: applies `unfreeze` to the initially trainable tensors.

use super::trainable::TrainableSet;
use crate::model::{Description, PatternScope, RuleError, TensorId, select};
use crate::pipeline::{Train, Unfreeze};

/// The trainable tensors of each phase: `start` in the first, and more after each `unfreeze` entry.
pub(super) fn phases(
    description: &Description,
    stage: &Train,
    start: TrainableSet,
) -> Result<Vec<TrainableSet>, Vec<RuleError>> {
    let mut phases = vec![start];
    let mut errors = Vec::new();
    for (index, unfreeze) in stage.unfreeze.iter().enumerate() {
        let mut next = phases[index].clone();
        match joining(description, index, unfreeze, &phases) {
            Ok(joining) => joining.into_iter().for_each(|(id, rule)| next.unfreeze(id, rule)),
            Err(found) => errors.extend(found),
        }
        phases.push(next);
    }
    if errors.is_empty() { Ok(phases) } else { Err(errors) }
}

/// The parameters unfrozen by entry `index`, with their rules; `phases` are those before it.
fn joining(
    description: &Description,
    index: usize,
    unfreeze: &Unfreeze,
    phases: &[TrainableSet],
) -> Result<Vec<(TensorId, String)>, Vec<RuleError>> {
    // Earlier checks require one of the two.
    match (&unfreeze.patterns, unfreeze.last) {
        (Some(patterns), _) => by_names(description, &format!("unfreeze[{index}].match"), patterns, phases),
        (None, last) => {
            let (setting, last) = (format!("unfreeze[{index}].last"), last.unwrap_or_default());
            by_depth(description, setting, last, phases).map_err(|error| vec![error])
        }
    }
}

/// Everything that the patterns select must be frozen until then.
fn by_names(
    description: &Description,
    setting: &str,
    patterns: &[String],
    phases: &[TrainableSet],
) -> Result<Vec<(TensorId, String)>, Vec<RuleError>> {
    let selection = select(description, setting, patterns, PatternScope::Parameters)?;
    let rule = |id: TensorId| selection.decided[id].map_or(0, |(rule, _)| rule);
    let selected: Vec<TensorId> =
        (0..description.tensors.len()).filter(|&id| selection.contains(id)).collect();
    let before = &phases[phases.len() - 1];
    let training: Vec<TensorId> = selected.iter().copied().filter(|&id| before.flags[id]).collect();
    if let Some(&first) = training.first() {
        let place = format!("{setting}[{}]", rule(first));
        return Err(vec![trains_already(description, place, first, training.len() - 1, phases)]);
    }
    let named = |id| (id, format!("{setting}[{}] = \"{}\"", rule(id), patterns[rule(id)]));
    Ok(selected.into_iter().map(named).collect())
}

/// The last layers in the order of [`Description::layers`]; those that train already continue.
fn by_depth(
    description: &Description,
    setting: String,
    count: usize,
    phases: &[TrainableSet],
) -> Result<Vec<(TensorId, String)>, RuleError> {
    let layers = description.layers.len();
    if count > layers {
        let message = format!("`last = {count}` is more than the {layers} layers of `{}`", description.arch);
        return Err(RuleError::new(setting, "depth-too-large", message)
            .help("`defrost params` prints the layers in order"));
    }
    let before = &phases[phases.len() - 1];
    let inside = description.parameters().filter(|(_, tensor)| tensor.layer >= layers - count);
    let joining: Vec<TensorId> = inside.map(|(id, _)| id).filter(|&id| !before.flags[id]).collect();
    if joining.is_empty() {
        let begins = layers - count;
        let why = match description.parameters().any(|(_, tensor)| tensor.layer == begins) {
            true => "these layers already train".to_owned(),
            false => format!("layer {begins} has no parameters, and the layers after it already train"),
        };
        let message = format!("`last = {count}` has no effect: {why}");
        return Err(RuleError::new(setting, "unfreeze-trains", message).help("raise it, or remove the entry"));
    }
    let rule = format!("{setting} = {count}");
    Ok(joining.into_iter().map(|id| (id, rule.clone())).collect())
}

fn trains_already(
    description: &Description,
    place: String,
    first: TensorId,
    others: usize,
    phases: &[TrainableSet],
) -> RuleError {
    let name = &description.tensors[first].name;
    let more = if others > 0 { format!(" and {others} more") } else { String::new() };
    if phases[0].flags[first] {
        let verb = if others > 0 { "train" } else { "trains" };
        let message = format!("`{name}`{more} {verb} from the start of the stage");
        return RuleError::new(place, "unfreeze-trains", message)
            .help("freeze these parameters at first, or exclude them with a `!` pattern");
    }
    let rule = phases[phases.len() - 1].rule_path(first).to_owned();
    let message = format!("`{name}`{more} would unfreeze twice: `{rule}` selects it too");
    RuleError::new(place, "unfreeze-twice", message).help("exclude it from one of them with a `!` pattern")
}
