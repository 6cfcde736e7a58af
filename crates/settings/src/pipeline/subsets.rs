//! Subsets of an evaluation's images or objects, whose scores are reported apart.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The subsets of an evaluation, by name.
pub type Subsets = BTreeMap<String, Subset>;

/// How images or objects are divided. Each value becomes a row of scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Subset {
    Tag(TagSubset),
    Path(PathSubset),
    Difficult(DifficultSubset),
    Size(SizeSubset),
    Mask(MaskSubset),
}

/// Divides images by a column of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TagSubset {
    /// A CSV file with a row for every image of the split. `${VAR}` is replaced by the environment variable.
    #[schemars(length(min = 1))]
    pub file: String,
    /// The column with the paths of images below the data set's root.
    #[serde(default = "default_path_column")]
    #[schemars(length(min = 1))]
    pub path_column: String,
    /// The column with the value of each image, such as `weather`.
    #[schemars(length(min = 1))]
    pub column: String,
}

fn default_path_column() -> String {
    "file".to_owned()
}

/// Divides images by a part of their paths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathSubset {
    /// A regular expression with one group, which is the value. It must match the path of every image of the split,
    /// below the data set's root. `^` and `$` also match at each `/`.
    #[schemars(length(min = 1))]
    pub pattern: String,
}

/// Divides objects into those that their annotations mark as difficult, and the others. Difficult objects count in their
/// own subset only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DifficultSubset {}

/// Divides objects by area, as COCO does: small up to 32², medium up to 96² pixels of the original image, and large.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SizeSubset {}

/// Divides objects into those inside a mask, such as a shadow, and those outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaskSubset {
    /// A folder with a mask for every image of the split: an image of the same size at the same path, with any extension
    /// of an image, or without the path's last folder `images`. Pixels are inside if any of their colours is not zero.
    /// `${VAR}` is replaced by the environment variable.
    #[schemars(length(min = 1))]
    pub folder: String,
    /// The smallest part of a box inside the mask with which its object is inside.
    #[serde(default = "default_minimum")]
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub minimum: f64,
}

fn default_minimum() -> f64 {
    0.5
}

impl Subset {
    /// As files call it.
    pub fn by(&self) -> &'static str {
        match self {
            Self::Tag(_) => "tag",
            Self::Path(_) => "path",
            Self::Difficult(_) => "difficult",
            Self::Size(_) => "size",
            Self::Mask(_) => "mask",
        }
    }

    /// Whether it divides objects, not images.
    pub fn divides_objects(&self) -> bool {
        match self {
            Self::Tag(_) | Self::Path(_) => false,
            Self::Difficult(_) | Self::Size(_) | Self::Mask(_) => true,
        }
    }
}
