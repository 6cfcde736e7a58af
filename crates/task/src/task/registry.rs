//! The list of all tasks for reports, and the only place that finds the task of a stage.

use serde_json::Value;

use super::{classification, contrastive, detection, metric_learning, multi_label, recognition};
use crate::report::TaskReporting;

/// All tasks. A stage belongs to the first task that accepts it. Classification accepts any stage, so it is last.
pub static TASKS: [&TaskReporting; 6] = [
    &recognition::REPORTING,
    &multi_label::REPORTING,
    &detection::REPORTING,
    &contrastive::REPORTING,
    &metric_learning::REPORTING,
    &classification::REPORTING,
];

/// The task of a stage by its kind and its document in `plan.json`; `None` for a stage that neither trains nor
/// evaluates.
pub fn of_stage(kind: &str, document: &Value) -> Option<&'static TaskReporting> {
    let has_task = ["train", "evaluate"].contains(&kind);
    TASKS.into_iter().find(|task| has_task && (task.is_of)(document))
}

/// A task by its name in events.
pub fn named(name: &str) -> Option<&'static TaskReporting> {
    TASKS.into_iter().find(|task| task.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stage_is_of_the_task_that_its_document_tells() {
        let name = |kind: &str, document: Value| of_stage(kind, &document).map(|task| task.name);
        assert_eq!(name("train", json!({ "model": { "arch": "resnet18" } })), Some("classification"));
        assert_eq!(name("train", json!({ "model": { "multi_label": true } })), Some("multi_label"));
        assert_eq!(name("evaluate", json!({ "model": {}, "recognition": {} })), Some("recognition"));
        assert_eq!(name("evaluate", json!({ "ensemble": [{}, {}] })), Some("classification"));
        assert_eq!(name("evaluate", Value::Null), Some("classification"));
        assert_eq!(name("load_weights", json!({ "model": { "multi_label": true } })), None);
    }

    #[test]
    fn names_of_tasks_and_of_their_metrics_are_unique() {
        for (place, task) in TASKS.iter().enumerate() {
            assert_eq!(named(task.name).map(|found| found.name), Some(task.name));
            assert!(TASKS[..place].iter().all(|other| other.name != task.name));
            for list in [task.metrics.history, task.metrics.evaluation] {
                let names: Vec<&str> = list.iter().map(|metric| metric.name).collect();
                assert!((1..names.len()).all(|end| !names[..end].contains(&names[end])), "{names:?}");
            }
            let has = |name: &&str| {
                task.metrics.of_epoch(name).or_else(|| task.metrics.of_evaluation(name)).is_some()
            };
            assert!(task.metrics.headline.iter().all(has), "a headline of {} is no metric", task.name);
        }
    }
}
