//! The scores of subsets as a table, in a file and on a page.

use super::parts::{ColumnKind, ReportColumn, ReportTable, TableCell};
use super::tables::{IN_MEMORY, text};
use super::text::{count, percent};
use crate::csv_cells;

/// The columns after the name of the subset and the value: the name in files, and the title for people.
pub struct SubsetColumns {
    pub counts: &'static [(&'static str, &'static str)],
    /// Fractions of 1.
    pub scores: &'static [(&'static str, &'static str)],
}

/// A value of a subset, with a number for each column.
#[derive(Clone, Debug, PartialEq)]
pub struct SubsetRow<'a> {
    pub subset: &'a str,
    pub value: &'a str,
    pub counts: Vec<u64>,
    /// `None` of an unknown score.
    pub scores: Vec<Option<f64>>,
}

/// A row for each value. An unknown score is an empty field.
pub fn subsets_csv(columns: &SubsetColumns, rows: &[SubsetRow]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let names = columns.counts.iter().chain(columns.scores).map(|(name, _)| *name);
    writer.write_record(["subset", "value"].into_iter().chain(names)).expect(IN_MEMORY);
    for SubsetRow { subset, value, counts, scores } in rows {
        let names = [subset, value].map(|name| csv_cells::text(name).into_owned());
        let counts = counts.iter().map(u64::to_string);
        let scores = scores.iter().map(|score| score.as_ref().map(f64::to_string).unwrap_or_default());
        writer.write_record(names.into_iter().chain(counts).chain(scores)).expect(IN_MEMORY);
    }
    text(writer)
}

/// The same for people.
pub fn subset_table(columns: &SubsetColumns, rows: &[SubsetRow]) -> ReportTable {
    let named = ["subset", "value"].map(|heading| ReportColumn::new(heading, ColumnKind::Name));
    let numbers = columns.counts.iter().chain(columns.scores);
    let numbers = numbers.map(|(_, title)| ReportColumn::new(*title, ColumnKind::Number));
    let row = |SubsetRow { subset, value, counts, scores }: &SubsetRow| -> Vec<TableCell> {
        let names = [*subset, *value].map(TableCell::from).into_iter();
        let counts = counts.iter().map(|number| count(*number).into());
        let scores = scores.iter().map(|score| score.map(percent).unwrap_or_default().into());
        names.chain(counts).chain(scores).collect()
    };
    ReportTable {
        title: "Subsets".to_owned(),
        columns: named.into_iter().chain(numbers).collect(),
        rows: rows.iter().map(row).collect(),
        always_open: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_a_row() {
        let columns = SubsetColumns { counts: &[("images", "images")], scores: &[("ap50", "AP50")] };
        let row =
            |value, score| SubsetRow { subset: "shadow", value, counts: vec![1200], scores: vec![score] };
        let rows = [row("=inside", Some(0.125)), row("outside", None)];
        let text = subsets_csv(&columns, &rows);
        assert_eq!(text, "subset,value,images,ap50\nshadow,'=inside,1200,0.125\nshadow,outside,1200,\n");
        let table = subset_table(&columns, &rows);
        assert_eq!(table.rows[0], ["shadow", "=inside", "1,200", "12.5\u{a0}%"].map(TableCell::from));
        assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
    }
}
