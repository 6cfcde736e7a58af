//! Checks of an evaluation's thresholds and calibration that no schema can express.

use super::stage::EvaluationSplit;
use super::unchecked::UncheckedPipeline;

/// Both are fitted on the validation split of the stage's data set, and measured on another one.
pub fn check(draft: &mut UncheckedPipeline, name: &str, path: &str) {
    let given = |key: &&str| draft.get(&format!("{path}.{key}")).is_some();
    let fitted: Vec<&str> = ["thresholds", "calibration"].into_iter().filter(given).collect();
    let compares = draft.embedding_comparison(path);
    let split = match draft.get(&format!("{path}.split")) {
        Some(_) => draft.read(&format!("{path}.split")),
        None => Some(EvaluationSplit::default()),
    };
    let without_validation = draft.parts_of(name).is_some_and(|parts| !parts.validation);
    for key in fitted {
        let at = draft.key_span(&format!("{path}.{key}"));
        if let Some(other) = compares {
            let message = format!("`{key}` is for class probabilities, but `{other}` compares embeddings");
            draft.report(at, "conflict", message, format!("remove `{key}`, or `{other}`"));
        } else if without_validation {
            let data = draft.name_of(name, "data").unwrap_or_default();
            let message = format!("`{key}` is fitted on validation images, and `data.{data}` has none");
            let help = format!("hold out images with `data.{data}.split.validation`, or remove `{key}`");
            draft.report(at, "no-split", message, help);
        } else if split == Some(EvaluationSplit::Validation) {
            let message =
                format!("`{key}` is fitted on the validation images, and would be measured on the same");
            let help = format!("evaluate another split, such as `split = \"test\"`, or remove `{key}`");
            draft.report(at, "conflict", message, help);
        }
    }
}
