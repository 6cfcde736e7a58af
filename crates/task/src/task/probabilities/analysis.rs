//! The analysis of an evaluation: fields of `metrics.json`, tables and figures.

use serde_json::{Value as Json, json};

use super::scores::{FittedScores, ProbabilityScores};
use super::{mistakes, pictures};
use crate::data::Sample;
use crate::error::{Error, Result};
use crate::metrics::probabilities::{LabelledProbabilities, Truths};
use crate::task::{Analysis, EvaluatedPredictions, OutputForm, Task};

/// What is found in the probabilities of an evaluation.
///
/// # Errors
/// A bug: an image without the annotations of the task.
pub fn of_evaluation<T: Task<Prediction = Vec<f32>>>(
    classes: &[String],
    evaluated: &EvaluatedPredictions<T>,
) -> Result<Analysis> {
    let EvaluatedPredictions { stage, predictions, validation, groups, images, .. } = evaluated;
    let all = labelled::<T>(classes.len(), predictions)?;
    let rankings: Vec<_> = (0..classes.len()).map(|class| all.ranking(class)).collect();
    let fitted = match images.fits.is_empty() {
        true => None,
        false => {
            let validation = labelled::<T>(classes.len(), validation)?;
            Some(FittedScores::of(classes, &images.fits, &validation, &all))
        }
    };
    let mut scores = ProbabilityScores::of(classes, &all, &rankings, fitted, groups, images.groups.is_some());
    let files = pictures::files(stage, classes, &rankings, &scores)?;
    if T::OUTPUT_FORM == OutputForm::Independent {
        scores.map = None;
    }
    let Json::Object(fields) = json!(scores) else { return Err(Error::bug("scores are no object")) };
    let sheets = mistakes::sheets(classes, evaluated)?;
    Ok(Analysis { fields, files, sheets })
}

fn labelled<T: Task>(classes: usize, predictions: &[(&Sample, Vec<f32>)]) -> Result<LabelledProbabilities> {
    let truths = match T::OUTPUT_FORM {
        OutputForm::Independent => Truths::Labels(
            predictions
                .iter()
                .flat_map(|(sample, _)| {
                    let shown = sample.label.classes();
                    (0..classes).map(move |class| shown.contains(&(class as u32))).collect::<Vec<_>>()
                })
                .collect(),
        ),
        OutputForm::Exclusive | OutputForm::Boxes | OutputForm::Embeddings => {
            let class = |sample: &Sample| {
                sample.label.class().ok_or_else(|| Error::bug(format!("`{}` has no class", sample.path)))
            };
            Truths::Classes(predictions.iter().map(|(sample, _)| class(sample)).collect::<Result<_>>()?)
        }
    };
    let probabilities = predictions.iter().flat_map(|(_, row)| row.iter().copied()).collect();
    LabelledProbabilities::new(classes, probabilities, truths)
}
