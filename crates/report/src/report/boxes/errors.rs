//! The errors of boxes as tables: counts and costs of each type, and a list of the most confident ones.

use serde::{Deserialize, Serialize};

use super::ImageBox;
use crate::csv_cells;
use crate::error::{Error, Result};
use crate::report::tables::{IN_MEMORY, text, unreadable};

/// A type of error of a class, or of all classes.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorRow<'a> {
    /// `all` for all classes.
    pub class: &'a str,
    pub error: &'static str,
    pub count: u64,
    /// Counted again from the best confidence on; `None` if there is none.
    pub confident: Option<u64>,
    /// What the type costs in average precision; `None` if that is unknown.
    pub dap: Option<f64>,
}

/// A row for each class and type of error.
pub fn errors_csv(rows: &[ErrorRow]) -> String {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.write_record(["class", "error", "count", "confident", "dap"]).expect(IN_MEMORY);
    for ErrorRow { class, error, count, confident, dap } in rows {
        writer.serialize((csv_cells::text(class), error, count, confident, dap)).expect(IN_MEMORY);
    }
    text(writer)
}

/// A box that is wrong, with the object that it was probably meant for.
#[derive(Clone, Debug, PartialEq)]
pub struct WrongBox {
    /// The path relative to the data set's root.
    pub file: String,
    pub class: String,
    /// The type of its error.
    pub error: String,
    pub found: ImageBox,
    /// `None` of a box that shows background.
    pub truth: Option<MeantObject>,
}

/// The object that a wrong box was probably meant for.
#[derive(Clone, Debug, PartialEq)]
pub struct MeantObject {
    pub class: String,
    /// Left, top, right, bottom in pixels.
    pub corners: [f32; 4],
    /// The intersection over union of both boxes.
    pub iou: f64,
}

/// A row of the table of wrong boxes.
#[derive(Serialize, Deserialize)]
struct Row {
    file: String,
    class: String,
    error: String,
    score: Option<f32>,
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
    iou: Option<f64>,
    truth_class: Option<String>,
    truth_left: Option<f32>,
    truth_top: Option<f32>,
    truth_right: Option<f32>,
    truth_bottom: Option<f32>,
}

const COLUMNS: [&str; 14] = [
    "file",
    "class",
    "error",
    "score",
    "left",
    "top",
    "right",
    "bottom",
    "iou",
    "truth_class",
    "truth_left",
    "truth_top",
    "truth_right",
    "truth_bottom",
];

/// A row for each wrong box, in the order of the list. Numbers read back as the same floats.
pub fn wrong_boxes_csv(boxes: &[WrongBox]) -> String {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.write_record(COLUMNS).expect(IN_MEMORY);
    let cell = |name: &str| csv_cells::text(name).into_owned();
    for WrongBox { file, class, error, found, truth } in boxes {
        let ImageBox { score, left, top, right, bottom, .. } = *found;
        let side = |side: usize| truth.as_ref().map(|object| object.corners[side]);
        let row = Row {
            file: cell(file),
            class: cell(class),
            error: error.clone(),
            score,
            left,
            top,
            right,
            bottom,
            iou: truth.as_ref().map(|object| object.iou),
            truth_class: truth.as_ref().map(|object| cell(&object.class)),
            truth_left: side(0),
            truth_top: side(1),
            truth_right: side(2),
            truth_bottom: side(3),
        };
        writer.serialize(row).expect(IN_MEMORY);
    }
    text(writer)
}

/// Reads what [`wrong_boxes_csv`] wrote. The index of a box's class is 0.
///
/// # Errors
/// The table has another format.
pub fn read_wrong_boxes(text: &str) -> Result<Vec<WrongBox>> {
    let read = |row: csv::Result<Row>| {
        let row = row.map_err(unreadable)?;
        let name = |cell: &str| csv_cells::name(cell).to_owned();
        let Row { score, left, top, right, bottom, .. } = row;
        let corners = [row.truth_left, row.truth_top, row.truth_right, row.truth_bottom];
        let truth = match (row.truth_class, row.iou, corners) {
            (None, None, [None, None, None, None]) => None,
            (Some(class), Some(iou), [Some(left), Some(top), Some(right), Some(bottom)]) => {
                Some(MeantObject { class: name(&class), corners: [left, top, right, bottom], iou })
            }
            _ => return Err(Error::failed("unreadable table: a row has a part of an object")),
        };
        Ok(WrongBox {
            file: name(&row.file),
            class: name(&row.class),
            error: row.error,
            found: ImageBox { class: 0, score, left, top, right, bottom },
            truth,
        })
    };
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_reads_back_what_was_written() {
        let found =
            ImageBox { class: 0, score: Some(0.9), left: 10.5, top: 20.1, right: 330.5, bottom: 260.1 };
        let wrong = WrongBox {
            file: "harbour, old/1.jpg".to_owned(),
            class: "=ship".to_owned(),
            error: "classification".to_owned(),
            found,
            truth: Some(MeantObject {
                class: "buoy".to_owned(),
                corners: [0.0, 1.0, 2.0, 3.25],
                iou: 0.1 + 0.2,
            }),
        };
        let background = WrongBox { error: "background".to_owned(), truth: None, ..wrong.clone() };
        let text = wrong_boxes_csv(&[wrong.clone(), background.clone()]);
        insta::assert_snapshot!(text, @r#"
        file,class,error,score,left,top,right,bottom,iou,truth_class,truth_left,truth_top,truth_right,truth_bottom
        "harbour, old/1.jpg",'=ship,classification,0.9,10.5,20.1,330.5,260.1,0.30000000000000004,buoy,0.0,1.0,2.0,3.25
        "harbour, old/1.jpg",'=ship,background,0.9,10.5,20.1,330.5,260.1,,,,,,
        "#);
        assert_eq!(read_wrong_boxes(&text).unwrap(), [wrong, background]);
        let part = text.replace(",buoy", ",");
        assert!(read_wrong_boxes(&part).unwrap_err().message.contains("a part of an object"));
        assert_eq!(read_wrong_boxes(&wrong_boxes_csv(&[])).unwrap(), []);
    }

    #[test]
    fn unknown_numbers_are_empty() {
        let row = ErrorRow { class: "=a", error: "missed", count: 3, confident: Some(1), dap: Some(0.25) };
        let unknown = ErrorRow { class: "all", confident: None, dap: None, ..row.clone() };
        insta::assert_snapshot!(errors_csv(&[unknown, row]), @r"
        class,error,count,confident,dap
        all,missed,3,,
        '=a,missed,3,1,0.25
        ");
    }
}
