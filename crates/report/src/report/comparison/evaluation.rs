//! What a comparison shows of one evaluation, as its task provides it. No code here depends on a task's name.

use std::collections::BTreeMap;

use super::Unit;
use crate::metrics::Direction;
use crate::report::{ImageBox, ShareOf};

/// The parts of an evaluation that a comparison lays side by side, in addition to the numbers of its `metrics.json`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ComparedEvaluation {
    pub numbers: Vec<ComparedNumber>,
    /// Each in a figure of its own.
    pub curves: Vec<ComparedCurve>,
    pub matrix: Option<ComparedMatrix>,
}

/// A number that `metrics.json` has in a list, or that is computed from tables.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedNumber {
    /// Such as `ap50/car`: the metric, then the class.
    pub name: String,
    pub value: f64,
    pub unit: Unit,
    pub better: Direction,
}

impl ComparedNumber {
    /// A fraction of 1 that is better high, as a plain number.
    pub fn share(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value, unit: Unit::Number, better: Direction::Higher }
    }
}

/// A curve over values from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedCurve {
    /// The name of its figure, such as `PR_curve`.
    pub file: &'static str,
    pub heading: &'static str,
    pub x_title: &'static str,
    pub y_title: &'static str,
    pub x: Vec<f64>,
    /// A value for each `x`.
    pub y: Vec<f64>,
    /// The score that the legend shows, such as average precision.
    pub score: Option<f64>,
}

/// A matrix of counts, with what its fractions are of.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedMatrix {
    pub names: Vec<String>,
    /// A row for each name.
    pub counts: Vec<Vec<u64>>,
    pub row_title: &'static str,
    pub column_title: &'static str,
    pub shares: ShareOf,
}

impl ComparedMatrix {
    /// The counts as fractions of their row or column; 0 of an empty one.
    pub fn fractions(&self) -> Vec<Vec<f64>> {
        let of_column = |column: usize| self.counts.iter().filter_map(|row| row.get(column)).sum::<u64>();
        let columns: Vec<u64> = (0..self.names.len()).map(of_column).collect();
        let share = |row: &Vec<u64>, column: usize| {
            let total = match self.shares {
                ShareOf::Row => row.iter().sum(),
                ShareOf::Column => columns.get(column).copied().unwrap_or_default(),
            };
            row[column] as f64 / total.max(1) as f64
        };
        self.counts.iter().map(|row| (0..row.len()).map(|column| share(row, column)).collect()).collect()
    }
}

/// The images of an evaluation: what they show, and what the model predicts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ComparedImages {
    /// By the path of the image, below the root of its data set.
    pub images: BTreeMap<String, ComparedImage>,
    pub classes: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ComparedImage {
    pub truth: ImageAnswer,
    pub predicted: ImageAnswer,
    /// The number of mistakes: a wrong class, or missed objects and false alarms.
    pub mistakes: u64,
}

/// What an image shows: its class as text, or boxes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageAnswer {
    pub caption: Option<String>,
    pub boxes: Vec<JudgedBox>,
}

/// A box, in pixels of the image, and whether it is right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JudgedBox {
    pub shown: ImageBox,
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An object of the ground truth.
    Truth,
    /// An object that was found.
    Hit,
    /// A box around nothing, or of another class.
    FalseAlarm,
    /// An object that was not found.
    Missed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_of_rows_or_columns() {
        let matrix = |shares| ComparedMatrix {
            names: ["a", "b"].map(str::to_owned).into(),
            counts: vec![vec![3, 1], vec![1, 0]],
            row_title: "",
            column_title: "",
            shares,
        };
        assert_eq!(matrix(ShareOf::Row).fractions(), [[0.75, 0.25], [1.0, 0.0]]);
        assert_eq!(matrix(ShareOf::Column).fractions(), [[0.75, 1.0], [0.25, 0.0]]);
        let empty = ComparedMatrix { counts: vec![vec![0; 2]; 2], ..matrix(ShareOf::Column) };
        assert_eq!(empty.fractions(), [[0.0; 2]; 2]);
    }
}
