//! The table as written, and a search as commands use it.

use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::super::Monitor;

/// Draws settings at random, ranks the runs by a validation metric, and runs the whole file with the best.
///
/// Only its schema is used. The loader reads the tree itself, where every value knows its place.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its schema is used")]
pub(in super::super) struct SearchTable {
    /// Number of samples, each with its own draw of every setting in `space`. With more samples, the earlier ones stay the
    /// same.
    #[schemars(range(min = 2, max = 10_000))]
    samples: u32,
    /// The seed of the draws. It does not change the seed of the runs.
    #[serde(default)]
    seed: u64,
    /// The train stage that is ranked. The samples run it and the stages above it. Defaults to the last train stage of the
    /// file.
    stage: Option<String>,
    /// The validation metric of the ranking, at the `@best` epoch of the stage. A lower loss is better; of all other metrics,
    /// a higher value. Defaults to the stage's `monitor`.
    metric: Option<Monitor>,
    /// Number of best samples that run the whole file at the end. Only these are evaluated on test images.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    finalists: u32,
    /// The settings to draw, each a quoted path and a distribution: `"stage.head.optimizer.lr" = { log_uniform = [1e-4, 1e-1] }`.
    #[schemars(schema_with = "space")]
    space: (),
    /// Ends most samples after few epochs: only the best of each rung train for more.
    halving: Option<Halving>,
}

/// The values of one setting. Exactly one of the keys is given.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its schema is used")]
struct Distribution {
    /// A number between two bounds, rounded to four digits.
    #[schemars(length(min = 2, max = 2))]
    uniform: Option<Vec<f64>>,
    /// A number between two positive bounds, whose logarithm is uniform, rounded to four digits. For learning rates and
    /// other settings of which only the magnitude is known.
    #[serde(default)]
    #[schemars(schema_with = "positive")]
    log_uniform: Option<Vec<f64>>,
    /// A whole number between two bounds, which are included.
    #[schemars(length(min = 2, max = 2))]
    integer: Option<Vec<i64>>,
    /// A whole number between two positive bounds, which are included, whose logarithm is uniform.
    #[schemars(length(min = 2, max = 2), inner(range(min = 1)))]
    log_integer: Option<Vec<i64>>,
    /// One of these values.
    #[serde(default)]
    #[schemars(schema_with = "scalars")]
    choice: Option<()>,
}

/// Synchronous successive halving. When all samples of a rung are finished, the best go on to the next.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its schema is used")]
struct Halving {
    /// The number of epochs of the stage in each rung but the last, in ascending order. The last rung trains all `epochs` of
    /// the stage.
    #[schemars(length(min = 1, max = 20), inner(range(min = 1)))]
    epochs: Vec<u32>,
    /// One in `eta` samples of a rung goes on, rounded up.
    #[serde(default = "three")]
    #[schemars(range(min = 2, max = 100))]
    eta: u32,
}

fn one() -> u32 {
    1
}

fn three() -> u32 {
    3
}

fn positive(_: &mut SchemaGenerator) -> Schema {
    let number = json_schema!({ "type": "number", "exclusiveMinimum": 0 });
    json_schema!({ "type": "array", "items": number, "minItems": 2, "maxItems": 2 })
}

fn space(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "additionalProperties": generator.subschema_for::<Distribution>(),
    })
}

fn scalars(_: &mut SchemaGenerator) -> Schema {
    let one = json_schema!({ "oneOf": [{ "type": "string" }, { "type": "number" }, { "type": "boolean" }] });
    json_schema!({ "type": "array", "items": one, "minItems": 2, "uniqueItems": true })
}

/// A search: its samples, and how they are ranked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Search {
    pub seed: u64,
    /// The train stage that is ranked.
    pub stage: String,
    #[serde(rename = "metric")]
    pub monitor: Monitor,
    /// Number of best samples that run the whole file.
    pub finalists: usize,
    /// The epochs of the stage in each rung but the last. Empty without halving.
    pub early_epochs: Vec<u32>,
    /// The epochs of the last rung; `None` if the search draws them.
    pub last_epochs: Option<u32>,
    /// One in this number of samples goes on to the next rung.
    pub eta: usize,
    /// The drawn settings, in the order of the file.
    pub settings: Vec<SearchedSetting>,
    /// For each sample, the value of each setting.
    pub samples: Vec<Vec<serde_json::Value>>,
    /// For each sample, its label.
    pub labels: Vec<String>,
}

/// A setting whose values are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchedSetting {
    /// Its dotted path.
    pub path: String,
    /// The last words of its path, which no other drawn setting has.
    pub name: String,
    /// Whether its values are compared by their logarithms.
    pub logarithmic: bool,
    /// Whether it is a choice, whose values have no order.
    pub choice: bool,
}

/// The place of a run in its search.
#[derive(Clone, Debug)]
pub struct RunOfSearch {
    pub search: Arc<Search>,
    /// From 1.
    pub sample: usize,
    /// From 0; `None` if it is the whole file.
    pub rung: Option<usize>,
}

impl Search {
    /// The number of rungs; one without halving.
    pub fn rungs(&self) -> usize {
        self.early_epochs.len() + 1
    }

    /// The epochs of a rung; `None` if each sample has its own.
    pub fn epochs(&self, rung: usize) -> Option<u32> {
        self.early_epochs.get(rung).copied().or(self.last_epochs)
    }

    /// The number of samples in a rung if none fails, and at last the number of finalists.
    pub fn sizes(&self) -> Vec<usize> {
        let mut sizes = vec![self.samples.len()];
        for _ in 1..self.rungs() {
            sizes.push(sizes[sizes.len() - 1].div_ceil(self.eta));
        }
        let last = sizes[sizes.len() - 1];
        sizes.push(self.finalists.min(last));
        sizes
    }
}
