//! Channel statistics: a known name, or the numbers.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Mean and standard deviation of each channel, for pixels in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalize {
    pub mean: [f64; 3],
    pub std: [f64; 3],
}

/// The names: torchvision's ImageNet statistics; pixels in [−1, 1]; EfficientNet-Lite's (x − 127) / 128; CLIP's own
/// statistics; pixels in [0, 1].
const NAMED: [(&str, Normalize); 5] = [
    ("imagenet", Normalize { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }),
    ("inception", Normalize { mean: [0.5; 3], std: [0.5; 3] }),
    ("efficientnet_lite", Normalize { mean: [127.0 / 255.0; 3], std: [128.0 / 255.0; 3] }),
    (
        "clip",
        Normalize { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711] },
    ),
    ("none", Normalize { mean: [0.0; 3], std: [1.0; 3] }),
];

impl Default for Normalize {
    fn default() -> Self {
        NAMED[0].1
    }
}

impl Normalize {
    /// The statistics of that name; ImageNet's if there is no such name.
    pub(super) fn named(name: &str) -> Self {
        NAMED.iter().find(|(known, _)| *known == name).map_or(Self::default(), |(_, numbers)| *numbers)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    mean: [f64; 3],
    std: [f64; 3],
}

/// Always writes the numbers: a name and its numbers are the same setting.
impl Serialize for Normalize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Numbers { mean: self.mean, std: self.std }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Normalize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        match Value::deserialize(deserializer)? {
            Value::String(name) => NAMED
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, numbers)| *numbers)
                .ok_or_else(|| D::Error::custom(format!("unknown normalization `{name}`"))),
            other => {
                let Numbers { mean, std } = serde_json::from_value(other).map_err(D::Error::custom)?;
                Ok(Self { mean, std })
            }
        }
    }
}

impl JsonSchema for Normalize {
    fn schema_name() -> Cow<'static, str> {
        "Normalize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
        json_schema!({
            "oneOf": [
                { "type": "string", "enum": names },
                {
                    "type": "object",
                    "properties": {
                        "mean": {
                            "description": "The mean of each channel: red, green, blue.",
                            "type": "array", "items": { "type": "number" }, "minItems": 3, "maxItems": 3,
                        },
                        "std": {
                            "description": "The standard deviation of each channel.",
                            "type": "array", "items": { "type": "number", "exclusiveMinimum": 0 },
                            "minItems": 3, "maxItems": 3,
                        },
                    },
                    "required": ["mean", "std"],
                    "additionalProperties": false,
                }
            ]
        })
    }
}
