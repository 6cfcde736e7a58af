//! Images in a CSV table: which columns have paths, classes and splits, and which folder paths start from.

mod columns;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use defrost::data::{Dataset, Split};
use defrost::{Error, Result, regular_file};
use serde_json::json;

use self::columns::{Columns, Shown};
use super::written::{Line, Settings, inline, read, relative, utf8};
use super::{Args, ImageSource};

/// The largest table. A larger one is for `defrost validate`, with a file written by hand.
const LARGEST: u64 = 1 << 30;

pub fn is_table(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| ["csv", "tsv"].iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// A table in memory.
struct Table {
    path: PathBuf,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// The data set of a table, for a pipeline file in `dir`.
///
/// # Errors
/// A column that is needed cannot be found, or `validate` would refuse the data with any split.
pub fn find(path: &Path, args: &Args) -> Result<ImageSource> {
    let table = Table::read(path)?;
    let columns = Columns::find(&table, args)?;
    let root = root(&table, &columns.path, args.root.as_deref())?;
    let files = other_tables(&table, &columns);
    let mut refused = None;
    for split in splits(&columns, &files) {
        let settings =
            settings(&table, &columns, root.as_deref(), &files, split, &|path| Ok(utf8(path)?.to_owned()))?;
        match read(settings) {
            Ok(dataset) if dataset.split(Split::Validation).is_empty() => {
                let error = match &columns.split {
                    Some(column) => Error::usage(format!(
                        "--data: no row of `{}` has `validation` in the column `{column}`",
                        path.display()
                    ))
                    .hint("`@best` needs validation images: write `validation` for some of the `train` rows"),
                    None => Error::usage("--data: no image is left for validation"),
                };
                refused = Some(error);
            }
            Ok(dataset) => {
                return written(&table, &columns, root.as_deref(), &files, split, &dataset, &args.dir);
            }
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| Error::bug("no split was tried")))
}

impl Table {
    fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let bytes = regular_file::read(path, LARGEST)
            .map_err(|refused| Error::io("read", path, refused.into()).as_usage())?;
        let text = String::from_utf8(bytes).map_err(|_| {
            Error::usage(format!("--data: `{shown}` is not UTF-8 text")).hint("save the table as UTF-8")
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
        let unreadable = |error: csv::Error| Error::usage(format!("--data: `{shown}`: {error}"));
        let header: Vec<String> = reader.headers().map_err(unreadable)?.iter().map(str::to_owned).collect();
        if let ([only], Some(other)) =
            (&header[..], [";", "\t"].into_iter().find(|other| header.concat().contains(other)))
        {
            let columns = only.split(other).count();
            let error = format!("--data: the {columns} columns of `{shown}` are separated by {other:?}");
            return Err(Error::usage(error).hint("separate them by commas"));
        }
        let rows: Vec<Vec<String>> = reader
            .records()
            .map(|record| Ok(record.map_err(unreadable)?.iter().map(str::to_owned).collect()))
            .collect::<Result<_>>()?;
        if rows.is_empty() {
            return Err(Error::usage(format!("--data: `{shown}` has no rows below its first line"))
                .hint("write one row per image, such as `photos/1.jpg,wren` below `path,class`"));
        }
        Ok(Self { path: path.to_owned(), header, rows })
    }

    /// The cells of a column.
    fn cells(&self, column: &str) -> impl Iterator<Item = &str> {
        let place = self.header.iter().position(|name| name == column).unwrap_or(usize::MAX);
        self.rows.iter().map(move |row| row.get(place).map_or("", String::as_str))
    }

    fn distinct(&self, column: &str) -> BTreeSet<&str> {
        self.cells(column).collect()
    }

    /// The first column of that many whose name is known.
    fn known<'t>(&self, candidates: &[&'t String], names: &[&str]) -> Option<&'t String> {
        let named =
            |known: &&str| candidates.iter().find(|column| column.eq_ignore_ascii_case(known)).copied();
        names.iter().find_map(named)
    }

    /// An error about the columns, which lists them with an example each.
    fn error(&self, message: String) -> Error {
        let first = &self.rows[0];
        let column = |(place, name): (usize, &String)| {
            let value: String =
                first.get(place).map(|cell| cell.chars().take(40).collect()).unwrap_or_default();
            format!("`{name}` (`{value}`)")
        };
        let columns: Vec<String> = self.header.iter().enumerate().map(column).collect();
        Error::usage(format!("--data: {message}: `{}` has {}", self.path.display(), columns.join(", ")))
    }
}

/// The folder that paths start from, if it is not that of the table.
fn root(table: &Table, column: &str, given: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(given) = given {
        return Ok(Some(given.to_owned()));
    }
    let folder =
        table.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let first = table.cells(column).next().unwrap_or_default();
    if folder.join(first).is_file() {
        return Ok(None);
    }
    let mut folders = vec![folder.join("..")];
    let mut below = vec![folder.to_owned()];
    for _ in 0..2 {
        below = below.iter().flat_map(|folder| subfolders(folder)).collect();
        folders.extend(below.iter().cloned());
    }
    match folders.into_iter().find(|folder| folder.join(first).is_file()) {
        Some(found) => Ok(Some(found)),
        None => Err(Error::usage(format!(
            "--data: `{first}`, the first image of `{}`, is not in `{}` or a folder there",
            table.path.display(),
            folder.display()
        ))
        .hint("give the folder that paths in the table start from: `--root DIR`")),
    }
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| entry.ok());
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// The tables of validation and test, next to one whose name says `train`.
fn other_tables(table: &Table, columns: &Columns) -> [Option<PathBuf>; 2] {
    let name = table.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let needed = columns.needed();
    let beside = |words: &[&str]| {
        let named = |word: &&str| Some(table.path.with_file_name(name.replacen("train", word, 1)));
        words.iter().filter_map(named).find(|path| {
            let is_table = |other: Table| needed.iter().all(|column| other.header.contains(column));
            path.is_file() && Table::read(path).is_ok_and(is_table)
        })
    };
    match name.contains("train") && columns.split.is_none() {
        true => [beside(&["validation", "valid", "val"]), beside(&["test"])],
        false => [None, None],
    }
}

