//! The epochs of a train stage, as rows of `history.csv` and of `metrics.json`.
//!
//! Columns follow the task's list of metrics: `train_…` for those measured in training, `validation_…` for all. Numbers
//! have the shortest form that reads back as the same float. A missing value is an empty field.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::tables::{IN_MEMORY, text, unreadable};
use crate::error::{Error, Result};
use crate::metrics::{Metric, Scores};

const TRAIN: &str = "train_";
const VALIDATION: &str = "validation_";

/// One epoch of a train stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistoryRow {
    /// From 1.
    pub epoch: u32,
    /// The optimizer's learning rate at the last step of the epoch, before any group's scale.
    pub lr: f64,
    /// Means over the images of the training steps, with augmentation.
    pub train: Scores,
    /// `None` without a validation split.
    pub validation: Option<Scores>,
    /// Whether the monitor was better than in all epochs before: the last such row is `@best`.
    pub is_best: bool,
    /// The number of trainable parameters in this epoch, if parameters are unfrozen during the stage.
    pub trainable_parameters: Option<u64>,
    /// The number of steps that were skipped because gradients overflowed, if the stage has a loss scale.
    pub skipped_steps: Option<u64>,
}

/// A field of a row.
enum RowField {
    Number(f64),
    Flag(bool),
    Absent,
}

impl HistoryRow {
    /// A score of the validation split.
    pub fn validated(&self, name: &str) -> Option<f64> {
        self.validation.as_ref()?.get(name).copied()
    }

    /// The row as an object of `metrics.json`.
    pub fn document(&self, metrics: &[Metric]) -> Value {
        let mut fields = Map::new();
        fields.insert("epoch".to_owned(), json!(self.epoch));
        fields.insert("lr".to_owned(), json!(self.lr));
        for metric in metrics.iter().filter(|metric| metric.in_training) {
            let value = self.train.get(metric.name);
            if value.is_some() || !metric.optional {
                fields.insert(format!("{TRAIN}{}", metric.name), json!(value));
            }
        }
        for metric in metrics {
            let value = self.validated(metric.name);
            if value.is_some() || !metric.optional {
                fields.insert(format!("{VALIDATION}{}", metric.name), json!(value));
            }
        }
        fields.insert("is_best".to_owned(), json!(self.is_best));
        if let Some(parameters) = self.trainable_parameters {
            fields.insert("trainable_parameters".to_owned(), json!(parameters));
        }
        if let Some(steps) = self.skipped_steps {
            fields.insert("skipped_steps".to_owned(), json!(steps));
        }
        Value::Object(fields)
    }

    /// A row from its fields by name. Columns with unknown names are ignored.
    fn of_fields(fields: impl Iterator<Item = Result<(String, RowField)>>) -> Result<Self> {
        let (mut row, mut has_epoch, mut has_lr) = (Self::default(), false, false);
        for field in fields {
            let (name, field) = field?;
            match (name.as_str(), field) {
                (_, RowField::Absent) => {}
                ("epoch", RowField::Number(epoch)) => (row.epoch, has_epoch) = (epoch as u32, true),
                ("lr", RowField::Number(lr)) => (row.lr, has_lr) = (lr, true),
                ("is_best", RowField::Flag(is_best)) => row.is_best = is_best,
                ("trainable_parameters", RowField::Number(count)) => {
                    row.trainable_parameters = Some(count as u64);
                }
                ("skipped_steps", RowField::Number(count)) => row.skipped_steps = Some(count as u64),
                (name, RowField::Number(value)) => {
                    if let Some(name) = name.strip_prefix(TRAIN) {
                        row.train.insert(name.to_owned(), value);
                    } else if let Some(name) = name.strip_prefix(VALIDATION) {
                        row.validation.get_or_insert_default().insert(name.to_owned(), value);
                    }
                }
                (name, RowField::Flag(_)) => return Err(Error::failed(format!("no number in `{name}`"))),
            }
        }
        match has_epoch && has_lr {
            true => Ok(row),
            false => Err(Error::failed("an epoch without its number or its learning rate")),
        }
    }
}

