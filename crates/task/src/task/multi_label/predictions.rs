//! The labels of an image, as text and as rows of a table.

use serde_json::{Map, json};

use crate::data::{LABELS_BETWEEN, Sample};
use crate::report;
use crate::sanitize;
use crate::task::class_list::most_likely_in_words;
use crate::task::{Decisions, OutputDescription, TaskFile};

/// The labels whose probability reaches their threshold.
fn predicted<'a>(labels: &'a [String], probabilities: &[f32], decisions: &Decisions) -> Vec<&'a str> {
    let pairs = labels.iter().zip(probabilities).enumerate();
    let shown = pairs.filter(|(place, (_, p))| decisions.has_label(*place, **p));
    shown.map(|(_, (label, _))| label.as_str()).collect()
}

/// What `predict` prints: the predicted labels, and the probabilities [K] of all.
pub fn describe(labels: &[String], probabilities: &[f32], decisions: &Decisions) -> OutputDescription {
    let by_label: Map<_, _> =
        labels.iter().zip(probabilities).map(|(label, p)| (label.clone(), json!(p))).collect();
    let predicted = predicted(labels, probabilities, decisions);
    let document = Map::from_iter([
        ("label".to_owned(), json!(predicted.join(LABELS_BETWEEN))),
        ("labels".to_owned(), json!(predicted)),
        ("probabilities".to_owned(), json!(by_label)),
    ]);
    let mut text = most_likely_in_words(labels, probabilities);
    if !decisions.thresholds.is_empty() {
        let names = if predicted.is_empty() { "no label".to_owned() } else { predicted.join(", ") };
        text = format!("{} ({text})", sanitize::line(&names));
    }
    OutputDescription { text, document, boxes: None }
}

/// The table of predictions: the true labels of each image, the predicted labels, and the probabilities of all.
pub fn file(labels: &[String], predictions: Vec<(&Sample, Vec<f32>)>) -> TaskFile {
    let row = |(sample, probabilities): (&Sample, Vec<f32>)| {
        let shown = sample.label.classes();
        let shown: Vec<&str> = shown.iter().map(|label| labels[*label as usize].as_str()).collect();
        report::Prediction {
            file: sample.path.clone(),
            label: shown.join(LABELS_BETWEEN),
            predicted: predicted(labels, &probabilities, &Decisions::default()).join(LABELS_BETWEEN),
            probabilities,
        }
    };
    let rows: Vec<_> = predictions.into_iter().map(row).collect();
    TaskFile::new("predictions.csv", report::predictions_csv(labels, &rows))
}

/// The table of predictions of new images: the predicted labels of each, and the probabilities of all.
pub fn new_images_file(
    labels: &[String],
    predictions: &[(String, Vec<f32>)],
    decisions: &Decisions,
) -> TaskFile {
    let rows = predictions.iter().map(|(file, probabilities)| {
        let label = predicted(labels, probabilities, decisions).join(LABELS_BETWEEN);
        (file.as_str(), label, probabilities.as_slice())
    });
    TaskFile::new("predictions.csv", report::new_images_csv(labels, rows))
}