/// The splits to try: fractions of validation and test, a seed, and whether every split needs every class. `None` is for
/// those that the data have.
type Fractions = Option<(f64, f64, u64, bool)>;

fn splits(columns: &Columns, files: &[Option<PathBuf>; 2]) -> Vec<Fractions> {
    const SEEDS: u64 = 20;
    if columns.split.is_some() || files[0].is_some() {
        return vec![None];
    }
    let shares: &[(f64, f64)] = if files[1].is_some() { &[(0.2, 0.0)] } else { &[(0.2, 0.1), (0.25, 0.0)] };
    let seeds =
        |share: &(f64, f64)| (0..SEEDS).map(move |seed| (share.0, share.1, seed, true)).collect::<Vec<_>>();
    let all = shares.iter().flat_map(|share| seeds(&share.clone()));
    all.chain([(shares[0].0, shares[0].1, 0, false)]).map(Some).collect()
}

/// The table of the data set. `place` says how a path is written.
fn settings(
    table: &Table,
    columns: &Columns,
    root: Option<&Path>,
    files: &[Option<PathBuf>; 2],
    split: Fractions,
    place: &dyn Fn(&Path) -> Result<String>,
) -> Result<Settings> {
    let mut settings = Settings::new();
    settings.insert("format".into(), "csv".into());
    settings.insert("file".into(), place(&table.path)?.into());
    if let Some(root) = root {
        settings.insert("root".into(), place(root)?.into());
    }
    settings.insert("path_column".into(), columns.path.clone().into());
    match &columns.shown {
        Shown::Class(column) => settings.insert("class_column".into(), column.clone().into()),
        Shown::Labels(column, separator) => {
            settings.insert("separator".into(), (*separator).into());
            settings.insert("labels_column".into(), column.clone().into())
        }
        Shown::Flags(columns) => settings.insert("label_columns".into(), columns.clone().into()),
    };
    let mut parts = Settings::new();
    if let Some(column) = &columns.split {
        parts.insert("column".into(), column.clone().into());
    }
    let mut others = Settings::new();
    for (name, file) in ["validation", "test"].into_iter().zip(files) {
        if let Some(file) = file {
            others.insert(name.into(), place(file)?.into());
        }
    }
    if !others.is_empty() {
        parts.insert("files".into(), others.into());
    }
    if let Some((validation, test, seed, requires_classes)) = split {
        parts.insert("validation".into(), json!(validation));
        if test > 0.0 {
            parts.insert("test".into(), json!(test));
        }
        parts.insert("seed".into(), json!(seed));
        if !requires_classes {
            parts.insert("require_classes".into(), json!(false));
        }
    }
    settings.insert("split".into(), parts.into());
    Ok(settings)
}

/// What is written of the data set that was read.
fn written(
    table: &Table,
    columns: &Columns,
    root: Option<&Path>,
    files: &[Option<PathBuf>; 2],
    split: Fractions,
    dataset: &Dataset,
    dir: &Path,
) -> Result<ImageSource> {
    let settings = settings(table, columns, root, files, split, &|path| relative(dir, path))?;
    let classes = dataset.classes.len();
    let why = |key: &str| match key {
        "format" => "one row per image".to_owned(),
        "file" => format!("{} rows", table.rows.len()),
        "root" => "the folder that paths in the table start from".to_owned(),
        "path_column" => "every cell names an image".to_owned(),
        "class_column" => format!("{classes} classes"),
        "labels_column" | "label_columns" => format!("{classes} labels, any number per image"),
        _ => String::new(),
    };
    let order = [
        "format",
        "file",
        "root",
        "path_column",
        "class_column",
        "labels_column",
        "separator",
        "label_columns",
    ];
    let line = |key: &&'static str| Some(Line::new(key, settings.get(*key)?, why(key)));
    let lines = order.iter().filter_map(line).collect();
    let why = match (&columns.split, split) {
        (Some(_), _) => "the column that names splits",
        (None, None) => "the tables that are there",
        (None, Some((.., false))) => "some split lacks a class",
        (None, Some(_)) if files[1].is_some() => {
            "there is no validation table: a fraction of the training images"
        }
        (None, Some(_)) => "fractions, with every class in every split",
    };
    let split = settings.get("split").map_or_else(|| "{}".to_owned(), inline);
    Ok(ImageSource {
        lines,
        split: Line::of_toml("split", split, why),
        evaluated: if dataset.split(Split::Test).is_empty() { "validation" } else { "test" },
        has_several_labels: matches!(columns.shown, Shown::Labels(..) | Shown::Flags(_)),
    })
}
