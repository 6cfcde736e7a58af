//! The tables of a run directory as CSV, written and read back without losing a bit.
//!
//! Numbers are the shortest that read back as the same float; a value that does not exist is an empty field. Names go
//! through [`cells`].

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::cells;
use crate::data::{BrokenImage, LABELS_BETWEEN};
use crate::error::{Error, Result};
use crate::metrics::{Classification, LabelMetrics, MultiLabel};

/// One epoch of a train stage: a row of `history.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// From 1.
    pub epoch: u32,
    /// The optimizer's learning rate at the last step of the epoch, before any group's scale.
    pub lr: f64,
    /// Means over the images as they passed through training, augmentation and all.
    pub train_loss: f64,
    pub train_accuracy: f64,
    /// Absent without a validation split.
    pub validation_loss: Option<f64>,
    pub validation_accuracy: Option<f64>,
    pub validation_macro_f1: Option<f64>,
    /// The mean average precision, of images with any number of labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_map: Option<f64>,
    /// Whether the monitor was better than in all epochs before: the last such row is `@best`.
    pub is_best: bool,
    /// How many numbers trained in this epoch, where some joined on the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trainable_parameters: Option<u64>,
}

/// One image as a model saw it: a row of `predictions.csv`.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The path below the data set's root.
    pub file: String,
    /// Its class; of labels, all of them with [`LABELS_BETWEEN`] two.
    pub label: String,
    pub predicted: String,
    /// One for each class, in the order of the classes.
    pub probabilities: Vec<f32>,
}

impl Prediction {
    /// Of labels, each told by itself: how sure the surest error is, or what comes nearest to one.
    pub(super) fn worst_of<'a>(&self, labels: impl Iterator<Item = &'a str>) -> f32 {
        let shown: Vec<&str> = self.label.split(LABELS_BETWEEN).collect();
        let errors = labels.zip(&self.probabilities);
        let errors = errors.map(|(label, p)| if shown.contains(&label) { 1.0 - p } else { *p });
        errors.fold(0.0, f32::max)
    }
}

pub fn history_csv(rows: &[HistoryRow]) -> String {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    let mut header = vec![
        "epoch",
        "lr",
        "train_loss",
        "train_accuracy",
        "validation_loss",
        "validation_accuracy",
        "validation_macro_f1",
    ];
    header.extend(rows.iter().find_map(|row| row.validation_map).map(|_| "validation_map"));
    header.push("is_best");
    header.extend(rows.iter().find_map(|row| row.trainable_parameters).map(|_| "trainable_parameters"));
    writer.write_record(header).expect(IN_MEMORY);
    rows.iter().for_each(|row| writer.serialize(row).expect(IN_MEMORY));
    text(writer)
}

/// Reads what [`history_csv`] wrote.
pub fn read_history(text: &str) -> Result<Vec<HistoryRow>> {
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(|row| row.map_err(unreadable)).collect()
}

/// Rows are the true classes, columns the predicted ones.
pub fn confusion_csv(metrics: &Classification) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let names = metrics.per_class.iter().map(|class| cells::text(&class.class));
    let header = names.clone().map(Cow::into_owned);
    writer.write_record(std::iter::once("true/predicted".to_owned()).chain(header)).expect(IN_MEMORY);
    for (name, row) in names.zip(&metrics.confusion_matrix) {
        let counts = row.iter().map(u64::to_string);
        writer.write_record(std::iter::once(name.into_owned()).chain(counts)).expect(IN_MEMORY);
    }
    text(writer)
}

/// A row for each label.
pub fn labels_csv(metrics: &MultiLabel) -> String {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    let header = ["label", "images", "precision", "recall", "f1", "average_precision"];
    writer.write_record(header).expect(IN_MEMORY);
    for label in &metrics.per_class {
        let LabelMetrics { class, precision, recall, f1, average_precision, support } = label;
        writer
            .serialize((cells::text(class), support, precision, recall, f1, average_precision))
            .expect(IN_MEMORY);
    }
    text(writer)
}

