//! How fast each parameter trains: the optimizer's settings, groups, and what is left without decay.

use super::trainable::Trainable;
use crate::model::{Description, RuleError, Selection, Sight, TensorId, select};
use crate::pipeline::{Group, Optimizer, Train};

/// What the optimizer does with one parameter.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    pub group: Option<usize>,
    /// Before the schedule.
    pub lr: f64,
    pub weight_decay: f64,
}

/// The pace of every tensor; what is frozen has one too, to no effect.
pub(super) fn paces(
    description: &Description,
    stage: &Train,
    trainable: Option<&Trainable>,
) -> Result<Vec<Pace>, Vec<RuleError>> {
    let (lr, weight_decay, no_decay) = match &stage.optimizer {
        Optimizer::Sgd(sgd) => (sgd.lr, sgd.weight_decay, &sgd.no_decay),
        Optimizer::Adamw(adamw) => (adamw.lr, adamw.weight_decay, &adamw.no_decay),
    };
    let mut paces = vec![Pace { group: None, lr, weight_decay }; description.tensors.len()];
    let mut errors = Vec::new();
    for (index, group) in stage.groups.iter().enumerate() {
        match members(description, index, group, trainable) {
            Ok(selection) => errors.extend(join(description, &mut paces, index, group, &selection)),
            Err(found) => errors.extend(found),
        }
    }
    // Not asked to change something that trains: the same list suits every stage.
    match select(description, "optimizer.no_decay", no_decay, Sight::Parameters) {
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

/// The parameters of a group; each of its patterns must reach one that trains.
fn members(
    description: &Description,
    index: usize,
    group: &Group,
    trainable: Option<&Trainable>,
) -> Result<Selection, Vec<RuleError>> {
    let place = format!("groups[{index}]");
    let mut errors = Vec::new();
    let selection = select(description, &format!("{place}.match"), &group.patterns, Sight::Parameters)?;
    for (rule, pattern) in group.patterns.iter().enumerate() {
        let Some(trainable) = trainable else { break };
        let mut taken = (0..description.tensors.len())
            .filter(|&id| selection.decided[id] == Some((rule, true)))
            .peekable();
        if taken.peek().is_some() && taken.all(|id| !trainable.flags[id]) {
            let message = format!("`{pattern}` changes nothing: all that it matches is frozen in this stage");
            let error = RuleError::new(format!("{place}.match[{rule}]"), "group-frozen", message);
            errors.push(error.help("remove it, or let what it matches train"));
        }
    }
    if errors.is_empty() { Ok(selection) } else { Err(errors) }
}

/// Sets the pace of a group's parameters; one that another group has is an error.
fn join(
    description: &Description,
    paces: &mut [Pace],
    index: usize,
    group: &Group,
    selection: &Selection,
) -> Option<RuleError> {
    let mut shared: Vec<(TensorId, usize)> = Vec::new();
    for (id, pace) in paces.iter_mut().enumerate().filter(|(id, _)| selection.contains(*id)) {
        if let Some(other) = pace.group {
            shared.push((id, other));
            continue;
        }
        pace.group = Some(index);
        pace.lr = group.lr.unwrap_or(pace.lr * group.lr_scale.unwrap_or(1.0));
        pace.weight_decay = group.weight_decay.unwrap_or(pace.weight_decay);
    }
    let (id, other) = *shared.first()?;
    let more = if shared.len() > 1 { format!(" and {} more", shared.len() - 1) } else { String::new() };
    let message = format!(
        "`{}`{more} would be in two groups: `groups[{other}]` has it too",
        description.tensors[id].name
    );
    let place = format!("groups[{index}].match");
    Some(RuleError::new(place, "group-overlap", message).help("take it out of one with a pattern after `!`"))
}
