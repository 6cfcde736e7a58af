//! Parses and validates the rows of an image table.
//!
//! Commas separate fields. Quotation marks enclose a whole field or are an error: an unclosed mark would swallow the
//! rows after it.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use csv::StringRecord;

use super::LARGEST_TABLE;
use crate::data::Split;
use crate::data::image::{NO_IMAGE_FORMAT, OtherFormat, image_format_extensions};
use crate::data::source::is_image;
use crate::error::InputErrors;
use crate::pipeline::{Csv, suggest};
use crate::{Error, Result, regular_file};

/// A row and its position.
pub struct CsvRow<'a> {
    pub table: &'a Path,
    pub line: u64,
    /// The path below the root, with `/`.
    pub path: String,
    /// Its class or its labels.
    pub names: Vec<String>,
    pub split: Split,
}

impl CsvRow<'_> {
    /// The position for messages.
    pub fn place(&self) -> impl fmt::Display {
        place(self.table, self.line)
    }
}

/// The positions of the columns to read.
struct CsvColumns {
    path: usize,
    shown: LabelColumn,
    split: Option<usize>,
}

/// The columns with the annotation.
enum LabelColumn {
    Class(usize),
    /// One field, with the separator between labels.
    Labels(usize, String),
    /// One field per label.
    Flags(Vec<(usize, String)>),
}

/// A row's error, and the kind of such errors.
struct RowError(&'static str, Error);

fn wrong(kind: &'static str, message: impl Into<String>) -> RowError {
    RowError(kind, Error::usage(message))
}

impl RowError {
    fn hint(self, hint: impl Into<String>) -> Self {
        Self(self.0, self.1.hint(hint))
    }
}

/// The valid rows of a table. `split` is their split if no column gives it.
///
/// # Errors
/// A usage error with the table and the line, if the file is not a table with these columns.
pub fn read<'a>(
    settings: &Csv,
    (split, table): (Split, &'a Path),
    roots: &RootPaths,
    mistakes: &mut InputErrors,
) -> Result<Vec<CsvRow<'a>>> {
    let bytes = regular_file::read(table, LARGEST_TABLE)
        .map_err(|refused| Error::io("read", table, refused.into()).as_usage())?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::usage(format!("`{}`, line {line}: this is not UTF-8 text", table.display()))
            .hint("save the table as UTF-8")
    })?;
    // Spreadsheets write a byte order mark before UTF-8.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
    let unreadable = |error: csv::Error| Error::usage(format!("`{}`: {error}", table.display()));
    let header = reader.headers().map_err(unreadable)?.clone();
    let columns = CsvColumns::find(settings, &header).map_err(|error| error.within(place(table, 1)))?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(unreadable)?;
        let line = record.position().map_or(0, |position| line_at(text, position));
        let row = CsvRow { table, line, path: String::new(), names: Vec::new(), split };
        match columns.fill(row, &header, &record, roots) {
            Ok(row) => rows.push(row),
            Err(RowError(kind, error)) => mistakes.add(kind, error.within(place(table, line))),
        }
    }
    Ok(rows)
}

/// The line of a record, which starts after any empty lines before it.
fn line_at(text: &str, position: &csv::Position) -> u64 {
    let rest = text.as_bytes().get(position.byte() as usize..).unwrap_or_default();
    let empty = rest.iter().take_while(|byte| byte.is_ascii_whitespace());
    position.line() + empty.filter(|byte| **byte == b'\n').count() as u64
}

fn place(table: &Path, line: u64) -> impl fmt::Display {
    format!("`{}`, line {line}", table.display())
}

impl CsvColumns {
    fn find(settings: &Csv, header: &StringRecord) -> Result<Self> {
        let column = |name: &str| {
            let mut found = header.iter().enumerate().filter(|(_, column)| *column == name);
            match (found.next(), found.next()) {
                (Some((place, _)), None) => Ok(place),
                (Some(_), Some(_)) => Err(Error::usage(format!("two columns are named `{name}`"))),
                (None, _) => {
                    let error = Error::usage(format!("there is no column `{name}`"));
                    let other = [";", "\t"].into_iter().find(|other| header.as_slice().contains(*other));
                    Err(match (header.len(), other, suggest::help(name, "columns", header)) {
                        (1, Some(other), _) => {
                            error.hint(format!("separate the columns by commas instead of {other:?}"))
                        }
                        (_, _, Some(help)) => error.hint(help),
                        (_, _, None) => error,
                    })
                }
            }
        };
        let shown = match (&settings.class_column, &settings.labels_column, &settings.label_columns) {
            (Some(class), ..) => LabelColumn::Class(column(class)?),
            (None, Some(labels), _) => LabelColumn::Labels(column(labels)?, settings.separator().to_owned()),
            (None, None, labels) => {
                let labels = labels.iter().flatten();
                LabelColumn::Flags(
                    labels.map(|label| Ok((column(label)?, label.clone()))).collect::<Result<_>>()?,
                )
            }
        };
        Ok(Self {
            path: column(&settings.path_column)?,
            shown,
            split: settings.split.column.as_deref().map(column).transpose()?,
        })
    }

