//! Presets: published training settings under one name. `resolved.toml` has them written out.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::value::{self, StrDeserializer};
use serde::{Deserialize, Serialize};

use super::document::{self, Node, NodeValue};
use super::source_text::SourceText;

/// Published training settings. A stage's own settings, and those of `[defaults.train]`, take precedence; tables
/// replace whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// How YOLO11 was trained from random weights with SGD: warmup, EMA, clipping, mosaic and a nominal batch of 64. For
    /// batches below 64, `accumulate` and `weight_decay` follow from `batch_size`.
    Yolo11,
}

/// The images of an optimizer step that the published settings are for.
const NOMINAL_BATCH: i64 = 64;

impl Preset {
    fn named(name: &str) -> Option<Self> {
        Self::deserialize(StrDeserializer::<value::Error>::new(name)).ok()
    }

    /// Its settings as TOML, for a stage of this batch size and number of epochs.
    fn settings(self, batch_size: Option<i64>, epochs: Option<i64>) -> String {
        match self {
            Self::Yolo11 => {
                let batch_size = batch_size.unwrap_or(16).clamp(1, NOMINAL_BATCH * 1000);
                let epochs = epochs.unwrap_or(100);
                let accumulate = ((NOMINAL_BATCH as f64 / batch_size as f64).round_ties_even() as i64).max(1);
                let weight_decay = 5e-4 * (batch_size * accumulate) as f64 / NOMINAL_BATCH as f64;
                let close_mosaic = 10.min(epochs / 2);
                let warmup = 3.min(epochs - 1).max(0);
                let warmup_from =
                    if warmup > 0 { "warmup_from = { bias_lr = 0.1, momentum = 0.8 }\n" } else { "" };
                let patience = if epochs > 100 { "early_stop = { patience = 100 }\n" } else { "" };
                format!(
                    "epochs = {epochs}\nbatch_size = {batch_size}\naccumulate = {accumulate}\n\
                     optimizer = {{ kind = \"sgd\", lr = 0.01, momentum = 0.937, nesterov = true, \
                     weight_decay = {weight_decay}, no_decay = [\"@norm\", \"@bias\"] }}\n\
                     schedule = {{ kind = \"polynomial\", final_scale = 0.01, warmup_epochs = {warmup} }}\n\
                     {warmup_from}{patience}\
                     ema = {{ decay = 0.9999, time_constant = 2000 }}\nclip_norm = 10\n\
                     loss = {{ kind = \"detection\" }}\nmonitor = \"validation/ap50_95\"\n\
                     augment = {{ mosaic = {{}}, close_mosaic = {close_mosaic}, affine = {{}}, hsv = {{}}, horizontal_flip = 0.5 }}\n"
                )
            }
        }
    }
}

/// Gives every train stage the settings of its preset that it does not have.
pub fn apply(root: &mut Node) {
    let Some(Node { value: NodeValue::Table(stages), .. }) = root.get_mut("stage") else { return };
    for (_, stage) in stages.iter_mut() {
        let named =
            stage.get("preset").and_then(Node::text).and_then(|name| Some((name, Preset::named(name)?)));
        let Some((name, preset)) = named else { continue };
        let integer = |key: &str| match stage.get(key).map(|node| &node.value) {
            Some(NodeValue::Integer(number)) => Some(*number),
            _ => None,
        };
        let text = preset.settings(integer("batch_size"), integer("epochs"));
        let source = Arc::new(SourceText::new(format!("preset {name}"), text));
        let settings = document::parse(&source, &mut Vec::new());
        // The preset's warmup of biases and momentum is for its own schedule and optimizer.
        let has_own_steps = ["schedule", "optimizer"].iter().any(|key| stage.get(key).is_some());
        // Its settings are written out in its place.
        stage.remove("preset");
        let NodeValue::Table(own) = &mut stage.value else { continue };
        for (key, value) in settings.entries() {
            if own.get(key).is_none() && !(key == "warmup_from" && has_own_steps) {
                own.push(key.clone(), value.clone());
            }
        }
    }
}
