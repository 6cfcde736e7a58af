//! The decisions of `predict`: thresholds that the user gives, or that an evaluation of the run has chosen.

use serde::Deserialize;

use super::{Predictor, RunDirectory, RunRecord, StageRecord};
use crate::error::{Error, Result};
use crate::pipeline::suggest;
use crate::report::StageFiles;
use crate::task::{Decisions, FittedScores};

/// A threshold of the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassThreshold {
    /// `None` for all classes.
    pub class: Option<String>,
    pub threshold: f64,
}

/// What `metrics.json` of an evaluation has of what was fitted on the validation split.
#[derive(Deserialize)]
struct Document {
    fitted: Option<FittedScores>,
}

/// The checkpoint that an evaluation measures, as `frozen@best`, so that a model can be chosen by its evaluation.
///
/// # Errors
/// The stage is no evaluation of one model.
pub fn evaluated_checkpoint(run: &RunDirectory, evaluation: &str) -> Result<String> {
    let record = run.record()?;
    let source = of_one_model(&record, evaluation)?.source.clone().unwrap_or_default();
    let mut parts = source.split('/').skip(1);
    let (stage, file) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    Ok(match file {
        crate::stage::BEST => format!("{stage}@best"),
        crate::stage::LAST => format!("{stage}@last"),
        _ => stage.to_owned(),
    })
}

/// The decisions of a model. `evaluation` names the stage whose temperature and thresholds are used; those of the command
/// line replace them.
///
/// # Errors
/// The evaluation has fitted nothing, or is of other weights. A class does not exist. The model finds objects.
pub fn decisions(
    run: &RunDirectory,
    predictor: &Predictor,
    evaluation: Option<&str>,
    given: &[ClassThreshold],
) -> Result<Decisions> {
    let mut decisions = match evaluation {
        Some(evaluation) => fitted(run, predictor, evaluation)?,
        None => Decisions::default(),
    };
    if given.is_empty() {
        return Ok(decisions);
    }
    if predictor.finds_boxes() {
        return Err(Error::usage(
            "a threshold is for the probabilities of classes, and this model finds objects",
        )
        .hint("use `--confidence` instead of `--threshold`"));
    }
    let classes = &predictor.classes;
    decisions.thresholds.resize(classes.len(), None);
    for ClassThreshold { class, threshold } in given {
        match class {
            None => decisions.thresholds.fill(Some(*threshold)),
            Some(name) => {
                let place = classes.iter().position(|class| class == name);
                decisions.thresholds[place.ok_or_else(|| unknown_class(name, classes))?] = Some(*threshold);
            }
        }
    }
    Ok(decisions)
}

fn fitted(run: &RunDirectory, predictor: &Predictor, evaluation: &str) -> Result<Decisions> {
    let record = run.record()?;
    let stage = of_one_model(&record, evaluation)?;
    if stage.source.as_deref() != predictor.checkpoint.to_str() {
        let (source, checkpoint) =
            (stage.source.as_deref().unwrap_or_default(), predictor.checkpoint.display());
        return Err(Error::usage(format!("stage `{evaluation}` evaluates `{source}`, not `{checkpoint}`"))
            .hint("remove `--stage`: the weights that the evaluation measures are used then"));
    }
    let files = StageFiles::new(run.path(), evaluation);
    let document: Option<Document> = files.optional_json("metrics.json")?;
    let Some(Document { fitted }) = document else {
        return Err(Error::usage(format!("stage `{evaluation}` is not finished"))
            .hint("finish the run: run its pipeline file again"));
    };
    let Some(FittedScores { temperature, thresholds, .. }) = fitted else {
        return Err(Error::usage(format!(
            "stage `{evaluation}` has chosen no thresholds and no temperature"
        ))
        .hint(
            "add `thresholds = { kind = \"best_f1\" }` or `calibration = { kind = \"temperature\" }` to it",
        ));
    };
    let of_class = |name: &String| {
        let class = thresholds.iter().flatten().find(|class| class.class == *name)?;
        // No threshold kept the rule, so the class is never predicted.
        Some(class.threshold.unwrap_or(f64::INFINITY))
    };
    let all = thresholds.iter().flat_map(|_| predictor.classes.iter().map(of_class)).collect();
    Ok(Decisions { temperature, thresholds: all })
}

fn of_one_model<'a>(record: &'a RunRecord, name: &str) -> Result<&'a StageRecord> {
    let evaluations: Vec<&StageRecord> = record
        .stages
        .iter()
        .filter(|stage| stage.kind == "evaluate" && stage.other_sources.is_empty())
        .collect();
    evaluations.iter().copied().find(|stage| stage.name == name).ok_or_else(|| {
        let names = || evaluations.iter().map(|stage| stage.name.as_str());
        let error = Error::usage(format!("the run has no evaluation `{name}` of one model"));
        match suggest::help(name, "evaluations", names()) {
            Some(help) => error.hint(help),
            None => error.hint("add a stage of kind `evaluate` to the pipeline, and run it"),
        }
    })
}

fn unknown_class(name: &str, classes: &[String]) -> Error {
    let error = Error::usage(format!("the model has no class `{name}`"));
    match suggest::help(name, "classes", classes.iter().map(String::as_str)) {
        Some(help) => error.hint(help),
        None => error,
    }
}
