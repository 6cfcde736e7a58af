//! The depth, the number of channels and the colour space of pixels, as written in a data set.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

/// The number of channels of a colour image.
pub const RGB_CHANNELS: usize = 3;

pub(super) fn default_channels() -> usize {
    RGB_CHANNELS
}

pub(super) fn is_rgb(channels: &usize) -> bool {
    *channels == RGB_CHANNELS
}

/// The colour space of the values that a network sees.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Color {
    /// As stored.
    #[default]
    Srgb,
    LogChromaticity(LogChromaticity),
}

/// Logarithms of the channels without their mean: free of exposure and of shading (Finlayson, Drew, Lu, IJCV 2009).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogChromaticity {
    /// What the stored values are.
    #[serde(default)]
    pub from: Encoding,
    /// The smallest linear value. Smaller ones are raised to it, because noise grows in the dark.
    #[serde(default = "default_floor")]
    pub floor: f64,
}

/// What stored values say about light.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Encoded for a screen, as photos are.
    #[default]
    Srgb,
    /// In proportion to the light.
    Linear,
}

/// 1/1024: about one step of a sensor.
fn default_floor() -> f64 {
    0.000_976_562_5
}

impl Default for LogChromaticity {
    fn default() -> Self {
        Self { from: Encoding::default(), floor: default_floor() }
    }
}

impl Color {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

const SRGB: &str = "srgb";
const LOG_CHROMATICITY: &str = "log_chromaticity";

/// Writes the settings of a colour space, so that a name and its settings are the same.
impl Serialize for Color {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Srgb => SRGB.serialize(serializer),
            Self::LogChromaticity(LogChromaticity { from, floor }) => {
                json!({ "kind": LOG_CHROMATICITY, "from": from, "floor": floor }).serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Color {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let unknown = |kind: &str| D::Error::custom(format!("unknown colour space `{kind}`"));
        match Value::deserialize(deserializer)? {
            Value::String(name) if name == SRGB => Ok(Self::Srgb),
            Value::String(name) if name == LOG_CHROMATICITY => {
                Ok(Self::LogChromaticity(LogChromaticity::default()))
            }
            Value::Object(mut settings) => {
                let kind = settings.remove("kind").unwrap_or_default();
                match kind.as_str() {
                    Some(LOG_CHROMATICITY) => serde_json::from_value(Value::Object(settings))
                        .map(Self::LogChromaticity)
                        .map_err(D::Error::custom),
                    other => Err(unknown(other.unwrap_or("?"))),
                }
            }
            other => Err(unknown(&other.to_string())),
        }
    }
}

impl JsonSchema for Color {
    fn schema_name() -> Cow<'static, str> {
        "Color".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [
                { "type": "string", "enum": [SRGB, LOG_CHROMATICITY] },
                {
                    "type": "object",
                    "properties": {
                        "kind": {
                            "description": "The colour space.",
                            "type": "string", "enum": [LOG_CHROMATICITY],
                        },
                        "from": {
                            "description": "Whether stored values are encoded for a screen, as photos are, or in \
                                            proportion to the light.",
                            "type": "string", "enum": ["srgb", "linear"], "default": "srgb",
                        },
                        "floor": {
                            "description": "The smallest linear value, about one step of the sensor. Smaller ones are \
                                            raised to it, because noise grows in the dark.",
                            "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1,
                            "default": default_floor(),
                        },
                    },
                    "required": ["kind"],
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
    fn a_name_and_its_settings_are_the_same() {
        let read = |value: Value| serde_json::from_value::<Color>(value).unwrap();
        let named = read(json!("log_chromaticity"));
        assert_eq!(named, read(json!({ "kind": "log_chromaticity" })));
        let written = json!({ "kind": "log_chromaticity", "from": "srgb", "floor": 1.0 / 1024.0 });
        assert_eq!(json!(named), written);
        assert_eq!(read(written), named);
        assert_eq!(json!(read(json!("srgb"))), json!("srgb"));
        for wrong in [json!("lab"), json!({ "kind": "srgb" }), json!({ "floor": 0.1 }), json!(3)] {
            assert!(serde_json::from_value::<Color>(wrong).is_err());
        }
    }
}
