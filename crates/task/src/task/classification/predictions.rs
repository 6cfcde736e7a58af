//! The most likely classes of an image, as text and as rows of a table.

use serde_json::{Map, json};

use crate::data::Sample;
use crate::metrics::most_likely;
use crate::report;
use crate::sanitize;
use crate::task::class_list::most_likely_in_words;
use crate::task::{Decisions, OutputDescription, TaskFile};

/// What `predict` prints: the class, if one is decided on, and the probabilities [K] of all.
pub fn describe(classes: &[String], probabilities: &[f32], decisions: &Decisions) -> OutputDescription {
    let by_class: Map<_, _> =
        classes.iter().zip(probabilities).map(|(class, p)| (class.clone(), json!(p))).collect();
    let label = decisions.class(probabilities).map(|class| &classes[class]);
    let document =
        Map::from_iter([("label".to_owned(), json!(label)), ("probabilities".to_owned(), json!(by_class))]);
    let mut text = most_likely_in_words(classes, probabilities);
    if !decisions.thresholds.is_empty() {
        let label = label.map_or_else(|| "no class".to_owned(), |class| sanitize::line(class).into_owned());
        text = format!("{label} ({text})");
    }
    OutputDescription { text, document, boxes: None }
}

/// The table of predictions: the label of each image, its most likely class, and the probabilities of all.
pub fn file(classes: &[String], predictions: Vec<(&Sample, Vec<f32>)>) -> TaskFile {
    let name = |place: usize| classes[place].clone();
    let row = |(sample, probabilities): (&Sample, Vec<f32>)| report::Prediction {
        file: sample.path.clone(),
        label: sample.label.class().map_or_else(String::new, |class| name(class as usize)),
        predicted: name(most_likely(&probabilities)),
        probabilities,
    };
    let rows: Vec<_> = predictions.into_iter().map(row).collect();
    TaskFile::new("predictions.csv", report::predictions_csv(classes, &rows))
}

/// The table of predictions of new images: the class of each, or nothing, and the probabilities of all.
pub fn new_images_file(
    classes: &[String],
    predictions: &[(String, Vec<f32>)],
    decisions: &Decisions,
) -> TaskFile {
    let rows = predictions.iter().map(|(file, probabilities)| {
        let label = decisions.class(probabilities).map(|class| classes[class].clone()).unwrap_or_default();
        (file.as_str(), label, probabilities.as_slice())
    });
    TaskFile::new("predictions.csv", report::new_images_csv(classes, rows))
}
