//! The parts of a task's report. The page renders these parts and does not depend on the task.

use super::svg::Svg;
use super::tables::Prediction;
use super::text::{count, percent};
use crate::metrics::Metric;

/// The maximum number of mistakes shown.
const MISTAKES: usize = 12;

/// The result of an evaluation, as its task shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskReport {
    /// The text in the list of stages.
    pub headline: Vec<(&'static Metric, f64)>,
    /// In the order of the page.
    pub parts: Vec<ReportPart>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ReportPart {
    /// Single numbers, in one row.
    Tiles(Vec<Tile>),
    /// A line of text.
    Note(String),
    /// Sentences that say what the numbers mean.
    Paragraph(String),
    Picture(Svg),
    Photo(Photo),
    Table(ReportTable),
}

/// A picture of pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Photo {
    /// The bytes of a JPEG file.
    pub jpeg: Vec<u8>,
    /// What it shows, in words.
    pub alt: &'static str,
}

/// A number and its label.
#[derive(Clone, Debug, PartialEq)]
pub struct Tile {
    pub value: String,
    pub name: String,
}

impl Tile {
    pub fn new(value: impl Into<String>, name: impl Into<String>) -> Self {
        Self { value: value.into(), name: name.into() }
    }
}

/// A table that can be folded. Every row has a cell for each column.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportTable {
    pub title: String,
    pub columns: Vec<ReportColumn>,
    pub rows: Vec<Vec<TableCell>>,
    /// Whether a long table is initially open, too.
    pub always_open: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ReportColumn {
    pub heading: String,
    pub kind: ColumnKind,
}

impl ReportColumn {
    pub fn new(heading: impl Into<String>, kind: ColumnKind) -> Self {
        Self { heading: heading.into(), kind }
    }
}

/// The format of a column's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text that breaks between words.
    Text,
    /// A name, which may break anywhere.
    Name,
    /// A path.
    File,
    /// Aligned to the right.
    Number,
    /// A bar for a fraction of 1.
    Bar,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TableCell {
    Text(String),
    /// A fraction of 1, for a bar.
    Share(f64),
}

impl From<String> for TableCell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for TableCell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// The wrong predictions, the most confident first; `None` if all are right. `confidence` ranks them. `truth` and
/// `probability` are the headings of the label and confidence columns.
pub fn mistakes(
    predictions: &[Prediction],
    [truth, probability]: [&str; 2],
    confidence: impl Fn(&Prediction) -> f32,
) -> Option<ReportPart> {
    let wrong = predictions.iter().filter(|row| row.predicted != row.label);
    let mut wrong: Vec<(&Prediction, f32)> = wrong.map(|row| (row, confidence(row))).collect();
    wrong.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.file.cmp(&b.0.file)));
    let title = match wrong.len() {
        0 => return None,
        1..=MISTAKES => "Mistakes, the surest first".to_owned(),
        more => format!("The {MISTAKES} surest of {} mistakes", count(more as u64)),
    };
    let row = |(row, confidence): (&Prediction, f32)| -> Vec<TableCell> {
        let [file, label, predicted] =
            [&row.file, &row.label, &row.predicted].map(|text| text.as_str().into());
        vec![file, label, predicted, percent(f64::from(confidence)).into()]
    };
    Some(ReportPart::Table(ReportTable {
        title,
        columns: vec![
            ReportColumn::new("file", ColumnKind::File),
            ReportColumn::new(truth, ColumnKind::Text),
            ReportColumn::new("predicted", ColumnKind::Text),
            ReportColumn::new(probability, ColumnKind::Number),
        ],
        rows: wrong.into_iter().take(MISTAKES).map(row).collect(),
        always_open: true,
    }))
}
