//! Class weights of a loss: computed from the number of images per class, or given by name.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

const BALANCED: &str = "balanced";

/// The weight of each class in a loss.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassWeights {
    /// Training images / (classes · training images of the class), as scikit-learn's `balanced`.
    Balanced,
    /// By class name. Every class must be listed.
    ByName(BTreeMap<String, f64>),
}

impl ClassWeights {
    /// The weight of each class, computed from the numbers of training images.
    ///
    /// A class without training images gets 0. The planner refuses such a class earlier.
    pub fn resolve(&self, classes: &[String], images: &[usize]) -> Vec<f64> {
        let total: usize = images.iter().sum();
        let balanced = |images: usize| match images {
            0 => 0.0,
            images => total as f64 / (classes.len() * images) as f64,
        };
        match self {
            Self::Balanced => images.iter().copied().map(balanced).collect(),
            Self::ByName(weights) => by_name(weights, classes),
        }
    }

    /// The weight of an image that has a label, relative to an image without it, which has weight 1. `with` are the
    /// numbers of training images that have each label, out of `images`.
    ///
    /// With `balanced`, the weight is (images without the label) / (images with it). It is 1 if no image has the label.
    pub fn resolve_positive(&self, labels: &[String], with: &[usize], images: usize) -> Vec<f64> {
        let balanced = |with: usize| match with {
            0 => 1.0,
            with => (images - with) as f64 / with as f64,
        };
        match self {
            Self::Balanced => with.iter().copied().map(balanced).collect(),
            Self::ByName(weights) => by_name(weights, labels),
        }
    }
}

fn by_name(weights: &BTreeMap<String, f64>, classes: &[String]) -> Vec<f64> {
    classes.iter().map(|class| weights.get(class).copied().unwrap_or(1.0)).collect()
}

impl Serialize for ClassWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Balanced => serializer.serialize_str(BALANCED),
            Self::ByName(weights) => weights.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ClassWeights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        match Value::deserialize(deserializer)? {
            Value::String(name) if name == BALANCED => Ok(Self::Balanced),
            Value::String(name) => Err(D::Error::custom(format!("unknown class weights `{name}`"))),
            other => serde_json::from_value(other).map(Self::ByName).map_err(D::Error::custom),
        }
    }
}

impl JsonSchema for ClassWeights {
    fn schema_name() -> Cow<'static, str> {
        "ClassWeights".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [
                { "type": "string", "enum": [BALANCED] },
                {
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": { "type": "number", "exclusiveMinimum": 0 },
                }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balanced_weights_are_scikit_learns() {
        let classes = ["a", "b", "c"].map(str::to_owned);
        // sklearn.utils.class_weight.compute_class_weight("balanced", ..) of 6, 3 and 1 labels
        let weights = ClassWeights::Balanced.resolve(&classes, &[6, 3, 1]);
        assert_eq!(weights, [10.0 / 18.0, 10.0 / 9.0, 10.0 / 3.0]);
        assert_eq!(ClassWeights::Balanced.resolve(&classes, &[2, 2, 0])[2], 0.0);
        let named: ClassWeights = serde_json::from_str(r#"{ "b": 2.0, "a": 0.5, "c": 1 }"#).unwrap();
        assert_eq!(named.resolve(&classes, &[1, 1, 1]), [0.5, 2.0, 1.0]);
    }

    #[test]
    fn balanced_labels_count_as_much_where_they_are_as_where_they_are_not() {
        let labels = ["a", "b", "c"].map(str::to_owned);
        // PyTorch's example: 100 with the label and 300 without it make 3.
        let weights = ClassWeights::Balanced.resolve_positive(&labels, &[100, 0, 400], 400);
        assert_eq!(weights, [3.0, 1.0, 0.0]);
    }
}
