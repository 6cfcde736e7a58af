//! Images with one class each and images with any number of labels: what asks for which.

use super::draft::Draft;
use super::{Data, Loss, Monitor};

/// Which columns a table's classes or labels are in.
pub fn table(draft: &mut Draft, path: &str) {
    let Some(Data::Csv(table)) = draft.read(path) else { return };
    let given = [
        ("class_column", table.class_column.is_some()),
        ("labels_column", table.labels_column.is_some()),
        ("label_columns", table.label_columns.is_some()),
    ];
    let mut given = given.iter().filter(|(_, given)| *given).map(|(key, _)| *key);
    let (first, second) = (given.next(), given.next());
    let mut report = |key: &str, code, message: String, help: &str| {
        let place = draft.key(&format!("{path}.{key}"));
        draft.report(place, code, message, help.to_owned());
    };
    match (first, second) {
        (None, _) => report(
            "class_column",
            "no-classes",
            "nothing says what the images show".to_owned(),
            "name the `class_column`; for any number of labels the `labels_column`, or `label_columns`",
        ),
        (Some(first), Some(second)) => report(
            second,
            "conflict",
            format!("`{second}` and `{first}` both say what the images show"),
            "keep one of them",
        ),
        (Some(_), None) => {}
    }
    if table.label_columns.is_some() && table.classes.is_some() {
        let message = "`label_columns` are the labels, in their order".to_owned();
        report("classes", "conflict", message, "remove `classes`");
    }
    if table.labels_column.is_none() && table.separator.is_some() {
        let message = "`separator` has no effect without `labels_column`".to_owned();
        report("separator", "no-effect", message, "remove `separator`");
    }
}

/// A train stage's loss and monitor.
pub fn train(draft: &mut Draft, name: &str, path: &str) {
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
                format!(
                    "images of `data.{data}` have any number of labels, and this loss is for one class each"
                ),
                "write `loss = { kind = \"bce\" }`",
            ),
            false => (
                format!("images of `data.{data}` have one class each, and `bce` is for any number of labels"),
                "take `cross_entropy`, or say which columns of a table have labels",
            ),
        };
        draft.report(draft.key(&at), "conflict", message, help.to_owned());
    }
    let at = format!("{path}.distill");
    if several && draft.get(&at).is_some() {
        let message =
            format!("a teacher tells one class each, and images of `data.{data}` have any number of labels");
        draft.report(draft.key(&at), "conflict", message, "remove `distill`".to_owned());
    }
    let at = format!("{path}.monitor");
    if !several && draft.read(&at) == Some(Monitor::ValidationMap) {
        let message =
            format!("`validation/map` is of labels, and images of `data.{data}` have one class each");
        draft.report(draft.place(&at), "conflict", message, "monitor `validation/macro_f1`".to_owned());
    }
}

/// Embeddings are compared by whom images show, and ensembles are of softmaxes: both want one class each.
pub fn evaluate(draft: &mut Draft, name: &str, path: &str) {
    if draft.is_multi_label(name) != Some(true) {
        return;
    }
    for key in ["verification", "identification", "ensemble"] {
        let at = format!("{path}.{key}");
        if draft.get(&at).is_some() {
            let data = draft.name_of(name, "data").unwrap_or_default();
            let message = format!(
                "`{key}` asks for one class each, and images of `data.{data}` have any number of labels"
            );
            draft.report(draft.key(&at), "conflict", message, format!("remove `{key}`"));
        }
    }
}
