//! The data of a report, and how it is read from the run's directory.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::circumstances::{RunChanges, RunTimes};
use super::history::{HistoryRow, read_history};
use super::parts::TaskReport;
use super::reporting::{StageFiles, TaskOf, TaskReporting, optional, parse_json, unreadable};
use super::samples::SampleImages;
use crate::data::DatasetSummary;
use crate::error::{Error, Result};
use crate::freeze::{ParameterTable, UnfreezeSummary};
use crate::metrics::TaskMetrics;
use crate::model::Description;

/// A run as its report shows it. As read from its directory, it contains no time and no absolute path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportData {
    pub name: String,
    /// The first digits of the recipe.
    pub id: String,
    /// `complete`, `interrupted`, …
    pub state: String,
    /// The resolved pipeline file.
    pub pipeline: String,
    /// The contents of the data sets, by name.
    pub data: BTreeMap<String, DatasetSummary>,
    /// In the order of the plan.
    pub stages: Vec<StageReport>,
    /// Small pictures of some of their images, by name.
    pub samples: BTreeMap<String, SampleImages>,
    /// The differences from the previous run of this name, if the caller knows them. They depend on other runs.
    pub changes: Option<RunChanges>,
    /// When the run ran, if the caller knows it.
    pub times: Option<RunTimes>,
    /// Files in the run directory, relative to it.
    pub files: Vec<String>,
    /// The run directory as seen from the page, with a `/` at its end; empty for a page inside it.
    pub files_at: String,
}

/// One stage of a run. Fields that do not apply to its kind are empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageReport {
    pub name: String,
    /// Such as `train`.
    pub kind: String,
    /// As in the resolved pipeline file.
    pub settings: Value,
    /// The metrics of its task.
    pub metrics: &'static TaskMetrics,
    pub training: Option<TrainingMetrics>,
    pub history: Vec<HistoryRow>,
    /// The result of an evaluation.
    pub evaluation: Option<TaskReport>,
    /// Relative to the run directory.
    pub files: Vec<String>,
}

/// The result of a train stage: its `metrics.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TrainingMetrics {
    /// The epoch of `@best`; `None` without a validation split.
    pub best: Option<HistoryRow>,
    /// The epoch of `@last`.
    pub last: HistoryRow,
    pub parameters: ParameterCounts,
}

/// The number of trained parameters of a model, as in `params --json`: without buffers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParameterCounts {
    pub trainable_tensors: u64,
    pub frozen_tensors: u64,
    pub trainable_parameters: u64,
    pub frozen_parameters: u64,
    pub batch_norm: BatchNormCounts,
    /// The epochs in which parameters were unfrozen; empty if all of them trained from the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<UnfreezeSummary>,
}

/// The number of batch normalisation layers that use batch statistics, and of those that use running statistics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchNormCounts {
    pub total: u64,
    pub train: u64,
    pub eval: u64,
}

impl TrainingMetrics {
    /// The content of `metrics.json`.
    pub fn document(&self, metrics: &TaskMetrics) -> Value {
        let mut document =
            json!({ "last": self.last.document(metrics.history), "parameters": self.parameters });
        if let Some(best) = &self.best {
            document["best"] = best.document(metrics.history);
        }
        document
    }
}

impl ParameterCounts {
    pub fn of(table: &ParameterTable, description: &Description) -> Self {
        let totals = table.totals();
        let (train, eval) = table.last().norm_counts();
        let phases = if table.phases.len() > 1 { table.unfreeze_summaries(description) } else { Vec::new() };
        Self {
            trainable_tensors: totals.trainable_tensors as u64,
            frozen_tensors: totals.frozen_tensors as u64,
            trainable_parameters: totals.trainable_parameters as u64,
            frozen_parameters: totals.frozen_parameters as u64,
            batch_norm: BatchNormCounts {
                total: (train + eval) as u64,
                train: train as u64,
                eval: eval as u64,
            },
            phases,
        }
    }
}

/// Files of a run directory for people, in the order of the links. Files written after the report, such as the
/// manifest, are not included: writing the page again would change it.
const RUN_FILES: [&str; 3] = ["pipeline.toml", "resolved.toml", "plan.json"];
/// Files for people that a stage of any task writes, before and after the task's own files.
const STAGE_FILES: [&[&str]; 2] = [
    &["metrics.json", "history.csv", "parameters.csv"],
    &["curves.svg", "curves.png", "best.safetensors", "last.safetensors"],
];

