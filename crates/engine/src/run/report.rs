//! The report of a run, with the tasks of its stages.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::RunDirectory;
use crate::error::Result;
use crate::events::Event;
use crate::plan::{Plan, PlanEntry};
use crate::report::ReportData;
use crate::task;

/// The report of a run from its directory, finished or not.
///
/// # Errors
/// A file of the run has an unexpected format.
pub fn report_data(run: &RunDirectory) -> Result<ReportData> {
    ReportData::read(run.path(), task::of_stage)
}

/// The first event of a run.
pub(super) fn started(plan: &Plan, directory: &RunDirectory) -> Event {
    let task = |stage: &PlanEntry| {
        let task = task::of_stage(stage.work.kind(), &stage.document)?;
        Some((stage.name.clone(), task.name.to_owned()))
    };
    let images = |stage: &PlanEntry| {
        let root = std::path::absolute(&stage.work.dataset()?.root).ok()?;
        Some((stage.name.clone(), root.display().to_string()))
    };
    let outside = |stage: &PlanEntry| {
        let absolute = |(name, folder): (&String, &PathBuf)| {
            Some((name.clone(), std::path::absolute(folder).ok()?.display().to_string()))
        };
        let folders = stage.work.dataset()?.outside.folders();
        (!folders.is_empty()).then(|| (stage.name.clone(), folders.iter().filter_map(absolute).collect()))
    };
    Event::RunStarted {
        name: plan.name.clone(),
        run_dir: directory.path().display().to_string(),
        stages: plan.stages.iter().map(|stage| stage.name.clone()).collect(),
        tasks: plan.stages.iter().filter_map(task).collect::<BTreeMap<_, _>>(),
        images: plan.stages.iter().filter_map(images).collect::<BTreeMap<_, _>>(),
        outside: plan.stages.iter().filter_map(outside).collect::<BTreeMap<_, _>>(),
    }
}
