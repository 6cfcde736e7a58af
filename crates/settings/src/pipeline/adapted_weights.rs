//! Settings for weights that fit a model only in part: other classes, other image channels, or merged batch
//! normalisation.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

const BY_NAME: &str = "by_name";

/// Which rows of the file's last layer the classes of the head start from.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassRows {
    /// Those of the file's classes with the same name. Case and surrounding spaces are ignored.
    ByName,
    /// The name of the file's class, by the name of the data set's class.
    Table(BTreeMap<String, String>),
}

impl Serialize for ClassRows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::ByName => serializer.serialize_str(BY_NAME),
            Self::Table(classes) => classes.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ClassRows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        match Value::deserialize(deserializer)? {
            Value::String(name) if name == BY_NAME => Ok(Self::ByName),
            Value::String(name) => Err(D::Error::custom(format!("unknown class rows `{name}`"))),
            other => serde_json::from_value(other).map(Self::Table).map_err(D::Error::custom),
        }
    }
}

impl JsonSchema for ClassRows {
    fn schema_name() -> Cow<'static, str> {
        "ClassRows".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [
                { "type": "string", "enum": [BY_NAME] },
                {
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": { "type": "string", "minLength": 1 },
                }
            ]
        })
    }
}

/// How the first convolution is taken from a file in which it reads another number of image channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FirstConv {
    /// Every channel gets the sum over the file's channels, divided by the number of channels. An image whose channels
    /// are all equal keeps its response. The choice for grey images.
    Sum,
    /// Every channel gets the mean over the file's channels.
    Mean,
    /// The file's channels in turn, such as 1, 2, 3, 1 for four channels of three, times (channels of the file) /
    /// (channels of the model).
    Repeat,
    /// The file's first channels for the first ones, unchanged. Channels that the file lacks are initialised at random.
    First,
}

impl FirstConv {
    /// As written in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Repeat => "repeat",
            Self::First => "first",
        }
    }
}

/// Puts batch normalisation back where a file has it merged into the convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreBatchNorm {
    /// Number of training images from which the statistics are computed: the first ones by path, or all if there are
    /// fewer.
    #[schemars(range(min = 1))]
    pub images: usize,
}
