//! Reads samples from a table: a CSV file with a row for each image.
//!
//! Every row must be valid. A missing image, an image listed twice and a cell without a class are errors at their
//! lines, and one pass reports all of them. Rows and labels of classes that are not requested are left out. An image
//! may have no label at all.

mod csv_rows;
mod files;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use self::csv_rows::{CsvRow, RootPaths, read};
use super::files_of_splits::{files_of_splits, root_folder};
use super::format::DataFormat;
use crate::data::class_presence::{self, PresenceRule};
use crate::data::dataset::{Dataset, Sample, require_folder};
use crate::data::split::SplitFractions;
use crate::data::{Label, LabelKind, Split};
use crate::error::InputErrors;
use crate::pipeline::{Broken, Csv, suggest};
use crate::{Error, Result};

/// The maximum size of a table in bytes.
pub const LARGEST_TABLE: u64 = 1 << 30;

/// The separator between the labels of one image in defrost's own tables.
pub const LABELS_BETWEEN: &str = ";";

impl DataFormat for Csv {
    fn key(&self) -> &'static str {
        "file"
    }

    fn read(&self, resolve: &dyn Fn(&str) -> Result<PathBuf>) -> Result<Dataset> {
        let file = resolve(&self.file)?;
        let root = root_folder(&file, self.root.as_deref(), resolve)?;
        let tables =
            files_of_splits((self.split.shares().usual(), file), self.split.files.as_ref(), resolve)?;
        Dataset::of_tables(self, &tables, &root)
    }
}

impl Dataset {
    /// Reads the samples of several tables. Each table has the split of its rows, unless a column gives it.
    ///
    /// # Errors
    /// A usage error with table and line: invalid CSV, a missing column, a row without a class, or an image that is
    /// missing, outside the root or listed twice. As with folders, an empty split is an error too.
    fn of_tables(settings: &Csv, tables: &[(Split, PathBuf)], root: &Path) -> Result<Self> {
        require_folder(root)?;
        let mut mistakes = InputErrors::default();
        let mut rows = Vec::new();
        let roots = RootPaths::of(root);
        for (split, table) in tables {
            rows.extend(read(settings, (*split, table.as_path()), &roots, &mut mistakes)?);
        }
        // The classes of unreadable rows are unknown.
        let all_read = mistakes.is_empty();
        require_once(&rows, &mut mistakes);
        let unreadable = match settings.broken {
            Broken::Error => files::require(&rows, root, &mut mistakes),
            Broken::Skip => files::leave_out(&mut rows, root),
        };
        if !all_read {
            std::mem::take(&mut mistakes).into_result()?;
        }
        let usual = settings.split.shares().usual();
        let has = |part: &Split| *part == usual || rows.iter().any(|row| row.split == *part);
        let parts: Vec<Split> =
            [Split::Train, Split::Validation, Split::Test].into_iter().filter(has).collect();
        let label_kind = if settings.is_multi_label() { LabelKind::Labels } else { LabelKind::Class };
        let classes = match classes(settings, &rows) {
            Ok(classes) => classes,
            Err(error) => return Err(mistakes.with(error)),
        };
        let places: BTreeMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
        let sample = |row: CsvRow| {
            let names = row.names.iter();
            let mut classes: Vec<u32> = names.filter_map(|name| places.get(name.as_str())).copied().collect();
            classes.sort_unstable();
            let label = match label_kind {
                LabelKind::Labels => Label::Labels(classes),
                _ => Label::Class(*classes.first()?),
            };
            Some(Sample { path: row.path, label, split: row.split, digest: None })
        };
        let mut samples: Vec<Sample> = rows.into_iter().filter_map(sample).collect();
        samples.sort_by(|a, b| a.path.cmp(&b.path));
        let root = root.to_owned();
        let mut dataset = Self { root, classes, label_kind, samples, unreadable, ..Self::default() };
        if dataset.split(usual).is_empty() {
            let message = format!("no row of the table is in the {} split", usual.in_words());
            mistakes.add("no training row", Error::usage(message));
        } else {
            let demand = PresenceRule {
                every_class: settings.split.require_classes,
                named: settings.names_classes(),
                selectable: true,
            };
            class_presence::require(&dataset, &parts, &demand, &mut mistakes);
        }
        mistakes.into_result()?;
        let shares = settings.split.shares();
        dataset.part_training(&shares, &SplitFractions::new(&shares)?)?;
        dataset.warnings.extend(class_presence::untrained(&dataset));
        Ok(dataset)
    }
}

fn require_once(rows: &[CsvRow], mistakes: &mut InputErrors) {
    let mut seen: HashMap<&str, &CsvRow> = HashMap::new();
    for row in rows {
        match seen.entry(&row.path) {
            Entry::Vacant(place) => {
                place.insert(row);
            }
            Entry::Occupied(first) => {
                let (path, first) = (&row.path, first.get().place());
                let error =
                    Error::usage(format!("`{path}` is already listed in {first}")).within(row.place());
                mistakes.add("image listed twice", error.hint("list each image once"));
            }
        }
    }
}

/// The classes in the order of the model's outputs: the named ones, which must all occur, or else all that occur.
fn classes(settings: &Csv, rows: &[CsvRow]) -> Result<Vec<String>> {
    let found: BTreeSet<&str> = rows.iter().flat_map(|row| &row.names).map(String::as_str).collect();
    let (a_row, least) = match settings.is_multi_label() {
        true => ("has the label", 1),
        false => ("has the class", 2),
    };
    let named = settings.label_columns.as_ref().or(settings.classes.as_ref());
    // If a split may lack a class, all splits may lack it.
    let missing = named.into_iter().flatten().find(|name| !found.contains(name.as_str()));
    if let Some(missing) = missing.filter(|_| settings.split.require_classes) {
        let error = Error::usage(format!("no row {a_row} `{missing}`"));
        return Err(match suggest::help(missing, "there are", found) {
            Some(help) => error.hint(help),
            None => error,
        });
    }
    if let Some(label) = found.iter().find(|name| settings.is_multi_label() && name.contains(LABELS_BETWEEN))
    {
        return Err(Error::usage(format!("the label `{label}` contains `{LABELS_BETWEEN}`"))
            .hint("tables of a run separate labels by it: use another character"));
    }
    let classes = named.cloned().unwrap_or_else(|| found.into_iter().map(str::to_owned).collect());
    match classes.len() >= least {
        true => Ok(classes),
        false if least == 1 => Err(Error::usage("no row has a label")),
        false => {
            let only = classes.first().map_or("none".to_owned(), |only| format!("only `{only}`"));
            Err(Error::usage(format!("the table needs rows of at least two classes, but has {only}")))
        }
    }
}

#[cfg(test)]
mod tests;
