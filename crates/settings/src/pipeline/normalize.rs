//! Channel statistics: a known name, or the numbers.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Mean and standard deviation of each channel, for pixels in [0, 1]. Both lists have the same length.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalize {
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

/// Statistics with a name.
struct Named {
    mean: [f64; 3],
    std: [f64; 3],
}

/// The names: torchvision's ImageNet statistics; pixels in [−1, 1]; EfficientNet-Lite's (x − 127) / 128; CLIP's own
/// statistics; pixels in [0, 1].
const NAMED: [(&str, Named); 5] = [
    ("imagenet", Named { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }),
    ("inception", Named { mean: [0.5; 3], std: [0.5; 3] }),
    ("efficientnet_lite", Named { mean: [127.0 / 255.0; 3], std: [128.0 / 255.0; 3] }),
    ("clip", Named { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711] }),
    ("none", Named { mean: [0.0; 3], std: [1.0; 3] }),
];

impl Default for Normalize {
    fn default() -> Self {
        Self::from(&NAMED[0].1)
    }
}

impl Normalize {
    /// The statistics of that name; ImageNet's if there is no such name.
    pub(super) fn named(name: &str) -> Self {
        NAMED
            .iter()
            .find(|(known, _)| *known == name)
            .map_or_else(Self::default, |(_, numbers)| numbers.into())
    }

    /// The statistics of so many channels. Those that are the same in every channel are so for any number of them;
    /// `None` if others are for another number.
    pub fn of_channels(&self, channels: usize) -> Option<Self> {
        let same = |list: &[f64]| list.iter().all(|number| Some(number) == list.first());
        let Self { mean, std } = self;
        match (mean.first(), std.first()) {
            _ if mean.len() == channels => Some(self.clone()),
            (Some(first_mean), Some(first_std)) if same(mean) && same(std) => {
                Some(Self { mean: vec![*first_mean; channels], std: vec![*first_std; channels] })
            }
            _ => None,
        }
    }
}

impl From<&Named> for Normalize {
    fn from(Named { mean, std }: &Named) -> Self {
        Self { mean: mean.to_vec(), std: std.to_vec() }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    mean: Vec<f64>,
    std: Vec<f64>,
}

/// Always writes the numbers: a name and its numbers are the same setting.
impl Serialize for Normalize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Numbers { mean: self.mean.clone(), std: self.std.clone() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Normalize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        match Value::deserialize(deserializer)? {
            Value::String(name) => NAMED
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, numbers)| numbers.into())
                .ok_or_else(|| D::Error::custom(format!("unknown normalization `{name}`"))),
            other => {
                let Numbers { mean, std } = serde_json::from_value(other).map_err(D::Error::custom)?;
                if mean.len() != std.len() || mean.is_empty() {
                    let message = format!("{} means and {} standard deviations", mean.len(), std.len());
                    return Err(D::Error::custom(message));
                }
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
                            "description": "The mean of each channel, such as red, green, blue.",
                            "type": "array", "items": { "type": "number" }, "minItems": 1, "maxItems": 64,
                        },
                        "std": {
                            "description": "The standard deviation of each channel.",
                            "type": "array", "items": { "type": "number", "exclusiveMinimum": 0 },
                            "minItems": 1, "maxItems": 64,
                        },
                    },
                    "required": ["mean", "std"],
                    "additionalProperties": false,
                }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_that_are_the_same_in_every_channel_are_so_for_any_number() {
        let named = Normalize::named;
        assert_eq!(named("imagenet").of_channels(3), Some(named("imagenet")));
        assert_eq!(named("imagenet").of_channels(4), None);
        let five = Normalize { mean: vec![0.5; 5], std: vec![0.5; 5] };
        assert_eq!(named("inception").of_channels(5), Some(five.clone()));
        assert_eq!(five.of_channels(5), Some(five));
        let written = serde_json::json!({ "mean": [0.1, 0.2], "std": [1.0] });
        assert!(serde_json::from_value::<Normalize>(written).is_err());
    }
}
