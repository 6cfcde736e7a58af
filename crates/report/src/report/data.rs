//! What a report tells of a run, and how it is read from the run's directory.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::recognition::{HardPair, read_hard_pairs, read_matches, read_roc};
use super::tables::{HistoryRow, Prediction, read_history, read_predictions};
use crate::data::Summary;
use crate::digest::Difference;
use crate::error::{Error, Result};
use crate::freeze::{Joining, ParameterTable};
use crate::metrics::{Classification, Identification, MultiLabel, RocPoint, Verification};
use crate::model::Description;
use crate::regular;

/// A run as its report shows it. Nothing here knows the time or an absolute path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportData {
    pub name: String,
    /// The first digits of the recipe.
    pub id: String,
    /// `complete`, `interrupted`, …
    pub state: String,
    /// The resolved pipeline file.
    pub pipeline: String,
    /// What the data sets hold, by name.
    pub data: BTreeMap<String, Summary>,
    /// In the order of the plan.
    pub stages: Vec<StageReport>,
    /// What is different from the run of this name before it, where the caller knows. Depends on what else has run.
    pub changes: Option<Vec<Difference>>,
    /// Files beside the report, relative to it.
    pub files: Vec<String>,
}

/// One stage of a run. What a kind of stage does not have is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageReport {
    pub name: String,
    /// Such as `train`.
    pub kind: String,
    /// As in the resolved pipeline file.
    pub settings: Value,
    pub training: Option<Training>,
    pub history: Vec<HistoryRow>,
    pub metrics: Option<Classification>,
    pub labels: Option<MultiLabel>,
    pub recognition: Option<Recognition>,
    pub predictions: Vec<Prediction>,
    /// Relative to the report.
    pub files: Vec<String>,
}

/// How well embeddings tell identities apart: the `metrics.json` of such an evaluation, and its tables.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Recognition {
    pub images: u64,
    /// How many numbers an embedding has.
    pub dimension: u64,
    pub verification: Option<Verification>,
    #[serde(skip)]
    pub roc: Vec<RocPoint>,
    #[serde(skip)]
    pub hardest: Vec<HardPair>,
    /// Its `cmc` is that of the table.
    pub identification: Option<Identification>,
}

/// How a train stage went: its `metrics.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// What `@best` is; absent without a validation split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<HistoryRow>,
    /// What `@last` is.
    pub last: HistoryRow,
    pub parameters: ParameterCounts,
}

/// How much of a model trained, as `params --json` counts: parameters, not buffers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParameterCounts {
    pub trainable_tensors: u64,
    pub frozen_tensors: u64,
    pub trainable_parameters: u64,
    pub frozen_parameters: u64,
    pub batch_norm: BatchNormCounts,
    /// What joined when; nothing where all of it trained from the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Joining>,
}

/// How many batch normalisation layers use the batch's statistics, and how many their running ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchNormCounts {
    pub total: u64,
    pub train: u64,
    pub eval: u64,
}

impl ParameterCounts {
    pub fn of(table: &ParameterTable, description: &Description) -> Self {
        let totals = table.totals();
        let (train, eval) = table.last().norm_counts();
        let phases = if table.phases.len() > 1 { table.joining(description) } else { Vec::new() };
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

/// What a run directory holds for people, and below it for each stage, in the order of the links. What is written after
/// the report, such as the manifest, is not among them: the page would change by being written again.
const RUN_FILES: [&str; 3] = ["pipeline.toml", "resolved.toml", "plan.json"];
const STAGE_FILES: [&str; 19] = [
    "metrics.json",
    "history.csv",
    "parameters.csv",
    "predictions.csv",
    "confusion_matrix.csv",
    "confusion_matrix.svg",
    "confusion_matrix.png",
    "labels.csv",
    "roc.csv",
    "roc.svg",
    "roc.png",
    "hardest_pairs.csv",
    "cmc.csv",
    "cmc.svg",
    "cmc.png",
    "curves.svg",
    "curves.png",
    "best.safetensors",
    "last.safetensors",
];

impl ReportData {
    /// Reads the directory of a run, finished or not; all but `plan.json` and `resolved.toml` may be missing.
    pub fn read(run: &Path) -> Result<Self> {
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
            StageReport::read(run, name, kind, resolved["stage"][name].clone())
        };
        Ok(Self {
            name,
            id: folder(Some(run)),
            state: optional(run, "state")?
                .map_or_else(|| "unknown".to_owned(), |state| state.trim().to_owned()),
            pipeline,
            // Runs of before had none.
            data: optional(run, "data.json")?
                .map_or_else(|| Ok(BTreeMap::new()), |text| parse_json(&text, "data.json"))?,
            stages: stages.iter().map(stage).collect::<Result<_>>()?,
            changes: None,
            files: present(run, "", &RUN_FILES),
        })
    }
}

impl StageReport {
    fn read(run: &Path, name: &str, kind: &str, settings: Value) -> Result<Self> {
        let below = |file: &str| format!("stages/{name}/{file}");
        let mut stage = Self { name: name.to_owned(), kind: kind.to_owned(), settings, ..Self::default() };
        stage.files = present(run, &below(""), &STAGE_FILES);
        if let Some(text) = optional(run, &below("metrics.json"))? {
            let asks = |key: &str| stage.settings.get(key).is_some();
            match kind {
                "train" => stage.training = Some(parse_json(&text, &below("metrics.json"))?),
                "evaluate" if asks("verification") || asks("identification") => {
                    let mut recognition: Recognition = parse_json(&text, &below("metrics.json"))?;
                    recognition.read_tables(run, &below)?;
                    stage.recognition = Some(recognition);
                }
                _ => {
                    // Which of the two it is stands in the metrics alone.
                    let metrics: Value = parse_json(&text, &below("metrics.json"))?;
                    match metrics.get("micro_f1") {
                        Some(_) => stage.labels = Some(parse_json(&text, &below("metrics.json"))?),
                        None => stage.metrics = Some(parse_json(&text, &below("metrics.json"))?),
                    }
                }
            }
        }
        if let Some(text) = optional(run, &below("history.csv"))? {
            stage.history = read_history(&text).map_err(|error| error.within(below("history.csv")))?;
        }
        if let Some(text) = optional(run, &below("predictions.csv"))? {
            stage.predictions =
                read_predictions(&text).map_err(|error| error.within(below("predictions.csv")))?;
        }
        Ok(stage)
    }

