//! Scores as keys of an event.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serializer};
use serde_json::Value;

/// The keys that every step has: `null` where a stage has no such score.
const ALWAYS: [&str; 2] = ["accuracy", "loss"];

pub fn serialize<S: Serializer>(scores: &BTreeMap<String, f64>, serializer: S) -> Result<S::Ok, S::Error> {
    let absent = ALWAYS.iter().filter(|name| !scores.contains_key(**name)).map(|name| (*name, None));
    serializer.collect_map(scores.iter().map(|(name, value)| (name.as_str(), Some(*value))).chain(absent))
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let all = BTreeMap::<String, Value>::deserialize(deserializer)?;
    Ok(all.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?))).collect())
}

#[cfg(test)]
mod tests {
    use super::super::Event;
    use serde_json::json;

    #[test]
    fn scores_are_keys_of_a_step() {
        let event = |scores: &[(&str, f64)]| Event::Step {
            stage: "net".into(),
            epoch: 1,
            epochs: 2,
            step: 3,
            steps: 4,
            scores: scores.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            images_per_second: 5.0,
            seconds_left: 6.0,
        };
        let boxes = event(&[("loss", 0.5), ("map", 0.25)]);
        let document = json!({
            "event": "step", "stage": "net", "epoch": 1, "epochs": 2, "step": 3, "steps": 4,
            "loss": 0.5, "accuracy": null, "map": 0.25, "images_per_second": 5.0, "seconds_left": 6.0,
        });
        assert_eq!(serde_json::to_value(&boxes).unwrap(), document);
        assert_eq!(serde_json::from_value::<Event>(document).unwrap(), boxes);
        let nothing = serde_json::to_value(event(&[])).unwrap();
        assert!(nothing["loss"].is_null() && nothing.get("loss").is_some());
        assert_eq!(serde_json::from_value::<Event>(nothing).unwrap(), event(&[]));
    }
}
