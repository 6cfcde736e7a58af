//! Checks class weights, which losses of several tasks support.

use std::collections::HashSet;

use super::class_list::{is_known, list};
use super::{TaskProblem, TaskSpec};
use crate::data::{Dataset, Split};
use crate::pipeline::{ClassWeights, suggest};

/// Refuses weights whose classes differ from those of the data set. Refuses balanced weights if a class has no training
/// image. `key` is the setting of the loss that holds the weights.
pub(super) fn check(
    spec: &TaskSpec,
    weights: Option<&ClassWeights>,
    key: &str,
    dataset: Option<&Dataset>,
) -> Result<(), TaskProblem> {
    let problem = |message: String, help: Option<String>| {
        Err(TaskProblem { setting: format!("loss.{key}"), code: "class-list", message, help })
    };
    let classes = spec.classes;
    match (weights, dataset) {
        (Some(ClassWeights::ByName(weights)), _) if is_known(classes) => {
            let known: HashSet<&String> = classes.iter().collect();
            if let Some(stranger) = weights.keys().find(|name| !known.contains(name)) {
                let help = suggest::help(stranger, "classes", classes.iter().map(String::as_str));
                return problem(format!("unknown class `{stranger}`"), help);
            }
            let Some(missing) = classes.iter().find(|class| !weights.contains_key(*class)) else {
                return Ok(());
            };
            let help = "list every class; 1 is the default weight".to_owned();
            problem(format!("class `{missing}` has no weight"), Some(help))
        }
        // Balanced weights divide by the number of training images, so a class without images has none, as in
        // scikit-learn.
        (Some(ClassWeights::Balanced), Some(dataset)) => {
            let counts = dataset.counts();
            let without =
                dataset.classes.iter().zip(&counts).filter(|(_, parts)| parts[Split::Train as usize] == 0);
            let without: Vec<String> = without.map(|(class, _)| class.clone()).collect();
            if without.is_empty() {
                return Ok(());
            }
            let help = "add training images, or list the weights by class name".to_owned();
            let message =
                format!("no training image has {}, so its balanced weight is undefined", list(&without));
            problem(message, Some(help))
        }
        _ => Ok(()),
    }
}
