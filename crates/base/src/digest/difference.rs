//! The differences between two JSON documents that recipes are computed from.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One field that differs. A side that lacks the field has `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The dotted path: `optimizer.lr`, `groups.0.match`.
    pub field: String,
    pub old: Option<Value>,
    pub new: Option<Value>,
}

/// `optimizer.lr 1e-4 → 3e-5`; digests are shortened.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} → {}", self.field, text(self.old.as_ref()), text(self.new.as_ref()))
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        None => "(not set)".to_owned(),
        Some(Value::String(text)) if text.parse::<super::Digest>().is_ok() => text[..8].to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => match number.as_f64() {
            // The usual form of learning rates.
            Some(value) if value != 0.0 && value.abs() < 1e-3 => format!("{value:e}"),
            _ => number.to_string(),
        },
        Some(other) => other.to_string(),
    }
}

/// The smallest fields that differ, in path order. Lists of scalars are compared as a whole, because an
/// insertion at the front would change every index; lists of different lengths too.
pub fn differences(old: &Value, new: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    collect("", Some(old), Some(new), &mut found);
    found
}

fn collect(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Difference>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (old, new) {
        (Some(old), Some(new)) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                collect(&below(key), old.get(key), new.get(key), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new)))
            if old.len() == new.len() && old.iter().chain(new).all(|item| item.is_object()) =>
        {
            for (place, (old, new)) in old.iter().zip(new).enumerate() {
                collect(&below(&place.to_string()), Some(old), Some(new), found);
            }
        }
        _ => found.push(Difference { field: path.to_owned(), old: old.cloned(), new: new.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(value: &Value, field: &str, content: Value) -> Value {
        let mut value = value.clone();
        value[field] = content;
        value
    }

    #[test]
    fn the_smallest_differing_fields_are_named() {
        let old = json!({"optimizer": {"lr": 1e-4, "kind": "sgd"}, "train": ["fc"], "groups": [{"match": ["a"]}], "x": 1});
        let new = json!({"optimizer": {"lr": 3e-5, "kind": "sgd"}, "train": ["fc", "l4"], "groups": [{"match": ["b"]}]});
        let digest = super::super::Digest::of(b"");
        let (old, new) = (with(&old, "input", json!(digest)), with(&new, "input", json!("none")));
        let found: Vec<String> = differences(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                r#"groups.0.match ["a"] → ["b"]"#,
                "input af1349b9 → none",
                "optimizer.lr 1e-4 → 3e-5",
                r#"train ["fc"] → ["fc","l4"]"#,
                "x 1 → (not set)"
            ]
        );
        assert!(differences(&old, &old).is_empty());
    }
}
