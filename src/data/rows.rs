//! The rows of a table of images as they stand there, each held against what is asked of it.
//!
//! Fields are separated by commas, and quotation marks stand around a whole field or nowhere: a mark that is not closed
//! would swallow the rows behind it.

use std::fmt;
use std::path::{Component, Path};

use csv::StringRecord;

use super::Split;
use super::folders::is_image;
use crate::pipeline::{Csv, suggest};
use crate::{Error, Result};

/// A row and where it stands.
pub struct Row<'a> {
    pub table: &'a Path,
    pub line: u64,
    /// Below the root, with `/`.
    pub path: String,
    /// Its class, or its labels.
    pub names: Vec<String>,
    pub split: Split,
}

impl Row<'_> {
    /// Where it stands, for messages.
    pub fn place(&self) -> impl fmt::Display {
        place(self.table, self.line)
    }
}

/// Where each of the columns is that are read.
struct Columns {
    path: usize,
    shown: Shown,
    split: Option<usize>,
}

/// Where a row says what the image shows.
enum Shown {
    Class(usize),
    /// In one field, with this between two of them.
    Labels(usize, String),
    /// A field for each label.
    Flags(Vec<(usize, String)>),
}

/// The rows of a table; `split` is their part where no column says it.
///
/// # Errors
/// A usage error with the table and the line.
pub fn read<'a>(settings: &Csv, table: &'a Path, split: Split) -> Result<Vec<Row<'a>>> {
    let bytes = std::fs::read(table).map_err(|error| Error::io("read", table, error).as_usage())?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::usage(format!("`{}`, line {line}: this is not UTF-8 text", table.display()))
            .hint("save the table as UTF-8")
    })?;
    // Spreadsheets put a mark ahead of UTF-8.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
    let unreadable = |error: csv::Error| Error::usage(format!("`{}`: {error}", table.display()));
    let header = reader.headers().map_err(unreadable)?.clone();
    let columns = Columns::find(settings, &header).map_err(|error| error.within(place(table, 1)))?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(unreadable)?;
        let line = record.position().map_or(0, |position| line_at(text, position));
        let row = Row { table, line, path: String::new(), names: Vec::new(), split };
        let at = |error: Error| error.within(place(table, line));
        rows.push(columns.fill(row, &header, &record).map_err(at)?);
    }
    Ok(rows)
}

/// The line of a record: it begins behind the empty lines ahead of it.
fn line_at(text: &str, position: &csv::Position) -> u64 {
    let rest = text.as_bytes().get(position.byte() as usize..).unwrap_or_default();
    let empty = rest.iter().take_while(|byte| byte.is_ascii_whitespace());
    position.line() + empty.filter(|byte| **byte == b'\n').count() as u64
}

fn place(table: &Path, line: u64) -> impl fmt::Display {
    format!("`{}`, line {line}", table.display())
}

impl Columns {
    fn find(settings: &Csv, header: &StringRecord) -> Result<Self> {
        let column = |name: &str| {
            let mut found = header.iter().enumerate().filter(|(_, column)| *column == name);
            match (found.next(), found.next()) {
                (Some((place, _)), None) => Ok(place),
                (Some(_), Some(_)) => Err(Error::usage(format!("two columns are called `{name}`"))),
                (None, _) => {
                    let error = Error::usage(format!("there is no column `{name}`"));
                    let other = [";", "\t"].into_iter().find(|other| header.as_slice().contains(*other));
                    Err(match (header.len(), other, suggest::help(name, "columns", header)) {
                        (1, Some(other), _) => {
                            error.hint(format!("separate the columns by commas, and not by {other:?}"))
                        }
                        (_, _, Some(help)) => error.hint(help),
                        (_, _, None) => error,
                    })
                }
            }
        };
        let shown = match (&settings.class_column, &settings.labels_column, &settings.label_columns) {
            (Some(class), ..) => Shown::Class(column(class)?),
            (None, Some(labels), _) => Shown::Labels(column(labels)?, settings.separator().to_owned()),
            (None, None, labels) => {
                let labels = labels.iter().flatten();
                Shown::Flags(labels.map(|label| Ok((column(label)?, label.clone()))).collect::<Result<_>>()?)
            }
        };
        Ok(Self {
            path: column(&settings.path_column)?,
            shown,
            split: settings.split.column.as_deref().map(column).transpose()?,
        })
    }

