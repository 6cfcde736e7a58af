//! Why a stage is stale: the fields of its recipe that differ from the previous run of the same name.

use serde_json::Value;

use crate::digest::{Difference, differences};

/// The differences between two documents of a stage. `rules` are the freezing rules as written: the resolved
/// table is long, so if it differs, the rules are named instead.
pub fn reasons(old: &Value, new: &Value, old_rules: &Value, new_rules: &Value) -> Vec<Difference> {
    let (names, mut found): (Vec<_>, Vec<_>) =
        differences(old, new).into_iter().partition(|difference| difference.field.starts_with("parameters."));
    if !names.is_empty() {
        let rules = differences(old_rules, new_rules);
        // Rates of groups follow the optimizer's; they are reported only if they alone differ.
        if !rules.is_empty() {
            found.extend(rules);
        } else if found.is_empty() {
            found.extend(names);
        }
    }
    for reason in &mut found {
        if let Some(setting) = reason.field.strip_prefix("settings.") {
            reason.field = setting.to_owned();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn named(found: &[Difference]) -> Vec<String> {
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_changed_learning_rate_is_one_reason() {
        let document = |lr: f64| {
            json!({ "settings": { "optimizer": { "kind": "sgd", "lr": lr } },
                    "parameters": { "trainable": ["fc.weight"], "paces": { "fc.weight": { "lr": lr * 0.1 } } } })
        };
        let rules = json!({ "train": ["@head"] });
        let found = reasons(&document(1e-4), &document(3e-5), &rules, &rules);
        assert_eq!(named(&found), ["optimizer.lr 1e-4 → 3e-5"]);
    }

    #[test]
    fn changed_rules_stand_for_the_names_they_come_to() {
        let document = |names: &[&str]| json!({ "parameters": { "trainable": names } });
        let found = reasons(
            &document(&["fc.weight"]),
            &document(&["fc.weight", "layer4.0.conv1.weight"]),
            &json!({ "train": ["@head"] }),
            &json!({ "train": ["@head", "layer4"] }),
        );
        assert_eq!(named(&found), [r#"train ["@head"] → ["@head","layer4"]"#]);
    }
}
