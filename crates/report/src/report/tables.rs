//! The tables of a run directory as CSV, written and read back without loss.
//!
//! Numbers have the shortest form that reads back as the same float. A missing value is an empty field. Names are
//! escaped by [`cells`].

use std::borrow::Cow;

use crate::csv_cells;
use crate::data::BrokenImage;
use crate::error::{Error, Result};
use crate::metrics::{ClassificationScores, LabelMetrics, MultiLabelScores};

/// The prediction for one image: a row of `predictions.csv`.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The path relative to the data set's root.
    pub file: String,
    /// Its class, or all of its labels, separated by [`LABELS_BETWEEN`](crate::data::LABELS_BETWEEN).
    pub label: String,
    pub predicted: String,
    /// One for each class, in the order of the classes.
    pub probabilities: Vec<f32>,
}

/// Rows are the true classes, columns the predicted ones.
pub fn confusion_csv(metrics: &ClassificationScores) -> String {
    let names: Vec<&str> = metrics.per_class.iter().map(|class| class.class.as_str()).collect();
    matrix_csv("true/predicted", &names, &metrics.confusion_matrix)
}

/// A matrix of counts. `corner` says what rows and columns are, such as `true/predicted`.
pub fn matrix_csv(corner: &str, names: &[&str], counts: &[Vec<u64>]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let names = names.iter().map(|name| csv_cells::text(name));
    let header = names.clone().map(Cow::into_owned);
    writer.write_record(std::iter::once(corner.to_owned()).chain(header)).expect(IN_MEMORY);
    for (name, row) in names.zip(counts) {
        let counts = row.iter().map(u64::to_string);
        writer.write_record(std::iter::once(name.into_owned()).chain(counts)).expect(IN_MEMORY);
    }
    text(writer)
}

/// Reads the counts that [`matrix_csv`] wrote, row by row.
///
/// # Errors
/// A cell is no count.
pub fn read_matrix(text: &str) -> Result<Vec<Vec<u64>>> {
    let count = |cell: &str| {
        cell.parse().map_err(|_| Error::failed(format!("unreadable table: `{cell}` is no count")))
    };
    let row = |record: csv::Result<csv::StringRecord>| {
        record.map_err(unreadable)?.iter().skip(1).map(count).collect::<Result<Vec<u64>>>()
    };
    csv::Reader::from_reader(text.as_bytes()).records().map(row).collect()
}

/// A row for each label.
pub fn labels_csv(metrics: &MultiLabelScores) -> String {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    let header = ["label", "images", "precision", "recall", "f1", "average_precision"];
    writer.write_record(header).expect(IN_MEMORY);
    for label in &metrics.per_class {
        let LabelMetrics { class, precision, recall, f1, average_precision, support } = label;
        writer
            .serialize((csv_cells::text(class), support, precision, recall, f1, average_precision))
            .expect(IN_MEMORY);
    }
    text(writer)
}

/// A row for each class: its name, its threshold, and sensitivity, specificity, precision and F1 on the evaluated images
/// and on the validation images.
pub fn thresholds_csv(rows: impl Iterator<Item = (String, Option<f64>, [f64; 4], [f64; 4])>) -> String {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    let scores = ["sensitivity", "specificity", "precision", "f1"].map(str::to_owned);
    let validation = scores.clone().map(|name| format!("validation_{name}"));
    let names = ["class", "threshold"].map(str::to_owned).into_iter().chain(scores).chain(validation);
    writer.write_record(names).expect(IN_MEMORY);
    rows.for_each(|row| writer.serialize(row).expect(IN_MEMORY));
    text(writer)
}

/// A list of images that cannot be decoded.
pub fn broken_csv(images: &[BrokenImage]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["file", "cause"]).expect(IN_MEMORY);
    let row = |image: &BrokenImage| {
        [csv_cells::text(&image.file).into_owned(), csv_cells::text(&image.cause).into_owned()]
    };
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
        let [file, label, predicted] =
            [&row.file, &row.label, &row.predicted].map(|name| csv_cells::text(name));
        let fields = (file, label, predicted, &row.probabilities);
        writer.serialize(fields).expect(IN_MEMORY);
    }
    text(writer)
}

/// A row for each new image, whose true class is unknown: file, predicted class or labels, and the probability of each
/// class.
pub fn new_images_csv<'a>(
    classes: &[String],
    rows: impl Iterator<Item = (&'a str, String, &'a [f32])>,
) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let columns = classes.iter().map(|class| format!("probability {class}"));
    writer.write_record(["file", "label"].map(str::to_owned).into_iter().chain(columns)).expect(IN_MEMORY);
    for (file, label, probabilities) in rows {
        let fields = (csv_cells::text(file), csv_cells::text(&label), probabilities);
        writer.serialize(fields).expect(IN_MEMORY);
    }
    text(writer)
}

