//! Checks of a schedule that no schema can express: settings that exclude, need or outlast each other.

use super::unchecked::UncheckedPipeline;
use super::{Optimizer, Schedule, ScheduleProblem, UnusedSetting, Warmup, WarmupStart};

/// Checks the schedule of a train stage.
pub fn check(draft: &mut UncheckedPipeline, name: &str, path: &str) {
    let at = format!("{path}.schedule");
    warmup_from(draft, path);
    let Some(schedule) = draft.read::<Schedule>(&at) else { return };
    if let Some(epochs) = draft.read::<u32>(&format!("{path}.epochs")) {
        warmup(draft, &at, schedule.settings().warmup(), epochs);
        for ScheduleProblem { setting, code, message, help } in schedule.settings().problems(epochs) {
            draft.report(draft.span(&format!("{at}.{setting}")), code, message, help);
        }
    }
    if let Some(UnusedSetting { key, message, help }) = schedule.settings().idle() {
        let place = draft.key_span(&format!("{at}.{key}"));
        draft.report(place, "no-effect", message.to_owned(), help.to_owned());
    }
    if schedule.settings().plateau().is_some() && draft.parts_of(name).is_some_and(|parts| !parts.validation)
    {
        let data = draft.name_of(name, "data").unwrap_or_default();
        let message = format!("`reduce_on_plateau` needs a validation split, and `data.{data}` has none");
        let help =
            format!("hold out images with `data.{data}.split.validation`, or choose another `schedule`");
        draft.report(draft.key_span(&at), "no-validation", message, help);
    }
}

/// Where biases and momentum start in the warmup.
fn warmup_from(draft: &mut UncheckedPipeline, path: &str) {
    let at = format!("{path}.warmup_from");
    let Some(from) = draft.read::<WarmupStart>(&at) else { return };
    let schedule = draft.read::<Schedule>(&format!("{path}.schedule")).unwrap_or_default();
    if schedule.settings().warmup().epochs == 0.0 {
        let message = "`warmup_from` has no effect without a warmup".to_owned();
        let help = "set `warmup_epochs` of the schedule, or remove `warmup_from`".to_owned();
        draft.report(draft.key_span(&at), "no-effect", message, help);
    } else if from == WarmupStart::default() {
        let message = "an empty `warmup_from` has no effect".to_owned();
        let help = "set `bias_lr` or `momentum`, or remove it".to_owned();
        draft.report(draft.key_span(&at), "no-effect", message, help);
    }
    let optimizer = draft.read::<Optimizer>(&format!("{path}.optimizer"));
    if from.momentum.is_some() && optimizer.is_some_and(|optimizer| optimizer.settings().momentum().is_none())
    {
        let message = "only the momentum of `sgd` can start at another value".to_owned();
        let place = draft.key_span(&format!("{at}.momentum"));
        draft.report(place, "conflict", message, "remove `momentum`, or use `sgd`".to_owned());
    }
}

fn warmup(draft: &mut UncheckedPipeline, at: &str, warmup: Warmup, epochs: u32) {
    let Warmup { epochs: warmup, start } = warmup;
    if warmup > f64::from(epochs) {
        let message = format!("the warmup ({warmup} epochs) is longer than the stage ({epochs})");
        let help = "shorten `warmup_epochs`, or raise `epochs`".to_owned();
        draft.report(draft.span(&format!("{at}.warmup_epochs")), "conflict", message, help);
    }
    if warmup == 0.0 && start > 0.0 {
        let message = "`warmup_start` has no effect without a warmup".to_owned();
        let help = "set `warmup_epochs`, or remove `warmup_start`".to_owned();
        draft.report(draft.key_span(&format!("{at}.warmup_start")), "no-effect", message, help);
    }
}