    fn fill<'a>(&self, mut row: Row<'a>, header: &StringRecord, record: &StringRecord) -> Result<Row<'a>> {
        if record.iter().any(|field| field.contains(['\n', '\r'])) {
            return Err(Error::usage("a quoted field runs on to another line")
                .hint("close its quotation mark; inside quotation marks one is written twice"));
        }
        if record.len() != header.len() {
            let (fields, columns) = (record.len(), header.len());
            return Err(Error::usage(format!(
                "{fields} fields, where the first line names {columns} columns"
            ))
            .hint("put a field that has a comma into quotation marks"));
        }
        let path = field(record, self.path)?;
        if path.is_empty() {
            return Err(Error::usage("a row without a path"));
        }
        row.path = below(path).ok_or_else(|| {
            Error::usage(format!("`{path}` leads outside the folder of the images"))
                .hint("write paths that start below `root`, such as `cats/1.jpg`")
        })?;
        if !is_image(Path::new(&row.path)) {
            return Err(Error::usage(format!("`{path}` is neither JPEG nor PNG by its name"))
                .hint("write the whole name of a .jpg, .jpeg or .png file"));
        }
        row.names = self.shown.names(record, path)?;
        if let Some(column) = self.split {
            row.split = part(field(record, column)?)?;
        }
        Ok(row)
    }
}

impl Shown {
    fn names(&self, record: &StringRecord, path: &str) -> Result<Vec<String>> {
        match self {
            Self::Class(column) => match field(record, *column)? {
                "" => Err(Error::usage(format!("`{path}` has no class"))),
                class => Ok(vec![class.to_owned()]),
            },
            Self::Labels(column, separator) => labels(field(record, *column)?, separator),
            Self::Flags(columns) => {
                let mut names = Vec::new();
                for (column, label) in columns {
                    let flag = field(record, *column)?;
                    match flag.to_ascii_lowercase().as_str() {
                        "0" | "0.0" | "false" => {}
                        "1" | "1.0" | "true" => names.push(label.clone()),
                        _ => {
                            return Err(Error::usage(format!("`{label}` is `{flag}`, and neither 0 nor 1")));
                        }
                    }
                }
                Ok(names)
            }
        }
    }
}

/// The labels of a field, which may be empty.
fn labels(field: &str, separator: &str) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    if field.is_empty() {
        return Ok(names);
    }
    for name in field.split(separator).map(str::trim) {
        if name.is_empty() {
            return Err(Error::usage(format!("an empty label in `{field}`"))
                .hint(format!("write `{separator}` between two labels only")));
        }
        if names.iter().any(|other| other == name) {
            return Err(Error::usage(format!("the label `{name}` stands twice in `{field}`")));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// A field that is read; quotation marks stand around a whole field or nowhere.
fn field(record: &StringRecord, column: usize) -> Result<&str> {
    let field = record.get(column).unwrap_or_default();
    match field.contains('"') {
        true => Err(Error::usage(format!("a quotation mark in the midst of a field: `{field}`"))
            .hint("put whole fields into quotation marks, such as `\"a, b\"`")),
        false => Ok(field),
    }
}

fn part(name: &str) -> Result<Split> {
    match name {
        "train" => Ok(Split::Train),
        "validation" | "val" | "valid" => Ok(Split::Validation),
        "test" => Ok(Split::Test),
        _ => Err(Error::usage(format!("`{name}` is no part: write `train`, `validation` or `test`"))),
    }
}

/// A path as samples have it; none if it does not stay below the root.
fn below(path: &str) -> Option<String> {
    let path = path.replace('\\', "/");
    let mut parts = Vec::new();
    for component in Path::new(&path).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}
