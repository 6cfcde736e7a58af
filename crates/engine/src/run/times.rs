//! When a run and its stages ran, from its events.

use std::collections::BTreeMap;

use super::{RunDirectory, read_events};
use crate::events::{Event, StageOutcome};
use crate::report::RunTimes;

/// When a run ran; `None` without events. The times of stages that were computed in several starts are added up.
pub fn run_times(run: &RunDirectory) -> Option<RunTimes> {
    of_events(&read_events(run))
}

fn of_events(events: &[(String, Event)]) -> Option<RunTimes> {
    let mut times = RunTimes { started: events.first()?.0.clone(), ..RunTimes::default() };
    let mut stages: BTreeMap<&str, Option<f64>> = BTreeMap::new();
    for (time, event) in events {
        let (stage, seconds) = match event {
            Event::StageFinished { stage, outcome: StageOutcome::Cached, .. } => {
                stages.entry(stage).or_default();
                continue;
            }
            Event::StageFinished { stage, seconds, .. } => {
                times.finished = Some(time.clone());
                (stage, *seconds)
            }
            Event::StageStopped { stage, seconds, .. } => (stage, *seconds),
            _ => continue,
        };
        times.seconds += seconds;
        *stages.entry(stage).or_default().get_or_insert(0.0) += seconds;
    }
    times.stages = stages.into_iter().map(|(stage, seconds)| (stage.to_owned(), seconds)).collect();
    Some(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::StopReason;

    fn finished(stage: &str, outcome: StageOutcome, seconds: f64) -> Event {
        Event::StageFinished { stage: stage.into(), outcome, seconds, metrics: BTreeMap::new() }
    }

    #[test]
    fn starts_are_added_up_and_cached_stages_take_no_time() {
        let stopped =
            Event::StageStopped { stage: "train".into(), how: StopReason::Interrupted, seconds: 4.0 };
        let events = [
            ("1", finished("net", StageOutcome::Cached, 0.0)),
            ("2", stopped),
            ("3", finished("net", StageOutcome::Cached, 0.0)),
            ("4", finished("train", StageOutcome::Resumed, 2.0)),
            ("5", finished("train", StageOutcome::Cached, 0.1)),
        ];
        let events = events.map(|(time, event)| (time.to_owned(), event));
        let times = of_events(&events).unwrap();
        let stages = [("net".to_owned(), None), ("train".to_owned(), Some(6.0))];
        assert_eq!(times.stages, stages.into());
        assert_eq!((&*times.started, times.finished.as_deref(), times.seconds), ("1", Some("4"), 6.0));
        assert_eq!(of_events(&[]), None);
    }
}
