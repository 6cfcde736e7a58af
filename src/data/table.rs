//! The samples of a table: a CSV file with a row for each image.
//!
//! What a row says must be so: an image that is not there, one that stands there twice, a cell without a class are
//! errors at their line. Rows of classes that are not asked for are left out, and so are labels. An image may have no
//! label at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Split;
use super::dataset::{Dataset, Sample, require_folder};
use super::rows::{Row, read};
use super::split::Fractions;
use crate::pipeline::{Csv, suggest};
use crate::{Error, Result};

/// What stands between the labels of one image in tables of our own.
pub const LABELS_BETWEEN: &str = ";";

impl Dataset {
    /// The samples that tables list, each table with the part that its rows are for where they do not say themselves.
    ///
    /// # Errors
    /// A usage error that names table and line: what is not CSV, a missing column, a row without a class, an image
    /// that is not there, outside the root, or there twice; and as with folders, a part that would be empty.
    pub fn of_tables(settings: &Csv, tables: &[(Split, PathBuf)], root: &Path) -> Result<Self> {
        require_folder(root)?;
        let mut rows = Vec::new();
        for (split, table) in tables {
            rows.extend(read(settings, table, *split)?);
        }
        require_once(&rows)?;
        require_images(&rows, root)?;
        let (classes, multi_label) = (classes(settings, &rows)?, settings.is_multi_label());
        let places: BTreeMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
        let sample = |row: Row| {
            let names = row.names.iter();
            let mut classes: Vec<u32> = names.filter_map(|name| places.get(name.as_str())).copied().collect();
            classes.sort_unstable();
            let used = multi_label || !classes.is_empty();
            used.then_some(Sample { path: row.path, classes, split: row.split, digest: None })
        };
        let mut samples: Vec<Sample> = rows.into_iter().filter_map(sample).collect();
        samples.sort_by(|a, b| a.path.cmp(&b.path));
        let mut dataset = Self { root: root.to_owned(), classes, multi_label, samples, ignored: Vec::new() };
        if dataset.split(Split::Train).is_empty() {
            return Err(Error::usage("no row of the table is for training"));
        }
        let shares = settings.split.shares();
        dataset.part_training(&shares, &Fractions::new(&shares)?)?;
        Ok(dataset)
    }
}

fn require_once(rows: &[Row]) -> Result<()> {
    let mut seen: BTreeMap<&str, &Row> = BTreeMap::new();
    for row in rows {
        if let Some(first) = seen.insert(&row.path, row) {
            let (path, first) = (&row.path, first.place());
            return Err(Error::usage(format!("`{path}` stands in {first} already"))
                .within(row.place())
                .hint("give each image one row"));
        }
    }
    Ok(())
}

fn require_images(rows: &[Row], root: &Path) -> Result<()> {
    let missing: Vec<&Row> = rows.iter().filter(|row| !root.join(&row.path).is_file()).collect();
    let [first, rest @ ..] = &missing[..] else { return Ok(()) };
    let others = match rest.len() {
        0 => String::new(),
        count => format!(", nor are those of {count} more rows"),
    };
    let message = format!("`{}` is not in `{}`{others}", first.path, root.display());
    Err(Error::usage(message).within(first.place()).hint("say with `root` which folder the paths start from"))
}

/// The classes in the order of the model's outputs: those that are named, which must all occur, or those that do.
fn classes(settings: &Csv, rows: &[Row]) -> Result<Vec<String>> {
    let found: BTreeSet<&str> = rows.iter().flat_map(|row| &row.names).map(String::as_str).collect();
    let (a_row, least) = match settings.is_multi_label() {
        true => ("has the label", 1),
        false => ("is of the class", 2),
    };
    let named = settings.label_columns.as_ref().or(settings.classes.as_ref());
    if let Some(missing) = named.into_iter().flatten().find(|name| !found.contains(name.as_str())) {
        let error = Error::usage(format!("no row {a_row} `{missing}`"));
        return Err(match suggest::help(missing, "there are", found) {
            Some(help) => error.hint(help),
            None => error,
        });
    }
    if let Some(label) = found.iter().find(|name| settings.is_multi_label() && name.contains(LABELS_BETWEEN))
    {
        return Err(Error::usage(format!("the label `{label}` has a `{LABELS_BETWEEN}` in it"))
            .hint("in the tables of a run that stands between two labels: write another sign"));
    }
    let classes = named.cloned().unwrap_or_else(|| found.into_iter().map(str::to_owned).collect());
    match classes.len() >= least {
        true => Ok(classes),
        false if least == 1 => Err(Error::usage("no row has a label")),
        false => {
            let only = classes.first().map_or("none".to_owned(), |only| format!("only `{only}`"));
            Err(Error::usage(format!("the table needs rows of at least two classes, and has {only}")))
        }
    }
}

#[cfg(test)]
mod tests;