/// A list of images that cannot be decoded.
pub fn broken_csv(images: &[BrokenImage]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["file", "cause"]).expect(IN_MEMORY);
    let row =
        |image: &BrokenImage| [cells::text(&image.file).into_owned(), cells::text(&image.cause).into_owned()];
    images.iter().for_each(|image| writer.write_record(row(image)).expect(IN_MEMORY));
    text(writer)
}

/// `classes` are the names, in the order of each prediction's probabilities.
pub fn predictions_csv(classes: &[String], predictions: &[Prediction]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = ["file", "label", "predicted"].map(str::to_owned).into_iter();
    let columns = classes.iter().map(|class| format!("probability {class}"));
    writer.write_record(header.chain(columns)).expect(IN_MEMORY);
    for row in predictions {
        let [file, label, predicted] = [&row.file, &row.label, &row.predicted].map(|name| cells::text(name));
        let fields = (file, label, predicted, &row.probabilities);
        writer.serialize(fields).expect(IN_MEMORY);
    }
    text(writer)
}

/// Reads what [`predictions_csv`] wrote.
pub fn read_predictions(text: &str) -> Result<Vec<Prediction>> {
    let read = |row: csv::Result<(String, String, String, Vec<f32>)>| {
        let (file, label, predicted, probabilities) = row.map_err(unreadable)?;
        let [file, label, predicted] = [file, label, predicted].map(|cell| cells::name(&cell).to_owned());
        Ok(Prediction { file, label, predicted, probabilities })
    };
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(read).collect()
}

pub(super) const IN_MEMORY: &str = "a vector takes all rows, and all rows have as many fields as the header";

pub(super) fn text(writer: csv::Writer<Vec<u8>>) -> String {
    String::from_utf8(writer.into_inner().expect(IN_MEMORY)).expect("fields are text")
}

pub(super) fn unreadable(error: csv::Error) -> Error {
    Error::failed(format!("unreadable table: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn history_has_empty_fields_where_nothing_was_measured() {
        let measured = HistoryRow {
            epoch: 1,
            lr: 1e-5,
            train_loss: 0.1 + 0.2,
            train_accuracy: 1.0,
            validation_loss: Some(0.25),
            validation_accuracy: Some(0.5),
            validation_macro_f1: Some(1.0 / 3.0),
            validation_map: None,
            is_best: true,
            trainable_parameters: None,
        };
        let unmeasured = HistoryRow {
            epoch: 2,
            validation_loss: None,
            validation_accuracy: None,
            validation_macro_f1: None,
            is_best: false,
            ..measured.clone()
        };
        let rows = [measured, unmeasured];
        insta::assert_snapshot!(history_csv(&rows), @r"
        epoch,lr,train_loss,train_accuracy,validation_loss,validation_accuracy,validation_macro_f1,is_best
        1,0.00001,0.30000000000000004,1.0,0.25,0.5,0.3333333333333333,true
        2,0.00001,0.30000000000000004,1.0,,,,false
        ");
        assert_eq!(read_history(&history_csv(&rows)).unwrap(), rows);
        assert!(history_csv(&[]).starts_with("epoch,"));
        let labelled = rows.clone().map(|row| HistoryRow { validation_map: Some(0.75), ..row });
        assert_eq!(read_history(&history_csv(&labelled)).unwrap(), labelled);
        let gradual =
            rows.map(|row| HistoryRow { trainable_parameters: Some(2 * u64::from(row.epoch)), ..row });
        assert_eq!(read_history(&history_csv(&gradual)).unwrap(), gradual);
        assert!(read_history("epoch,lr\n1,x\n").is_err());
    }

    proptest! {
        #[test]
        fn predictions_read_back_to_the_bit(
            rows in prop::collection::vec((".*", ".*", ".*", prop::array::uniform2(0f32..=1.0)), 0..5)
        ) {
            let rows: Vec<Prediction> = rows
                .into_iter()
                .map(|(file, label, predicted, p)| Prediction { file, label, predicted, probabilities: p.to_vec() })
                .collect();
            let classes = ["a,b".to_owned(), "\"c\"\n".to_owned()];
            prop_assert_eq!(read_predictions(&predictions_csv(&classes, &rows)).unwrap(), rows);
        }
    }
}
