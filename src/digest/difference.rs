//! What differs between two documents that digests are taken of.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One field that differs. A field that is absent on one side has no value there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The dotted path: `optimizer.lr`, `groups.0.match`.
    pub field: String,
    pub old: Option<Value>,
    pub new: Option<Value>,
}

/// The smallest fields that differ, in the order of their paths. Lists of scalars are compared whole, since an
/// insertion at the front would else change every place; so are lists of other lengths.
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

    #[test]
    fn the_smallest_differing_fields_are_named() {
        let old = json!({"optimizer": {"lr": 1e-4, "kind": "sgd"}, "train": ["fc"], "groups": [{"match": ["a"]}], "x": 1});
        let new = json!({"optimizer": {"lr": 3e-5, "kind": "sgd"}, "train": ["fc", "l4"], "groups": [{"match": ["b"]}]});
        let found: Vec<String> = differences(&old, &new)
            .iter()
            .map(|d| {
                let text = |v: &Option<Value>| v.as_ref().map_or("-".into(), Value::to_string);
                format!("{} {} {}", d.field, text(&d.old), text(&d.new))
            })
            .collect();
        assert_eq!(
            found,
            [
                r#"groups.0.match ["a"] ["b"]"#,
                "optimizer.lr 0.0001 0.00003",
                r#"train ["fc"] ["fc","l4"]"#,
                "x 1 -"
            ]
        );
        assert!(differences(&old, &old).is_empty());
    }
}
