//! Checks of settings that need one class per image, or multi-label data.

use super::unchecked::UncheckedPipeline;
use super::{Data, Loss, Monitor};

/// Which columns of a table hold the classes or labels.
pub fn table(draft: &mut UncheckedPipeline, path: &str) {
    let Some(Data::Csv(table)) = draft.read(path) else { return };
    let given = [
        ("class_column", table.class_column.is_some()),
        ("labels_column", table.labels_column.is_some()),
        ("label_columns", table.label_columns.is_some()),
    ];
    let mut given = given.iter().filter(|(_, given)| *given).map(|(key, _)| *key);
    let (first, second) = (given.next(), given.next());
    let mut report = |key: &str, code, message: String, help: &str| {
        let place = draft.key_span(&format!("{path}.{key}"));
        draft.report(place, code, message, help.to_owned());
    };
    match (first, second) {
        (None, _) => report(
            "class_column",
            "no-classes",
            "the table's class or label column is not set".to_owned(),
            "set `class_column`, or for multi-label data `labels_column` or `label_columns`",
        ),
        (Some(first), Some(second)) => report(
            second,
            "conflict",
            format!("`{second}` and `{first}` both select the classes or labels"),
            "keep one of them",
        ),
        (Some(_), None) => {}
    }
    if table.label_columns.is_some() && table.classes.is_some() {
        let message = "`label_columns` already lists the labels, in order".to_owned();
        report("classes", "conflict", message, "remove `classes`");
    }
    if table.labels_column.is_none() && table.separator.is_some() {
        let message = "`separator` has no effect without `labels_column`".to_owned();
        report("separator", "no-effect", message, "remove `separator`");
    }
}

/// The loss and the monitored metric of a train stage.
pub fn train(draft: &mut UncheckedPipeline, name: &str, path: &str) {
    let Some(several) = draft.is_multi_label(name) else { return };
    let data = draft.name_of(name, "data").unwrap_or_default();
    let at = format!("{path}.loss");
    let loss = match draft.get(&at) {
        None => Some(Loss::default()),
        Some(_) => draft.read(&at),
    };
    if loss.is_some_and(|loss| loss.is_multi_label() != several) {
        let (message, help) = match several {
            true => (
                format!("`data.{data}` is multi-label, but this loss needs one class per image"),
                "write `loss = { kind = \"bce\" }`",
            ),
            false => (
                format!("`data.{data}` has one class per image, but `bce` is for multi-label data"),
                "use `cross_entropy`, or set the label columns of a table",
            ),
        };
        draft.report(draft.key_span(&at), "conflict", message, help.to_owned());
    }
    let at = format!("{path}.distill");
    if several && draft.get(&at).is_some() {
        let message = format!("distillation needs one class per image, but `data.{data}` is multi-label");
        draft.report(draft.key_span(&at), "conflict", message, "remove `distill`".to_owned());
    }
    let at = format!("{path}.monitor");
    if !several && draft.read(&at) == Some(Monitor::ValidationMap) {
        let message =
            format!("`validation/map` needs multi-label data, but `data.{data}` has one class per image");
        draft.report(draft.span(&at), "conflict", message, "use `validation/macro_f1`".to_owned());
    }
}

/// Embeddings are compared by class, and ensembles average softmax probabilities: both need one class per image.
pub fn evaluate(draft: &mut UncheckedPipeline, name: &str, path: &str) {
    if draft.is_multi_label(name) != Some(true) {
        return;
    }
    for key in ["verification", "identification", "ensemble"] {
        let at = format!("{path}.{key}");
        if draft.get(&at).is_some() {
            let data = draft.name_of(name, "data").unwrap_or_default();
            let message = format!("`{key}` needs one class per image, but `data.{data}` is multi-label");
            draft.report(draft.key_span(&at), "conflict", message, format!("remove `{key}`"));
        }
    }
}
