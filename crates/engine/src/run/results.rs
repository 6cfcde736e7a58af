//! The metrics of a finished stage.

use std::path::Path;

use serde_json::Value;

use super::RunDirectory;
use crate::metrics::Scores;
use crate::regular_file;
use crate::store::FinishedStage;

/// The numbers of a stage of a run by dotted path, without lists. Empty if it has no `metrics.json`.
pub(super) fn results(run: &RunDirectory, stage: &str) -> Scores {
    numbers(&read(&run.stage(stage)))
}

/// A finished stage's `metrics.json`; null if it has none.
pub(super) fn read_metrics(finished: &FinishedStage) -> Value {
    read(&finished.dir)
}

fn read(folder: &Path) -> Value {
    let text = regular_file::read_text(&folder.join("metrics.json")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_else(|_| Value::Object(Default::default()))
}

/// The numbers in a JSON document, by dotted path.
pub(super) fn numbers(metrics: &Value) -> Scores {
    let mut all = Scores::new();
    for (name, value) in metrics.as_object().into_iter().flatten() {
        if let Some(number) = value.as_f64() {
            all.insert(name.clone(), number);
        }
        all.extend(numbers(value).into_iter().map(|(below, number)| (format!("{name}.{below}"), number)));
    }
    all
}
