//! The predictions of finished evaluations, as their tables have them.

use super::{RunDirectory, StageRecord};
use crate::error::{Error, Result};
use crate::pipeline::suggest;
use crate::report::{Prediction, StageFiles, TaskReporting, prediction_classes, read_predictions};
use crate::task::{self, OutputForm, TaskKind};

/// The predictions of an evaluation of a run, and its classes or labels.
pub(super) struct EvaluatedRun {
    pub run: RunDirectory,
    /// What the probabilities are of.
    pub form: OutputForm,
    pub classes: Vec<String>,
    pub predictions: Vec<Prediction>,
}

impl EvaluatedRun {
    /// `None` if the stage is not finished, or has no table of class probabilities.
    ///
    /// # Errors
    /// A file of the run cannot be read.
    pub fn read(run: &RunDirectory, stage: &str) -> Result<Option<Self>> {
        let files = StageFiles::new(run.path(), stage);
        let (Some(table), Some(_)) = (files.text("predictions.csv")?, files.text("metrics.json")?) else {
            return Ok(None);
        };
        let within = |error: Error| error.within(files.place("predictions.csv"));
        let Some(classes) = prediction_classes(&table).map_err(within)? else { return Ok(None) };
        let predictions = read_predictions(&table).map_err(within)?;
        let record = run.record()?;
        let Some(document) = record.stage(stage).map(|stage| &stage.document) else { return Ok(None) };
        let form = TaskKind::of_recipe(&document["model"]).output_form();
        Ok(Some(Self { run: run.clone(), form, classes, predictions }))
    }
}

/// The task of a stage that has finished.
pub(super) fn finished_task(run: &RunDirectory, stage: &str) -> Result<Option<&'static TaskReporting>> {
    let record = run.record()?;
    let finished = record.stage(stage).filter(|_| run.stage(stage).join("metrics.json").is_file());
    Ok(finished.and_then(|stage| task::of_stage(&stage.kind, &stage.document)))
}

/// The evaluate stages of a run, with the split that each measures.
pub(super) fn evaluations(run: &RunDirectory) -> Result<Vec<(String, String)>> {
    let settings = run.settings()?;
    let split =
        |stage: &StageRecord| settings["stage"][&stage.name]["split"].as_str().unwrap_or("test").to_owned();
    let record = run.record()?;
    let stages = record.stages.iter().filter(|stage| stage.kind == "evaluate");
    Ok(stages.map(|stage| (stage.name.clone(), split(stage))).collect())
}

/// The evaluate stage to read: the named one, or the first that measures the validation split.
///
/// # Errors
/// No run has such a stage.
pub(super) fn of_validation(runs: &[RunDirectory], name: Option<&str>) -> Result<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for run in runs {
        all.extend(evaluations(run)?);
    }
    let names = || all.iter().map(|(stage, _)| stage.as_str());
    match name {
        Some(name) => all.iter().find(|(stage, _)| stage == name).cloned().ok_or_else(|| {
            let error = Error::usage(format!("--stage: no run has an evaluate stage `{name}`"));
            match suggest::help(name, "they have", names()) {
                Some(help) => error.hint(help),
                None => error,
            }
        }),
        None => all.iter().find(|(_, split)| split == "validation").cloned().ok_or_else(|| {
            Error::usage("no run evaluates its validation split").hint(
                "add a stage with `kind = \"evaluate\"` and `split = \"validation\"`, or name a stage with `--stage`",
            )
        }),
    }
}
