//! Checks of a schedule that no schema can express: settings that exclude, need or outlast each other.

use super::Schedule;
use super::draft::Draft;

/// Checks the schedule of a train stage.
pub fn check(draft: &mut Draft, name: &str, path: &str) {
    let at = format!("{path}.schedule");
    let Some(schedule) = draft.read::<Schedule>(&at) else { return };
    if let Some(epochs) = draft.read::<u32>(&format!("{path}.epochs")) {
        warmup(draft, &at, &schedule, epochs);
        reach(draft, &at, &schedule, epochs);
    }
    alone(draft, &at, &schedule);
    let plateau = matches!(schedule, Schedule::ReduceOnPlateau(_));
    if plateau && draft.parts_of(name).is_some_and(|parts| !parts.validation) {
        let data = draft.name_of(name, "data").unwrap_or_default();
        let message = format!("`reduce_on_plateau` needs a validation split, and `data.{data}` has none");
        let help =
            format!("hold out images with `data.{data}.split.validation`, or choose another `schedule`");
        draft.report(draft.key(&at), "no-validation", message, help);
    }
}

fn warmup(draft: &mut Draft, at: &str, schedule: &Schedule, epochs: u32) {
    let (warmup, start) = schedule.warmup();
    if warmup > f64::from(epochs) {
        let message = format!("the warmup ({warmup} epochs) is longer than the stage ({epochs})");
        let help = "shorten `warmup_epochs`, or raise `epochs`".to_owned();
        draft.report(draft.place(&format!("{at}.warmup_epochs")), "conflict", message, help);
    }
    if warmup == 0.0 && start > 0.0 {
        let message = "`warmup_start` has no effect without a warmup".to_owned();
        let help = "set `warmup_epochs`, or remove `warmup_start`".to_owned();
        draft.report(draft.key(&format!("{at}.warmup_start")), "no-effect", message, help);
    }
}

/// Reductions that would come before the end of the warmup, or after the stage.
fn reach(draft: &mut Draft, at: &str, schedule: &Schedule, epochs: u32) {
    let (warmup, _) = schedule.warmup();
    let after_warmup = |duration: u32| warmup + f64::from(duration) >= f64::from(epochs);
    let (key, message) = match schedule {
        Schedule::Step(decay) if after_warmup(decay.step_size) => (
            "step_size",
            format!("the first reduction would come after the end of the stage, which has {epochs} epochs"),
        ),
        Schedule::Cosine(cosine) if cosine.restart_epochs.is_some_and(after_warmup) => (
            "restart_epochs",
            format!("the first restart would come after the end of the stage, which has {epochs} epochs"),
        ),
        Schedule::MultiStep(decay) => {
            for (index, &milestone) in decay.milestones.iter().enumerate() {
                let place = draft.place(&format!("{at}.milestones[{index}]"));
                let increasing = index == 0 || decay.milestones[index - 1] < milestone;
                let (code, message, help) = if !increasing {
                    ("conflict", "the milestones must increase".to_owned(), "sort them and remove duplicates")
                } else if milestone >= epochs {
                    let message = format!("milestone {milestone} is never reached in {epochs} epochs");
                    ("no-effect", message, "remove it, or raise `epochs`")
                } else if f64::from(milestone) < warmup {
                    let message = format!("milestone {milestone} is within the warmup ({warmup} epochs)");
                    (
                        "conflict",
                        message,
                        "milestones count from the start of the stage: choose a later one, or shorten the warmup",
                    )
                } else {
                    continue;
                };
                draft.report(place, code, message, help.to_owned());
            }
            return;
        }
        _ => return,
    };
    let help = format!("lower `{key}`, or raise `epochs`");
    draft.report(draft.place(&format!("{at}.{key}")), "no-effect", message, help);
}

/// Settings that have no effect on their own.
fn alone(draft: &mut Draft, at: &str, schedule: &Schedule) {
    let Schedule::Cosine(cosine) = schedule else { return };
    if cosine.restart_multiplier > 1 && cosine.restart_epochs.is_none() {
        let message = "`restart_multiplier` has no effect without `restart_epochs`".to_owned();
        let help = "set `restart_epochs`, or remove `restart_multiplier`".to_owned();
        draft.report(draft.key(&format!("{at}.restart_multiplier")), "no-effect", message, help);
    }
}
