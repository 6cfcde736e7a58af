//! Recipes, known before anything runs, and keys, known once the stages above have finished.

use serde_json::{Value, json};

use crate::digest::Digest;

/// The recipe of a stage: its own document, and the recipes above with the checkpoint consumed of each.
///
/// It contains no names of stages, pipelines or paths: the same work under another name has the same recipe.
pub fn recipe(document: &Value, above: &[(&Digest, &str)]) -> Digest {
    let above = above.iter().map(|(recipe, file)| json!({ "recipe": recipe, "file": file }));
    Digest::of_json(&json!({ "document": document, "above": none_one_or_list(above.collect()) }))
}

/// The key of a stage: its own document, and the digests of the consumed files. If the stages above change but
/// give the same bytes, the key is the same.
pub fn key(document: &Value, consumed: &[Digest]) -> Digest {
    let consumed = consumed.iter().map(|digest| json!(digest)).collect();
    Digest::of_json(&json!({ "document": document, "consumed": none_one_or_list(consumed) }))
}

/// The digest that stages share if they differ only in their number of epochs.
pub fn series(document: &Value, consumed: &[Digest]) -> Digest {
    let mut document = document.clone();
    document["settings"]["epochs"] = Value::Null;
    key(&json!({ "series": document }), consumed)
}

/// A single parent is not a list, so only stages with several parents have one.
fn none_one_or_list(mut all: Vec<Value>) -> Value {
    match all.len() {
        0 | 1 => all.pop().unwrap_or_default(),
        _ => Value::Array(all),
    }
}

/// The recipe of a run: its name, and the names and recipes of its stages, because they are in its directory.
pub fn run_recipe<'a>(name: &str, stages: impl Iterator<Item = (&'a str, &'a Digest)>) -> Digest {
    let stages: serde_json::Map<String, Value> =
        stages.map(|(name, recipe)| (name.to_owned(), json!(recipe))).collect();
    Digest::of_json(&json!({ "name": name, "stages": stages }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_follow_what_is_above_and_keys_what_is_consumed() {
        let document = json!({ "kind": "train", "settings": { "epochs": 3 } });
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert_ne!(recipe(&document, &[(&a, "best")]), recipe(&document, &[(&b, "best")]));
        assert_ne!(recipe(&document, &[(&a, "best")]), recipe(&document, &[(&a, "last")]));
        assert_ne!(key(&document, &[a]), key(&document, &[b]));
        assert_eq!(key(&document, &[a]), key(&document.clone(), &[a]));
        assert_ne!(key(&document, &[]), recipe(&document, &[]));
        assert_ne!(key(&document, &[a, b]), key(&document, &[b, a]));
    }

    #[test]
    fn stages_of_one_source_or_none_are_addressed_as_they_always_were() {
        let document = json!({ "kind": "evaluate" });
        let a = Digest::of(b"a");
        let of = |value| Digest::of_json(&value);
        assert_eq!(key(&document, &[]), of(json!({ "document": document, "consumed": null })));
        assert_eq!(key(&document, &[a]), of(json!({ "document": document, "consumed": a })));
        assert_eq!(recipe(&document, &[]), of(json!({ "document": document, "above": null })));
        let above = json!({ "recipe": a, "file": "best.safetensors" });
        let one = recipe(&document, &[(&a, "best.safetensors")]);
        assert_eq!(one, of(json!({ "document": document, "above": above })));
    }
}