/// The classes of what [`predictions_csv`] wrote; `None` of another table of predictions.
///
/// # Errors
/// The table has no header.
pub fn prediction_classes(text: &str) -> Result<Option<Vec<String>>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns = reader.headers().map_err(unreadable)?.iter().skip(3);
    let classes: Option<Vec<String>> =
        columns.map(|column| column.strip_prefix("probability ").map(str::to_owned)).collect();
    Ok(classes.filter(|classes| !classes.is_empty()))
}

/// A prediction by the run that held its image out.
#[derive(Clone, Debug, PartialEq)]
pub struct OutOfFoldRow {
    /// The label of the run's row in the comparison.
    pub row: String,
    pub seed: u64,
    pub fold: u64,
    pub prediction: Prediction,
}

/// The predictions of a cross-validation, with the row, the seed and the fold of the run.
pub fn out_of_fold_csv(classes: &[String], rows: &[OutOfFoldRow]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = ["row", "seed", "fold", "file", "label", "predicted"].map(str::to_owned).into_iter();
    let columns = classes.iter().map(|class| format!("probability {class}"));
    writer.write_record(header.chain(columns)).expect(IN_MEMORY);
    for OutOfFoldRow { row, seed, fold, prediction } in rows {
        let [row, file, label, predicted] = [row, &prediction.file, &prediction.label, &prediction.predicted]
            .map(|name| csv_cells::text(name));
        writer
            .serialize((row, seed, fold, file, label, predicted, &prediction.probabilities))
            .expect(IN_MEMORY);
    }
    text(writer)
}

/// The label of an image, and what models say that did not train on it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct CheckedLabel {
    /// The path relative to the data set's root.
    pub file: String,
    /// The given class, or labels.
    pub label: String,
    /// The likely one.
    pub suggested: String,
    /// How likely the given label is compared with others, from −1 to 1. Below 0, another one is more likely.
    pub margin: f64,
    /// The number of predictions that are averaged.
    pub runs: usize,
    /// The annotated box, and the one that was found: left, top, right and bottom in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_box: Option<[f32; 4]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested_box: Option<[f32; 4]>,
}

impl CheckedLabel {
    /// Such as `cat → dog, margin −0.93`.
    pub fn in_words(&self) -> String {
        let name = |label: &String| if label.is_empty() { "nothing".to_owned() } else { label.clone() };
        let sign = if self.margin < 0.0 { "−" } else { "" };
        let moved = self.label == self.suggested && self.suggested_box.is_some();
        let place = if moved { " in another place" } else { "" };
        let (given, suggested) = (name(&self.label), name(&self.suggested));
        format!("{given} → {suggested}{place}, margin {sign}{:.2}", self.margin.abs())
    }
}

/// A row for each image, or each box, in their order. Boxes have their corners in pixels.
pub fn label_check_csv(rows: &[CheckedLabel]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let boxes = rows.iter().any(|row| row.given_box.is_some() || row.suggested_box.is_some());
    let mut header = vec!["rank", "file", "label", "suggested", "margin", "runs"];
    if boxes {
        header.extend(["left", "top", "right", "bottom"]);
        header.extend(["suggested_left", "suggested_top", "suggested_right", "suggested_bottom"]);
    }
    writer.write_record(header).expect(IN_MEMORY);
    for (place, row) in rows.iter().enumerate() {
        let [file, label, suggested] =
            [&row.file, &row.label, &row.suggested].map(|name| csv_cells::text(name));
        let mut cells = vec![(place + 1).to_string(), file.into_owned(), label.into_owned()];
        cells.extend([suggested.into_owned(), row.margin.to_string(), row.runs.to_string()]);
        for corners in [row.given_box, row.suggested_box].into_iter().filter(|_| boxes) {
            match corners {
                Some(corners) => cells.extend(corners.map(|corner| format!("{corner:.1}"))),
                None => cells.extend([const { String::new() }; 4]),
            }
        }
        writer.write_record(cells).expect(IN_MEMORY);
    }
    text(writer)
}

/// Reads what [`predictions_csv`] wrote.
pub fn read_predictions(text: &str) -> Result<Vec<Prediction>> {
    let read = |row: csv::Result<(String, String, String, Vec<f32>)>| {
        let (file, label, predicted, probabilities) = row.map_err(unreadable)?;
        let [file, label, predicted] = [file, label, predicted].map(|cell| csv_cells::name(&cell).to_owned());
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
    fn a_matrix_reads_back() {
        let counts = vec![vec![3, 0], vec![u64::MAX, 1]];
        assert_eq!(read_matrix(&matrix_csv("a/b", &["=x", "y,z"], &counts)).unwrap(), counts);
        assert!(read_matrix("a/b,x\nx,-1\n").is_err());
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
