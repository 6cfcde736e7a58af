//! The epochs of a train stage as `results.csv`, under the column names of Ultralytics.

use super::losses::TERMS;
use crate::report::{BoxEpoch, results_csv};
use crate::task::TaskFile;
use crate::train::{EpochRow, Scores};

/// The scores that `results.csv` has, in its order. They are COCO's numbers.
const SCORES: [&str; 4] = ["precision", "recall", "ap50", "ap50_95"];

/// `results.csv`, next to `history.csv`.
pub fn files(rows: &[EpochRow]) -> Vec<TaskFile> {
    let epochs: Vec<BoxEpoch> = rows.iter().map(epoch).collect();
    vec![TaskFile::new("results.csv", results_csv(&epochs))]
}

fn epoch(row: &EpochRow) -> BoxEpoch {
    let none = Scores::new();
    let validation = row.validation.as_ref().unwrap_or(&none);
    BoxEpoch {
        epoch: row.epoch,
        train: TERMS.map(|name| value(&row.train, name)),
        scores: SCORES.map(|name| value(validation, name)),
        validation: TERMS.map(|name| value(validation, name)),
        lr: [row.lr, row.lr, row.bias_lr.unwrap_or(row.lr)],
    }
}

fn value(scores: &Scores, name: &str) -> f64 {
    scores.get(name).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(values: &[(&str, f64)]) -> Scores {
        values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn an_epoch_is_a_row_with_the_learning_rate_of_biases_apart() {
        let train = scores(&[("box_loss", 1.5), ("class_loss", 2.0), ("dfl_loss", 0.5), ("loss", 4.0)]);
        let validation =
            scores(&[("box_loss", 1.25), ("ap50", 0.75), ("ap50_95", 0.5), ("precision", 0.625)]);
        let first = EpochRow {
            epoch: 1,
            lr: 0.003,
            bias_lr: Some(0.07),
            train,
            validation: Some(validation),
            best: true,
            skipped_steps: None,
        };
        let second = EpochRow { epoch: 2, lr: 0.01, bias_lr: None, validation: None, ..first.clone() };
        let [file] = &files(&[first, second])[..] else { panic!("one file") };
        let rows: Vec<&str> = std::str::from_utf8(&file.bytes).unwrap().lines().skip(1).collect();
        let expected =
            ["1,0,1.5,2,0.5,0.625,,0.75,0.5,1.25,,,3e-3,3e-3,0.07", "2,0,1.5,2,0.5,,,,,,,,0.01,0.01,0.01"];
        assert_eq!(rows, expected);
    }
}
