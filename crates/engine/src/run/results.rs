//! The numbers that a finished stage leaves.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::store::Finished;

/// A finished stage's `metrics.json`; nothing where it has none.
pub(super) fn read_metrics(finished: &Finished) -> Value {
    let text = std::fs::read_to_string(finished.dir.join("metrics.json")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_else(|_| Value::Object(Default::default()))
}

/// The numbers of a document, by dotted path.
pub(super) fn numbers(metrics: &Value) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for (name, value) in metrics.as_object().into_iter().flatten() {
        if let Some(number) = value.as_f64() {
            all.insert(name.clone(), number);
        }
        all.extend(numbers(value).into_iter().map(|(below, number)| (format!("{name}.{below}"), number)));
    }
    all
}
