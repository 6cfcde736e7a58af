//! The train stage that a command works on.

use std::sync::Arc;

use defrost::data::Dataset;
use defrost::plan::PlanEntry;
use defrost::stage::{ResolvedStage, TrainStage};
use defrost::{Error, Result};

use super::session::Session;

/// A train stage, its training setup and its images.
pub type ChosenStage<'a> = (&'a PlanEntry, &'a TrainStage, &'a Arc<Dataset>);

/// The requested train stage, or the only one.
///
/// # Errors
/// There is no such train stage, or there are several and none is requested.
pub fn train_stage<'a>(session: &'a Session, wanted: Option<&str>) -> Result<ChosenStage<'a>> {
    let trains = |stage: &'a PlanEntry| match &stage.work {
        ResolvedStage::Train(train, dataset) => Some((stage, &**train, dataset)),
        _ => None,
    };
    let all: Vec<ChosenStage> = session.plan.stages.iter().filter_map(trains).collect();
    let names = || all.iter().map(|(stage, ..)| format!("`{}`", stage.name)).collect::<Vec<_>>().join(", ");
    let error = match (wanted, &all[..]) {
        (None, [only]) => return Ok(*only),
        (None, []) => return Err(Error::usage("this pipeline has no train stage")),
        (Some(name), []) if session.pipeline.stage(name).is_some() => {
            return Err(Error::usage(format!(
                "stage `{name}` is not a train stage, and this pipeline has none"
            )));
        }
        (Some(name), []) => {
            return Err(Error::usage(format!(
                "unknown stage `{name}`, and this pipeline has no train stage"
            )));
        }
        (None, _) => Error::usage("this pipeline has several train stages"),
        (Some(name), _) => match all.iter().find(|(stage, ..)| stage.name == name) {
            Some(found) => return Ok(*found),
            None if session.pipeline.stage(name).is_some() => {
                Error::usage(format!("stage `{name}` is not a train stage"))
            }
            None => Error::usage(format!("unknown stage `{name}`")),
        },
    };
    Err(error.hint(format!("choose one with `--stage`: {}", names())))
}