impl ReportData {
    /// Reads the directory of a run, finished or not. All files except `plan.json` and `resolved.toml` may be missing.
    /// `task_of` finds the task of each stage.
    ///
    /// # Errors
    /// A file has an unexpected format.
    pub fn read(run: &Path, task_of: TaskOf) -> Result<Self> {
        let plan: Value = parse_json(&required(run, "plan.json")?, "plan.json")?;
        let pipeline = required(run, "resolved.toml")?;
        let resolved: Value =
            toml::from_str(&pipeline).map_err(|error| unreadable("resolved.toml", &error.to_string()))?;
        let folder = |path: Option<&Path>| {
            path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let name = resolved["name"].as_str().map_or_else(|| folder(run.parent()), str::to_owned);
        let stages = plan["stages"].as_array().ok_or_else(|| unreadable("plan.json", "no list of stages"))?;
        let stage = |stage: &Value| {
            let name =
                stage["name"].as_str().ok_or_else(|| unreadable("plan.json", "a stage without a name"))?;
            let kind = stage["kind"].as_str().unwrap_or_default();
            let files = StageFiles::new(run, name);
            StageReport::read(&files, kind, task_of(kind, &stage["document"]), &resolved["stage"][name])
        };
        Ok(Self {
            name,
            id: folder(Some(run)),
            state: optional(run, "state")?
                .map_or_else(|| "unknown".to_owned(), |state| state.trim().to_owned()),
            pipeline,
            data: by_data_set(run, "data.json")?,
            samples: by_data_set(run, "samples.json")?,
            stages: stages.iter().map(stage).collect::<Result<_>>()?,
            files: present(run, "", &RUN_FILES),
            ..Self::default()
        })
    }

    /// Removes all links to files, for a page from which they cannot be reached.
    pub fn remove_links(&mut self) {
        self.files.clear();
        self.stages.iter_mut().for_each(|stage| stage.files.clear());
    }

    pub fn stage(&self, name: &str) -> Option<&StageReport> {
        self.stages.iter().find(|stage| stage.name == name)
    }
}

impl StageReport {
    fn read(
        files: &StageFiles,
        kind: &str,
        task: Option<&'static TaskReporting>,
        settings: &Value,
    ) -> Result<Self> {
        let [ahead, behind] = STAGE_FILES;
        let own = task.map(|task| task.files.concat()).unwrap_or_default();
        let all = [ahead, &own, behind].concat();
        let mut stage = Self {
            name: files.stage.to_owned(),
            kind: kind.to_owned(),
            settings: settings.clone(),
            metrics: task.map(|task| task.metrics).unwrap_or_default(),
            history: files.table("history.csv", read_history)?,
            files: present(files.run, &files.place(""), &all),
            ..Self::default()
        };
        if files.text("metrics.json")?.is_some() {
            if kind == "train" {
                stage.training = Some(files.json("metrics.json")?);
            } else if let Some(task) = task {
                stage.evaluation = Some((task.report)(files)?);
            }
        }
        Ok(stage)
    }

    pub fn from(&self) -> Option<&str> {
        self.settings["from"].as_str()
    }

    /// The stages whose weights it reads, as in the file.
    pub fn sources(&self) -> Vec<&str> {
        let members = self.settings["ensemble"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let teacher = self.settings["distill"]["teacher"].as_str();
        self.from().into_iter().chain(members).chain(teacher).collect()
    }
}

fn required(run: &Path, file: &str) -> Result<String> {
    optional(run, file)?.ok_or_else(|| {
        Error::usage(format!("`{}` is no run directory: it has no `{file}`", run.display()))
            .hint("give the folder that holds `plan.json`, or the run's name or id")
    })
}

/// A file with an entry for each data set; empty if there is none, as in runs of earlier versions.
fn by_data_set<T: DeserializeOwned>(run: &Path, file: &str) -> Result<BTreeMap<String, T>> {
    optional(run, file)?.map_or_else(|| Ok(BTreeMap::new()), |text| parse_json(&text, file))
}

fn present(run: &Path, folder: &str, files: &[&str]) -> Vec<String> {
    files.iter().map(|file| format!("{folder}{file}")).filter(|file| run.join(file).is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn reads_what_is_there_of_a_run_directory() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("turtles/3f9c1a2b");
        fs::create_dir_all(run.join("stages/test")).unwrap();
        let no_task: TaskOf = |_, _| None;
        let error = ReportData::read(&run, no_task).unwrap_err();
        assert!(error.message.ends_with("is no run directory: it has no `plan.json`"), "{error}");

        fs::write(
            run.join("plan.json"),
            r#"{"stages": [{"name": "net", "kind": "load_weights"}, {"name": "test", "kind": "evaluate"}]}"#,
        )
        .unwrap();
        let resolved = "name = \"turtles\"\n[stage.test]\nkind = \"evaluate\"\nfrom = \"net\"\n";
        fs::write(run.join("resolved.toml"), resolved).unwrap();
        fs::write(run.join("state"), "running\n").unwrap();
        fs::write(run.join("stages/test/parameters.csv"), "").unwrap();
        fs::write(run.join("stages/test/boxes.csv"), "").unwrap();
        let data = ReportData::read(&run, no_task).unwrap();
        assert_eq!(
            (data.name.as_str(), data.id.as_str(), data.state.as_str()),
            ("turtles", "3f9c1a2b", "running")
        );
        let test = data.stage("test").unwrap();
        assert_eq!((test.kind.as_str(), test.from()), ("evaluate", Some("net")));
        assert_eq!(test.files, ["stages/test/parameters.csv"]);

        // A task adds its own files and builds the report from them.
        static BOXES: TaskReporting = TaskReporting {
            name: "boxes",
            metrics: &TaskMetrics::NONE,
            files: &[&["boxes.csv"]],
            is_of: |_| true,
            report: |files| {
                let _: Value = files.json("metrics.json")?;
                Ok(TaskReport::default())
            },
            compared: TaskReporting::NOTHING_COMPARED,
            compared_images: TaskReporting::NO_IMAGES_COMPARED,
        };
        let boxes: TaskOf = |kind, _| (kind == "evaluate").then_some(&BOXES);
        let test = &ReportData::read(&run, boxes).unwrap().stages[1];
        assert_eq!(test.files, ["stages/test/parameters.csv", "stages/test/boxes.csv"]);
        assert_eq!(test.evaluation, None);
        fs::write(run.join("stages/test/metrics.json"), "{}").unwrap();
        assert!(ReportData::read(&run, boxes).unwrap().stages[1].evaluation.is_some());

        fs::write(run.join("stages/test/metrics.json"), "{").unwrap();
        let error = ReportData::read(&run, boxes).unwrap_err();
        assert!(error.message.starts_with("cannot read `stages/test/metrics.json`"), "{error}");
    }
}
