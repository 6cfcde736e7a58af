//! Finds the columns of a table by their content and their names.

use std::path::Path;

use defrost::Result;
use defrost::data::{OtherFormat, image_format_extensions, is_image};

use super::Table;
use crate::cli::init::Args;

/// Names of columns that people use, in lower case; those that say most come first.
const PATHS: [&str; 12] = [
    "path",
    "filepath",
    "file_path",
    "image_path",
    "file",
    "filename",
    "file_name",
    "image",
    "img",
    "image_name",
    "image_id",
    "id",
];
const CLASSES: [&str; 13] = [
    "class",
    "class_name",
    "label",
    "label_name",
    "category",
    "species",
    "target",
    "diagnosis",
    "dx",
    "type",
    "name",
    "y",
    "labels",
];
/// The values of a column of splits.
const SPLITS: [&str; 5] = ["train", "validation", "val", "valid", "test"];
const SEPARATORS: [&str; 3] = [";", "|", ","];

/// The columns that a data set reads, by name.
pub struct Columns {
    pub path: String,
    pub shown: Shown,
    pub split: Option<String>,
}

/// What images show.
pub enum Shown {
    Class(String),
    Labels(String, &'static str),
    Flags(Vec<String>),
}

impl Columns {
    /// # Errors
    /// A column that is needed cannot be found, or is not in the table.
    pub fn find(table: &Table, args: &Args) -> Result<Self> {
        for (option, column) in [
            ("--path-column", &args.path_column),
            ("--class-column", &args.class_column),
            ("--labels-column", &args.labels_column),
            ("--split-column", &args.split_column),
        ] {
            if let Some(column) = column.as_ref().filter(|column| !table.header.contains(column)) {
                let error = table.error(format!("there is no column `{column}`"));
                return Err(error.hint(format!("give one of these to `{option}`")));
            }
        }
        let path = match &args.path_column {
            Some(column) => column.clone(),
            None => path_column(table)?,
        };
        let mut rest: Vec<&String> = table.header.iter().filter(|column| **column != path).collect();
        let split = args.split_column.clone().or_else(|| split_column(table, &rest));
        rest.retain(|column| Some(*column) != split.as_ref());
        let shown = match (&args.class_column, &args.labels_column) {
            (Some(class), _) => Shown::Class(class.clone()),
            (None, Some(labels)) => Shown::Labels(labels.clone(), separator(table, labels).unwrap_or(";")),
            (None, None) => shown_column(table, &rest)?,
        };
        Ok(Self { path, shown, split })
    }

    /// Those that every table of the data set has.
    pub fn needed(&self) -> Vec<String> {
        let shown = match &self.shown {
            Shown::Class(column) | Shown::Labels(column, _) => vec![column.clone()],
            Shown::Flags(columns) => columns.clone(),
        };
        [vec![self.path.clone()], shown].concat()
    }
}

/// The column in which every cell names an image. Of several, the one with the most usual name.
fn path_column(table: &Table) -> Result<String> {
    let all: Vec<&String> = table.header.iter().collect();
    let has_images = |column: &&&String| table.cells(column).all(|cell| is_image(Path::new(cell)));
    let found: Vec<&String> = all.iter().filter(has_images).copied().collect();
    if let Some(column) = table.known(&found, &PATHS).or(found.first().copied()) {
        return Ok(column.clone());
    }
    let error = table.error("no column has image files".to_owned());
    // A column of names without extensions, or of files that are not read.
    let named = table.known(&all, &PATHS);
    let cell = named.and_then(|column| table.cells(column).find(|cell| !is_image(Path::new(cell))));
    Err(match (named, cell) {
        (Some(_), Some(cell)) if let Some(other) = OtherFormat::of_name(Path::new(cell)) => error.hint(
            format!("`{cell}` is {} file, which is not read: {}", other.with_article(), other.conversion()),
        ),
        (Some(column), Some(cell)) => error.hint(format!(
            "write whole file names into `{column}`, such as `{cell}.jpg`; {} files are read",
            image_format_extensions("and")
        )),
        _ => error.hint("add a column `path` with the file of each image"),
    })
}

/// A column that has nothing but names of splits.
fn split_column(table: &Table, candidates: &[&String]) -> Option<String> {
    let is_split = |column: &&&String| {
        let values = table.distinct(column);
        values.contains("train") && values.len() > 1 && values.iter().all(|value| SPLITS.contains(value))
    };
    candidates.iter().find(is_split).map(|column| (*column).clone())
}

/// The column with a class or labels, or those with one label each.
fn shown_column(table: &Table, candidates: &[&String]) -> Result<Shown> {
    let of_column = |column: &String| match separator(table, column) {
        Some(separator) => Shown::Labels(column.clone(), separator),
        None => Shown::Class(column.clone()),
    };
    // Classes repeat; numbers, names and descriptions do not.
    let repeats = |column: &&&String| {
        let count = table.distinct(column).len();
        count > 1 && 2 * count <= table.rows.len()
    };
    let repeating: Vec<&String> = candidates.iter().filter(repeats).copied().collect();
    let named = table.known(&repeating, &CLASSES);
    if let Some(column) = named.or_else(|| table.known(candidates, &["class", "label", "labels"])) {
        return Ok(of_column(column));
    }
    if let Some(column) = table.known(candidates, &["tags", "label_list", "attributes"]) {
        return Ok(Shown::Labels(column.clone(), separator(table, column).unwrap_or(";")));
    }
    let is_flag = |column: &&&String| {
        let values = table.distinct(column);
        values.len() == 2 && values.iter().all(|value| matches!(*value, "0" | "1" | "0.0" | "1.0"))
    };
    let flags: Vec<String> = candidates.iter().filter(is_flag).map(|column| (*column).clone()).collect();
    if flags.len() > 1 {
        return Ok(Shown::Flags(flags));
    }
    match repeating[..] {
        [only] => Ok(of_column(only)),
        [] => Err(table
            .error("no column has classes".to_owned())
            .hint("give the column with `--class-column NAME`, or `--labels-column NAME` for several labels per image")),
        _ => {
            let count = |column: &&String| format!("`{column}` ({} values)", table.distinct(column).len());
            let found: Vec<String> = repeating.iter().map(count).collect();
            Err(table
                .error("several columns may have the classes".to_owned())
                .hint(format!("give one with `--class-column NAME`: {}", found.join(", "))))
        }
    }
}

/// The character between the labels in a column; `None` if there is one class in each cell.
fn separator(table: &Table, column: &str) -> Option<&'static str> {
    SEPARATORS.into_iter().find(|separator| table.cells(column).any(|cell| cell.contains(separator)))
}