    pub fn from(&self) -> Option<&str> {
        self.settings["from"].as_str()
    }

    /// The stages whose weights it reads, as the file has them.
    pub fn sources(&self) -> Vec<&str> {
        let members = self.settings["ensemble"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let teacher = self.settings["distill"]["teacher"].as_str();
        self.from().into_iter().chain(members).chain(teacher).collect()
    }

    /// The wrong predictions, the surest first: those with the likeliest class, or with the surest error about a label.
    pub fn mistakes(&self) -> Vec<(&Prediction, f32)> {
        let sureness = |row: &Prediction| match &self.labels {
            None => row.probabilities.iter().copied().fold(0.0, f32::max),
            Some(metrics) => row.worst_of(metrics.per_class.iter().map(|label| label.class.as_str())),
        };
        let wrong = self.predictions.iter().filter(|row| row.predicted != row.label);
        let mut wrong: Vec<_> = wrong.map(|row| (row, sureness(row))).collect();
        wrong.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.file.cmp(&b.0.file)));
        wrong
    }
}

impl Recognition {
    fn read_tables(&mut self, run: &Path, below: &dyn Fn(&str) -> String) -> Result<()> {
        if let Some(text) = optional(run, &below("roc.csv"))? {
            self.roc = read_roc(&text).map_err(|error| error.within(below("roc.csv")))?;
        }
        if let Some(text) = optional(run, &below("hardest_pairs.csv"))? {
            self.hardest =
                read_hard_pairs(&text).map_err(|error| error.within(below("hardest_pairs.csv")))?;
        }
        if let (Some(found), Some(text)) = (&mut self.identification, optional(run, &below("cmc.csv"))?) {
            found.cmc = read_matches(&text).map_err(|error| error.within(below("cmc.csv")))?;
        }
        Ok(())
    }
}

fn required(run: &Path, file: &str) -> Result<String> {
    optional(run, file)?.ok_or_else(|| {
        Error::usage(format!("`{}` is no run directory: it has no `{file}`", run.display()))
            .hint("give the folder that holds `plan.json`, or the run's name or id")
    })
}

fn optional(run: &Path, file: &str) -> Result<Option<String>> {
    let path = run.join(file);
    match regular::read_text(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", &path, error)),
    }
}

fn present(run: &Path, folder: &str, files: &[&str]) -> Vec<String> {
    files.iter().map(|file| format!("{folder}{file}")).filter(|file| run.join(file).is_file()).collect()
}

fn parse_json<T: for<'de> Deserialize<'de>>(text: &str, file: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| unreadable(file, &error.to_string()))
}

fn unreadable(file: &str, cause: &str) -> Error {
    Error::failed(format!("cannot read `{file}` of the run: {cause}")).hint("run `defrost verify` on it")
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
        let error = ReportData::read(&run).unwrap_err();
        assert!(error.message.ends_with("is no run directory: it has no `plan.json`"), "{error}");

        fs::write(
            run.join("plan.json"),
            r#"{"stages": [{"name": "net", "kind": "load_weights"}, {"name": "test", "kind": "evaluate"}]}"#,
        )
        .unwrap();
        let resolved = "name = \"turtles\"\n[stage.test]\nkind = \"evaluate\"\nfrom = \"net\"\n";
        fs::write(run.join("resolved.toml"), resolved).unwrap();
        fs::write(run.join("state"), "running\n").unwrap();
        let predictions =
            "file,label,predicted,probability a,probability b\nx,a,b,0.4,0.6\ny,a,a,1,0\nz,b,a,0.9,0.1\n";
        fs::write(run.join("stages/test/predictions.csv"), predictions).unwrap();
        let data = ReportData::read(&run).unwrap();
        assert_eq!(
            (data.name.as_str(), data.id.as_str(), data.state.as_str()),
            ("turtles", "3f9c1a2b", "running")
        );
        let test = &data.stages[1];
        assert_eq!((test.kind.as_str(), test.from()), ("evaluate", Some("net")));
        assert_eq!(test.files, ["stages/test/predictions.csv"]);
        let mistakes: Vec<_> = test.mistakes().iter().map(|(row, p)| (row.file.as_str(), *p)).collect();
        assert_eq!(mistakes, [("z", 0.9), ("x", 0.6)]);

        fs::write(run.join("stages/test/metrics.json"), "{").unwrap();
        let error = ReportData::read(&run).unwrap_err();
        assert!(error.message.starts_with("cannot read `stages/test/metrics.json`"), "{error}");
    }
}