    fn fill<'a>(
        &self,
        mut row: CsvRow<'a>,
        header: &StringRecord,
        record: &StringRecord,
        roots: &RootPaths,
    ) -> Result<CsvRow<'a>, RowError> {
        if record.iter().any(|field| field.contains(['\n', '\r'])) {
            return Err(wrong("quotation mark", "a quoted field continues on the next line")
                .hint("close its quotation mark; write a quotation mark inside a quoted field twice"));
        }
        if record.len() != header.len() {
            let (fields, columns) = (record.len(), header.len());
            let message = format!("{fields} fields, but the first line names {columns} columns");
            return Err(wrong("number of fields", message).hint("quote fields that contain a comma"));
        }
        let path = field(record, self.path)?;
        if path.is_empty() {
            return Err(wrong("no path", "a row without a path"));
        }
        row.path = roots.below(path)?;
        if !is_image(Path::new(&row.path)) {
            let hint = match OtherFormat::of_name(Path::new(path)) {
                Some(other) => other.conversion(),
                None => format!("write the whole name of a {} file", image_format_extensions("or")),
            };
            let message = format!("`{path}` is not a {} file", image_format_extensions("or"));
            return Err(wrong(&NO_IMAGE_FORMAT, message).hint(hint));
        }
        row.names = self.shown.names(record, path)?;
        if let Some(column) = self.split {
            row.split = part(field(record, column)?)?;
        }
        Ok(row)
    }
}

impl LabelColumn {
    fn names(&self, record: &StringRecord, path: &str) -> Result<Vec<String>, RowError> {
        match self {
            Self::Class(column) => match field(record, *column)? {
                "" => Err(wrong("no class", format!("`{path}` has no class"))),
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
                            let message = format!("`{label}` is `{flag}`, but must be 0 or 1");
                            return Err(wrong("neither 0 nor 1", message));
                        }
                    }
                }
                Ok(names)
            }
        }
    }
}

/// The labels in a field, which may be empty.
fn labels(field: &str, separator: &str) -> Result<Vec<String>, RowError> {
    let mut names: Vec<String> = Vec::new();
    if field.is_empty() {
        return Ok(names);
    }
    for name in field.split(separator).map(str::trim) {
        if name.is_empty() {
            return Err(wrong("empty label", format!("an empty label in `{field}`"))
                .hint(format!("write `{separator}` only between two labels")));
        }
        if names.iter().any(|other| other == name) {
            return Err(wrong("label twice", format!("the label `{name}` occurs twice in `{field}`")));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// The content of a field. Quotation marks must enclose the whole field.
fn field(record: &StringRecord, column: usize) -> Result<&str, RowError> {
    let field = record.get(column).unwrap_or_default();
    match field.contains('"') {
        true => Err(wrong("quotation mark", format!("a quotation mark inside a field: `{field}`"))
            .hint("quote whole fields, such as `\"a, b\"`")),
        false => Ok(field),
    }
}

fn part(name: &str) -> Result<Split, RowError> {
    match name {
        "train" => Ok(Split::Train),
        "validation" | "val" | "valid" => Ok(Split::Validation),
        "test" => Ok(Split::Test),
        _ => Err(wrong(
            "unknown split",
            format!("unknown split `{name}`: write `train`, `validation` or `test`"),
        )),
    }
}

/// The root folder in all its forms, because absolute paths may start with it.
pub struct RootPaths(Vec<PathBuf>);

impl RootPaths {
    pub fn of(root: &Path) -> Self {
        Self([std::path::absolute(root), root.canonicalize()].into_iter().flatten().collect())
    }

    /// The path of a sample, relative to the root.
    fn below(&self, given: &str) -> Result<String, RowError> {
        let text = given.replace('\\', "/");
        let path = Path::new(&text);
        let drive = text.get(1..3) == Some(":/") && text.starts_with(|c: char| c.is_ascii_alphabetic());
        let path = match self.0.iter().find_map(|root| path.strip_prefix(root).ok()) {
            Some(below) => below,
            None if path.is_absolute() || drive => {
                let root = self.0.first().map_or_else(String::new, |root| format!(" `{}`", root.display()));
                return Err(wrong(
                    "outside the root",
                    format!("`{given}` is outside the folder of the images"),
                )
                .hint(format!("write paths relative to `root`, such as `cats/1.jpg`, or below{root}")));
            }
            None => path,
        };
        let parts: Option<Vec<&str>> = path
            .components()
            .filter(|component| *component != Component::CurDir)
            .map(|component| match component {
                Component::Normal(part) => part.to_str(),
                _ => None,
            })
            .collect();
        parts.filter(|parts| !parts.is_empty()).map(|parts| parts.join("/")).ok_or_else(|| {
            wrong("outside the root", format!("`{given}` is outside the folder of the images"))
                .hint("write paths relative to `root`, such as `cats/1.jpg`")
        })
    }
}
