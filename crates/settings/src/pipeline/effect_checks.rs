//! Settings of a train stage that have no effect, as far as this is known without the names of parameters.
//!
//! If it can only be a mistake, it is an error. If the setting may be meant for other stages or another `--set`, it is
//! a warning: a stage shortened for a quick test need not shorten its patience too.

use serde::Deserialize;

use super::document::{Node, NodeValue};
use super::label_kind::LabelKind;
use super::source_text::Span;
use super::unchecked::UncheckedPipeline;
use super::{Augment, CommonSettings, EarlyStop, Ema, Group, Optimizer, Schedule, Unfreeze};

/// Checks the train stage of this name, at `path`.
pub fn check(draft: &mut UncheckedPipeline, name: &str, path: &str) {
    patience(draft, path);
    no_decay(draft, path);
    ema(draft, path);
    augment(draft, path);
    mixing(draft, name, path);
    closing(draft, name, path);
}

/// Whether a setting comes from the defaults and the other from the stage. Then the setting is meant for other stages.
fn for_others(draft: &UncheckedPipeline, path: &str, setting: &str, other: &str) -> bool {
    let of_defaults = |key: &str| {
        let default = draft.get(&format!("defaults.train.{key}"));
        default.is_some_and(|default| {
            draft.get(&format!("{path}.{key}")).is_some_and(|own| own.place == default.place)
        })
    };
    of_defaults(setting) && !of_defaults(other)
}

/// Patience that is longer than the stage.
fn patience(draft: &mut UncheckedPipeline, path: &str) {
    let Some(epochs) = draft.read::<u32>(&format!("{path}.epochs")) else { return };
    let stop = draft.read::<EarlyStop>(&format!("{path}.early_stop"));
    if let Some(stop) = stop.filter(|_| !for_others(draft, path, "early_stop", "epochs")) {
        let thaws = draft.get(&format!("{path}.unfreeze")).map(Node::items).unwrap_or_default();
        let thaws = thaws.iter().filter_map(|entry| serde_json::from_value(entry.to_json()).ok());
        let last_thaw = thaws.map(|thaw: Unfreeze| thaw.after_epochs).max();
        // The first epoch always improves. Unfreezing resets the count of patience, and no stop comes before the last
        // entry.
        let soonest = last_thaw.unwrap_or(1).saturating_add(stop.patience);
        if soonest >= epochs {
            let at = format!("{path}.early_stop.patience");
            exceeds_stage(draft, &at, "`early_stop` could end the stage", soonest, epochs);
        }
    }
    let at = format!("{path}.schedule");
    let schedule = draft.read::<Schedule>(&at);
    if let Some(rule) = schedule.as_ref().and_then(|schedule| schedule.settings().plateau()) {
        let soonest = rule.patience.saturating_add(2);
        if soonest >= epochs && !for_others(draft, path, "schedule", "epochs") {
            exceeds_stage(draft, &format!("{at}.patience"), "the learning rate could fall", soonest, epochs);
        }
    }
}

fn exceeds_stage(draft: &mut UncheckedPipeline, at: &str, what: &str, soonest: u32, epochs: u32) {
    let message = format!("{what} after epoch {soonest} at the earliest, but the stage has {epochs}");
    let help = "lower `patience`, or raise `epochs`".to_owned();
    draft.warn(draft.span(at), "no-effect", message, help);
}

/// An optimizer may have no weight decay by default; a decay of 0 that is written is a choice.
fn no_decay(draft: &mut UncheckedPipeline, path: &str) {
    let at = format!("{path}.optimizer");
    let Some(optimizer) = draft.read::<Optimizer>(&at) else { return };
    let says = |key: &str, decays: fn(&serde_json::Value) -> bool| {
        let entries = draft.get(&format!("{path}.{key}")).map(Node::items).unwrap_or_default();
        entries.iter().any(|entry| decays(&entry.to_json()))
    };
    let decays = draft.get(&format!("{at}.weight_decay")).is_some()
        || says("groups", |entry| Group::deserialize(entry).is_ok_and(|group| group.weight_decay.is_some()))
        || says("unfreeze", |entry| {
            Unfreeze::deserialize(entry).is_ok_and(|thaw| thaw.weight_decay.is_some())
        });
    let CommonSettings { weight_decay, no_decay, .. } = optimizer.settings().common();
    if no_decay.is_empty() || decays || weight_decay > 0.0 {
        return;
    }
    let kind = draft.get(&format!("{at}.kind")).and_then(Node::text).unwrap_or_default();
    let message = "`no_decay` has no effect: no parameter has weight decay".to_owned();
    let help = format!("set `weight_decay`, which is 0 by default for `{kind}`, or remove `no_decay`");
    draft.report(draft.key_span(&format!("{at}.no_decay")), "no-effect", message, help);
}

