//! The interface of a task for reports: its metrics, its files, and how its report is built from them.

use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::comparison::{ComparedEvaluation, ComparedImages};
use super::parts::TaskReport;
use crate::error::{Error, Result};
use crate::metrics::TaskMetrics;
use crate::regular_file::{self, ReadRefusal};

/// A task, for all code that shows results.
pub struct TaskReporting {
    /// As events name it, such as `classification`.
    pub name: &'static str,
    pub metrics: &'static TaskMetrics,
    /// The files for people that only stages of this task write, in lists, in the order of the links.
    pub files: &'static [&'static [&'static str]],
    /// Whether a train or evaluate stage belongs to this task, by its document in `plan.json`.
    pub is_of: fn(document: &Value) -> bool,
    /// The report of a finished evaluation.
    pub report: fn(files: &StageFiles) -> Result<TaskReport>,
    /// What a comparison shows of a finished evaluation.
    pub compared: fn(files: &StageFiles) -> Result<ComparedEvaluation>,
    /// The images of a finished evaluation, with their predictions: boxes from this confidence on, or else from the
    /// evaluation's best one on.
    pub compared_images: fn(files: &StageFiles, confidence: Option<f64>) -> Result<ComparedImages>,
}

impl TaskReporting {
    /// The functions of a task that shows nothing of its own in comparisons.
    pub const NOTHING_COMPARED: fn(&StageFiles) -> Result<ComparedEvaluation> =
        |_| Ok(ComparedEvaluation::default());
    pub const NO_IMAGES_COMPARED: fn(&StageFiles, Option<f64>) -> Result<ComparedImages> =
        |_, _| Ok(ComparedImages::default());
}

/// Finds the task of a stage by its kind and its document in `plan.json`; `None` for a stage that only loads weights.
pub type TaskOf = fn(kind: &str, document: &Value) -> Option<&'static TaskReporting>;

/// The most bytes of a picture in a run.
const LARGEST_PICTURE: u64 = 1 << 26;

/// The files of a stage of a run.
pub struct StageFiles<'a> {
    pub(super) run: &'a Path,
    pub stage: &'a str,
}

impl<'a> StageFiles<'a> {
    /// The files of a stage in a run directory.
    pub fn new(run: &'a Path, stage: &'a str) -> Self {
        Self { run, stage }
    }

    /// The path of a file, relative to the run directory.
    pub fn place(&self, file: &str) -> String {
        format!("stages/{}/{file}", self.stage)
    }

    /// A file's text; `None` if the file is missing.
    pub fn text(&self, file: &str) -> Result<Option<String>> {
        optional(self.run, &self.place(file))
    }

    /// A file's bytes; `None` if the file is missing.
    ///
    /// # Errors
    /// It cannot be read, or is larger than any picture.
    pub fn bytes(&self, file: &str) -> Result<Option<Vec<u8>>> {
        let path = self.run.join(self.place(file));
        match regular_file::read(&path, LARGEST_PICTURE) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ReadRefusal::Io(error)) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(refusal) => Err(unreadable(&self.place(file), &refusal.to_string())),
        }
    }

    /// A JSON file, such as `metrics.json`.
    ///
    /// # Errors
    /// It is missing, or has an unexpected format.
    pub fn json<T: for<'de> Deserialize<'de>>(&self, file: &str) -> Result<T> {
        self.optional_json(file)?.ok_or_else(|| unreadable(&self.place(file), "it is missing"))
    }

    /// The same; `None` if the file is missing.
    ///
    /// # Errors
    /// It has an unexpected format.
    pub fn optional_json<T: for<'de> Deserialize<'de>>(&self, file: &str) -> Result<Option<T>> {
        self.text(file)?.map(|text| parse_json(&text, &self.place(file))).transpose()
    }

    /// A table that `read` parses, such as `roc.csv`; the default if the file is missing.
    pub fn table<T: Default>(&self, file: &str, read: impl FnOnce(&str) -> Result<T>) -> Result<T> {
        let text = self.text(file)?;
        let table = text.map(|text| read(&text).map_err(|error| error.within(self.place(file))));
        table.unwrap_or_else(|| Ok(T::default()))
    }
}

pub(super) fn optional(run: &Path, file: &str) -> Result<Option<String>> {
    let path = run.join(file);
    match regular_file::read_text(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", &path, error)),
    }
}

pub(super) fn parse_json<T: for<'de> Deserialize<'de>>(text: &str, file: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| unreadable(file, &error.to_string()))
}

pub(super) fn unreadable(file: &str, cause: &str) -> Error {
    Error::failed(format!("cannot read `{file}` of the run: {cause}")).hint("run `defrost verify` on it")
}