impl<'de> Deserialize<'de> for HistoryRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let field = |(name, value): (String, Value)| match value {
            Value::Null => Ok((name, RowField::Absent)),
            Value::Bool(flag) => Ok((name, RowField::Flag(flag))),
            other => match other.as_f64() {
                Some(number) => Ok((name, RowField::Number(number))),
                None => Err(Error::failed(format!("no number in `{name}`"))),
            },
        };
        let fields = Map::deserialize(deserializer)?;
        Self::of_fields(fields.into_iter().map(field)).map_err(serde::de::Error::custom)
    }
}

/// The metrics that have columns: of training, and of validation. An optional one has a column if an epoch has a value.
pub(super) fn measured<'a>(rows: &[HistoryRow], metrics: &'a [Metric]) -> [Vec<&'a Metric>; 2] {
    let trained = |metric: &&Metric| {
        let has_value = || rows.iter().any(|row| row.train.contains_key(metric.name));
        metric.in_training && (!metric.optional || has_value())
    };
    let validated =
        |metric: &&Metric| !metric.optional || rows.iter().any(|row| row.validated(metric.name).is_some());
    [metrics.iter().filter(trained).collect(), metrics.iter().filter(validated).collect()]
}

/// The table of all epochs, with a column for each of the task's metrics.
pub fn history_csv(rows: &[HistoryRow], metrics: &[Metric]) -> String {
    let [train, validation] = measured(rows, metrics);
    let gradual = rows.iter().any(|row| row.trainable_parameters.is_some());
    let scaled = rows.iter().any(|row| row.skipped_steps.is_some());

    let mut header = vec!["epoch".to_owned(), "lr".to_owned()];
    header.extend(train.iter().map(|metric| format!("{TRAIN}{}", metric.name)));
    header.extend(validation.iter().map(|metric| format!("{VALIDATION}{}", metric.name)));
    header.push("is_best".to_owned());
    header.extend(gradual.then(|| "trainable_parameters".to_owned()));
    header.extend(scaled.then(|| "skipped_steps".to_owned()));
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.write_record(header).expect(IN_MEMORY);
    for row in rows {
        let trained: Vec<Option<f64>> =
            train.iter().map(|metric| row.train.get(metric.name).copied()).collect();
        let validated: Vec<Option<f64>> =
            validation.iter().map(|metric| row.validated(metric.name)).collect();
        let optional = [(gradual, row.trainable_parameters), (scaled, row.skipped_steps)];
        let counts: Vec<Option<u64>> =
            optional.into_iter().filter_map(|(there, count)| there.then_some(count)).collect();
        writer.serialize((row.epoch, row.lr, trained, validated, row.is_best, counts)).expect(IN_MEMORY);
    }
    text(writer)
}