/// A time constant is a kind of warmup.
fn ema(draft: &mut UncheckedPipeline, path: &str) {
    let at = format!("{path}.ema");
    let Some(ema) = draft.read::<Ema>(&at) else { return };
    if ema.time_constant.is_some() && !ema.warmup {
        let message = "`time_constant` shapes the warmup, which is off".to_owned();
        let place = draft.key_span(&format!("{at}.time_constant"));
        draft.report(place, "conflict", message, "remove `warmup = false`, or `time_constant`".to_owned());
    }
}

/// An empty table changes no image. Someone who wants no augmentation would leave the table out.
fn augment(draft: &mut UncheckedPipeline, path: &str) {
    let at = format!("{path}.augment");
    let Some(node) =
        draft.get(&at).filter(|node| matches!(&node.value, NodeValue::Table(keys) if keys.is_empty()))
    else {
        return;
    };
    // It may replace the table of the defaults or of the file; a matrix or `--set` leaves no trace of that.
    let instead = draft.get("defaults.train.augment").is_some_and(|default| default.place != node.place);
    let in_the_file =
        |key: &Span| key.source.name != "--set" && key.source.text.get(key.range.clone()) == Some("augment");
    if instead || !node.key.as_ref().is_some_and(in_the_file) {
        return;
    }
    let message = "an empty `augment` changes no image".to_owned();
    let help = "add a change, such as `{ horizontal_flip = 0.5 }`, or remove it".to_owned();
    draft.warn(draft.key_span(&at), "no-effect", message, help);
}

/// An image that is alone in its batch is mixed with itself.
fn mixing(draft: &mut UncheckedPipeline, name: &str, path: &str) {
    let Some(augment) = draft.read::<Augment>(&format!("{path}.augment")) else { return };
    let alone = draft.read::<usize>(&format!("{path}.batch_size")) == Some(1);
    // Images with boxes are mixed with images of other batches.
    if !augment.mixes() || !alone || draft.label_kind(name) == Some(LabelKind::Boxes) {
        return;
    }
    let key = if augment.mixup.is_some() { "mixup" } else { "cutmix" };
    let message = format!("`{key}` mixes images of the same batch, but batches have one image here");
    let help = format!("raise `batch_size`, or remove `{key}`");
    draft.report(draft.key_span(&format!("{path}.augment.{key}")), "no-effect", message, help);
}

/// The last epochs have no mosaic; a short stage then has none at all.
fn closing(draft: &mut UncheckedPipeline, name: &str, path: &str) {
    let Some(augment) = draft.read::<Augment>(&format!("{path}.augment")) else { return };
    let closed = augment.close_mosaic;
    let at = format!("{path}.augment.close_mosaic");
    let has_boxes = draft.label_kind(name).is_none_or(|kind| kind == LabelKind::Boxes);
    let key = match (&augment.mosaic, &augment.mixup) {
        (Some(_), _) => "mosaic",
        (None, Some(_)) if has_boxes => "mixup",
        _ => {
            if draft.get(&at).is_some() {
                let message =
                    "`close_mosaic` has no effect without `mosaic`, or `mixup` of images with boxes";
                let help = "remove it, or set `mosaic`".to_owned();
                draft.report(draft.key_span(&at), "no-effect", message.to_owned(), help);
            }
            return;
        }
    };
    let epochs = draft.read::<u32>(&format!("{path}.epochs"));
    if let Some(epochs) = epochs.filter(|epochs| *epochs <= closed) {
        let (place, how) = match draft.get(&at) {
            Some(_) => (at, "`close_mosaic` is"),
            None => (format!("{path}.augment.{key}"), "`close_mosaic` is by default"),
        };
        let message = format!("`{key}` has no effect: {how} {closed}, and the stage has {epochs} epochs");
        let help = format!("lower `close_mosaic`, raise `epochs`, or remove `{key}`");
        draft.warn(draft.key_span(&place), "no-effect", message, help);
    }
}
