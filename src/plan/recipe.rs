//! Recipes, known before anything runs, and keys, known once what is above exists.

use serde_json::{Value, json};

use crate::digest::Digest;

/// The recipe of a stage: its own document, and the recipe above it with the checkpoint consumed.
///
/// Names of stages, pipelines and paths are not in it: the same work under another name is the same work.
pub fn recipe(document: &Value, above: Option<(&Digest, &str)>) -> Digest {
    let above = above.map(|(recipe, file)| json!({ "recipe": recipe, "file": file }));
    Digest::of_json(&json!({ "document": document, "above": above }))
}

/// The key of a stage: its own document, and the digest of the very file consumed. What is above may be recomputed,
/// or reached another way: the same bytes lead to the same key.
pub fn key(document: &Value, consumed: Option<&Digest>) -> Digest {
    Digest::of_json(&json!({ "document": document, "consumed": consumed }))
}

/// The recipe of a run: its name and those of its stages, for they are in its directory, and their recipes.
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
        assert_ne!(recipe(&document, Some((&a, "best"))), recipe(&document, Some((&b, "best"))));
        assert_ne!(recipe(&document, Some((&a, "best"))), recipe(&document, Some((&a, "last"))));
        assert_ne!(key(&document, Some(&a)), key(&document, Some(&b)));
        assert_eq!(key(&document, Some(&a)), key(&document.clone(), Some(&a)));
        assert_ne!(key(&document, None), recipe(&document, None));
    }
}