/// Reads what [`history_csv`] wrote.
///
/// # Errors
/// A numeric field is not a number.
pub fn read_history(text: &str) -> Result<Vec<HistoryRow>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(unreadable)?.clone();
    let row = |record: csv::Result<csv::StringRecord>| {
        let record = record.map_err(unreadable)?;
        let field = |(name, text): (&str, &str)| match text {
            "" => Ok((name.to_owned(), RowField::Absent)),
            "true" | "false" => Ok((name.to_owned(), RowField::Flag(text == "true"))),
            text => match text.parse() {
                Ok(number) => Ok((name.to_owned(), RowField::Number(number))),
                Err(_) => Err(Error::failed(format!("unreadable table: `{text}` in `{name}` is no number"))),
            },
        };
        HistoryRow::of_fields(header.iter().zip(&record).map(field))
    };
    reader.records().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Direction, MetricFormat};

    const METRICS: [Metric; 4] = [
        Metric::new("loss", "loss", MetricFormat::Number, Direction::Lower).in_training(),
        Metric::new("accuracy", "accuracy", MetricFormat::Percent, Direction::Higher).in_training(),
        Metric::new("macro_f1", "macro F1", MetricFormat::Share, Direction::Higher),
        Metric::new("map", "mAP", MetricFormat::Share, Direction::Higher).optional(),
    ];

    fn scores(values: &[(&str, f64)]) -> Scores {
        values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn history_has_empty_fields_where_nothing_was_measured() {
        let validation = scores(&[("loss", 0.25), ("accuracy", 0.5), ("macro_f1", 1.0 / 3.0)]);
        let measured = HistoryRow {
            epoch: 1,
            lr: 1e-5,
            train: scores(&[("loss", 0.1 + 0.2), ("accuracy", 1.0)]),
            validation: Some(validation),
            is_best: true,
            trainable_parameters: None,
            skipped_steps: None,
        };
        let unmeasured = HistoryRow { epoch: 2, validation: None, is_best: false, ..measured.clone() };
        let rows = [measured, unmeasured];
        let csv = |rows: &[HistoryRow]| history_csv(rows, &METRICS);
        insta::assert_snapshot!(csv(&rows), @r"
        epoch,lr,train_loss,train_accuracy,validation_loss,validation_accuracy,validation_macro_f1,is_best
        1,0.00001,0.30000000000000004,1.0,0.25,0.5,0.3333333333333333,true
        2,0.00001,0.30000000000000004,1.0,,,,false
        ");
        assert_eq!(read_history(&csv(&rows)).unwrap(), rows);
        assert!(csv(&[]).starts_with("epoch,"));
        let mut labelled = rows.clone();
        labelled[0].validation.as_mut().unwrap().insert("map".to_owned(), 0.75);
        assert!(csv(&labelled).contains("validation_macro_f1,validation_map,is_best\n"));
        assert_eq!(read_history(&csv(&labelled)).unwrap(), labelled);
        let gradual =
            rows.map(|row| HistoryRow { trainable_parameters: Some(2 * u64::from(row.epoch)), ..row });
        assert_eq!(read_history(&csv(&gradual)).unwrap(), gradual);
        let scaled = gradual.map(|row| HistoryRow { skipped_steps: Some(u64::from(row.epoch) - 1), ..row });
        assert!(csv(&scaled).contains(",is_best,trainable_parameters,skipped_steps\n"));
        assert_eq!(read_history(&csv(&scaled)).unwrap(), scaled);
        assert!(read_history("epoch,lr\n1,x\n").is_err());
    }

    #[test]
    fn what_is_measured_in_some_trainings_only_has_a_column_in_those() {
        let metrics = [METRICS[0], METRICS[3].in_training()];
        let plain =
            HistoryRow { epoch: 1, lr: 0.1, train: scores(&[("loss", 0.5)]), ..HistoryRow::default() };
        let more = HistoryRow { train: scores(&[("loss", 0.5), ("map", 0.25)]), ..plain.clone() };
        assert_eq!(
            history_csv(std::slice::from_ref(&plain), &metrics).lines().next(),
            Some("epoch,lr,train_loss,validation_loss,is_best")
        );
        let csv = history_csv(std::slice::from_ref(&more), &metrics);
        assert_eq!(csv, "epoch,lr,train_loss,train_map,validation_loss,is_best\n1,0.1,0.5,0.25,,false\n");
        let has = |row: &HistoryRow| row.document(&metrics).get("train_map").is_some();
        assert_eq!([has(&plain), has(&more)], [false, true]);
    }

    #[test]
    fn a_row_is_a_flat_object_with_null_where_nothing_was_measured() {
        let train = scores(&[("loss", 0.5), ("accuracy", 0.75)]);
        let row = HistoryRow { epoch: 3, lr: 0.1, train, ..HistoryRow::default() };
        let document = row.document(&METRICS);
        let expected = json!({
            "epoch": 3,
            "lr": 0.1,
            "train_loss": 0.5,
            "train_accuracy": 0.75,
            "validation_loss": null,
            "validation_accuracy": null,
            "validation_macro_f1": null,
            "is_best": false,
        });
        assert_eq!(document, expected);
        assert_eq!(serde_json::from_value::<HistoryRow>(document).unwrap(), row);
        assert!(serde_json::from_str::<HistoryRow>(r#"{"epoch": 1, "lr": "x"}"#).is_err());
    }
}
