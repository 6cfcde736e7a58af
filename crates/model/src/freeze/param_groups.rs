//! How fast each parameter trains: the optimizer's settings, the layer's share, groups, what is said of those that join
//! later, and what is left without decay.

use super::trainable::TrainableSet;
use crate::model::{Description, PatternScope, RuleError, TensorId, TensorSelection, select};
use crate::pipeline::{CommonSettings, Group, Rates, Train};

/// What the optimizer does with one parameter.
#[derive(Clone, Copy)]
pub(super) struct ParamHyper {
    pub group: Option<usize>,
    /// Before the schedule.
    pub lr: f64,
    pub weight_decay: f64,
    /// In addition to the schedule's.
    pub warmup_epochs: f64,
}

impl ParamHyper {
    /// A learning rate of its own stands for itself; a scale multiplies what the optimizer and the layer come to.
    fn apply(&mut self, rates: Rates) {
        self.lr = rates.lr.unwrap_or(self.lr * rates.lr_scale.unwrap_or(1.0));
        self.weight_decay = rates.weight_decay.unwrap_or(self.weight_decay);
        self.warmup_epochs = rates.warmup_epochs.unwrap_or(self.warmup_epochs);
    }
}

/// The pace of every tensor; what is frozen has one too, to no effect. `phases` say who trains when, where that is known.
pub(super) fn param_hypers(
    description: &Description,
    stage: &Train,
    phases: Option<&[TrainableSet]>,
) -> Result<Vec<ParamHyper>, Vec<RuleError>> {
    let CommonSettings { lr, weight_decay, no_decay } = stage.optimizer.settings().common();
    let pace = ParamHyper { group: None, lr, weight_decay, warmup_epochs: 0.0 };
    let mut paces = vec![pace; description.tensors.len()];
    if let Some(decay) = stage.layer_decay {
        for (pace, share) in paces.iter_mut().zip(layer_shares(description, decay)) {
            pace.lr *= share;
        }
    }
    let mut errors = Vec::new();
    let trainable = phases.and_then(<[TrainableSet]>::last);
    for (index, group) in stage.groups.iter().enumerate() {
        match members(description, index, group, trainable) {
            Ok(selection) => errors.extend(join(description, &mut paces, index, group, &selection)),
            Err(found) => errors.extend(found),
        }
    }
    errors.extend(
        phases.into_iter().flat_map(|phases| hypers_of_unfrozen(description, stage, &mut paces, phases)),
    );
    // Not asked to change something that trains: the same list suits every stage.
    match select(description, "optimizer.no_decay", no_decay, PatternScope::Parameters) {
        Ok(selection) => {
            for (id, pace) in paces.iter_mut().enumerate() {
                if selection.contains(id) {
                    pace.weight_decay = 0.0;
                }
            }
        }
        Err(found) => errors.extend(found),
    }
    if errors.is_empty() { Ok(paces) } else { Err(errors) }
}

/// The share of the learning rate that each tensor's layer has: decay^(L − i) in layer i, where L is the first layer of the
/// head. Layer-wise decay as in Clark et al., *ELECTRA* (ICLR 2020), §3.1, and Bao et al., *BEiT* (ICLR 2022), §3.
fn layer_shares(description: &Description, decay: f64) -> impl Iterator<Item = f64> {
    let tensors = || description.tensors.iter().enumerate();
    let head = tensors().filter(|(id, _)| description.in_head(*id)).map(|(_, tensor)| tensor.layer).min();
    let top = head.unwrap_or(description.layers.len());
    tensors().map(move |(_, tensor)| libm::pow(decay, top.saturating_sub(tensor.layer) as f64))
}

/// Sets the pace of what joins later, where `unfreeze` says one; a parameter whose group says one too is an error.
fn hypers_of_unfrozen(
    description: &Description,
    stage: &Train,
    paces: &mut [ParamHyper],
    phases: &[TrainableSet],
) -> Vec<RuleError> {
    let mut errors = Vec::new();
    for (index, unfreeze) in stage.unfreeze.iter().enumerate() {
        let (before, after, rates) = (&phases[index], &phases[index + 1], unfreeze.rates());
        if rates.is_empty() {
            continue;
        }
        let joins = |id: &TensorId| after.flags[*id] && !before.flags[*id];
        let mut grouped = Vec::new();
        for id in (0..paces.len()).filter(joins) {
            match paces[id].group {
                Some(group) => grouped.push((id, group)),
                None => paces[id].apply(rates),
            }
        }
        if let Some(&(id, group)) = grouped.first() {
            let message = format!(
                "the learning rate or weight decay of `{}`{} is set twice: `groups[{group}]` sets it too",
                description.tensors[id].name,
                and_more(grouped.len() - 1)
            );
            let error = RuleError::new(format!("unfreeze[{index}]"), "group-overlap", message);
            errors.push(error.help("set it in only one of them"));
        }
    }
    errors
}

fn and_more(others: usize) -> String {
    if others > 0 { format!(" and {others} more") } else { String::new() }
}

/// The parameters of a group; each of its patterns must reach one that trains.
fn members(
    description: &Description,
    index: usize,
    group: &Group,
    trainable: Option<&TrainableSet>,
) -> Result<TensorSelection, Vec<RuleError>> {
    let place = format!("groups[{index}]");
    let mut errors = Vec::new();
    let selection =
        select(description, &format!("{place}.match"), &group.patterns, PatternScope::Parameters)?;
    for (rule, pattern) in group.patterns.iter().enumerate() {
        let Some(trainable) = trainable else { break };
        let mut taken = (0..description.tensors.len())
            .filter(|&id| selection.decided[id] == Some((rule, true)))
            .peekable();
        if taken.peek().is_some() && taken.all(|id| !trainable.flags[id]) {
            let message =
                format!("`{pattern}` has no effect: all parameters that it matches are frozen in this stage");
            let error = RuleError::new(format!("{place}.match[{rule}]"), "group-frozen", message);
            errors.push(error.help("remove it, or make these parameters trainable"));
        }
    }
    if errors.is_empty() { Ok(selection) } else { Err(errors) }
}

/// Sets the pace of a group's parameters; one that another group has is an error.
fn join(
    description: &Description,
    paces: &mut [ParamHyper],
    index: usize,
    group: &Group,
    selection: &TensorSelection,
) -> Option<RuleError> {
    let mut shared: Vec<(TensorId, usize)> = Vec::new();
    for (id, pace) in paces.iter_mut().enumerate().filter(|(id, _)| selection.contains(*id)) {
        if let Some(other) = pace.group {
            shared.push((id, other));
            continue;
        }
        pace.group = Some(index);
        pace.apply(group.rates());
    }
    let (id, other) = *shared.first()?;
    let more = and_more(shared.len() - 1);
    let message = format!(
        "`{}`{more} would be in two groups: `groups[{other}]` selects it too",
        description.tensors[id].name
    );
    let place = format!("groups[{index}].match");
    Some(
        RuleError::new(place, "group-overlap", message)
            .help("exclude it from one of them with a `!` pattern"),
    )
}
