//! Low-rank adapters of linear layers: Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models* (2021).
//!
//! An adapted layer computes W·x + alpha / rank · B·A·x. Its tensors A and B follow those of the network, so that the ids of
//! these do not change. While one of W, A and B trains, both terms are computed; otherwise the sum of the weights is.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Model;
use super::description::{Description, Init, TensorId, TensorRole, TensorSpec, is_within};
use super::pass::StateDict;
use super::rules::RuleError;
use crate::error::Result;
use crate::ops;
use crate::pipeline::{self, Pattern, PatternAlias};

/// The names of A and of B below the layer, as PEFT has them.
const SUFFIXES: [&str; 2] = [".lora_A.weight", ".lora_B.weight"];

/// The adapters of a model: the adapted weights in the order of the description, their rank and their scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterSpec {
    pub weights: Vec<String>,
    pub rank: usize,
    pub alpha: f64,
}

impl AdapterSpec {
    /// The factor of B·A.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }
}

/// The tensors of an adapter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptedLayer {
    /// A: [rank, in].
    pub down: TensorId,
    /// B: [out, rank].
    pub up: TensorId,
}

/// The adapters of a described model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adapters {
    /// By the weight of the layer.
    pub layers: BTreeMap<TensorId, AdaptedLayer>,
    pub scale: f64,
}

/// The names of A and B for a weight: `mlp.0.weight` has `mlp.0.lora_A.weight`, and `in_proj_weight` has
/// `in_proj.lora_A.weight`.
pub fn adapter_names(weight: &str) -> [String; 2] {
    SUFFIXES.map(|suffix| format!("{}{suffix}", module_of(weight)))
}

/// The layer of a weight.
pub fn module_of(weight: &str) -> &str {
    weight.strip_suffix(".weight").or(weight.strip_suffix("_weight")).unwrap_or(weight)
}

impl Description {
    /// The weight that a tensor of an adapter changes.
    pub fn adapted_by(&self, id: TensorId) -> Option<TensorId> {
        let holds = |layer: &AdaptedLayer| layer.down == id || layer.up == id;
        self.adapters.layers.iter().find(|(_, layer)| holds(layer)).map(|(weight, _)| *weight)
    }

    /// The tensors of all adapters.
    pub fn adapter_tensors(&self) -> impl Iterator<Item = TensorId> {
        self.adapters.layers.values().flat_map(|layer| [layer.down, layer.up])
    }

    /// The number of tensors without adapters, which come first.
    pub fn base_tensors(&self) -> usize {
        self.tensors.len() - 2 * self.adapters.layers.len()
    }

    /// The same without adapters.
    pub fn without_adapters(&self) -> Self {
        let mut base = self.clone();
        base.tensors.truncate(self.base_tensors());
        base.adapters = Arc::default();
        base
    }

    /// A is uniform in ±1/√in and B zero, as in PEFT: at first an adapter changes nothing.
    fn add_adapters(&mut self, spec: &AdapterSpec) {
        let mut adapters = Adapters { layers: BTreeMap::new(), scale: spec.scale() };
        let weights: Vec<TensorId> = spec.weights.iter().filter_map(|name| self.id(name)).collect();
        for weight in weights {
            let &[outputs, inputs] = &self.tensors[weight].shape[..] else { continue };
            let bound = (inputs as f64).sqrt().recip();
            let [down, up] = adapter_names(&self.tensors[weight].name);
            let layer = self.tensors[weight].layer;
            let mut add = |name, shape, init| {
                self.tensors.push(TensorSpec { name, shape, role: TensorRole::Weight, init, layer });
                self.tensors.len() - 1
            };
            let down = add(down, vec![spec.rank, inputs], Init::Uniform { bound });
            let up = add(up, vec![outputs, spec.rank], Init::Zeros);
            adapters.layers.insert(weight, AdaptedLayer { down, up });
        }
        self.adapters = Arc::new(adapters);
    }
}

/// The values without adapters: each adapted weight is W + scale · B·A, and other tensors are the same.
///
/// # Errors
/// The device fails.
pub fn merge_adapters(description: &Description, state: &StateDict) -> Result<StateDict> {
    let mut tensors = state.tensors[..description.base_tensors()].to_vec();
    let Adapters { layers, scale } = &*description.adapters;
    for (&weight, &AdaptedLayer { down, up }) in layers {
        let [down, up] = [down, up].map(|id| &state.tensors[id]);
        tensors[weight] = ops::low_rank_sum(&tensors[weight], down, up, *scale)?;
    }
    Ok(StateDict { tensors })
}

impl Model {
    /// The same model with adapters.
    #[must_use]
    pub fn with_adapters(mut self, spec: Option<&AdapterSpec>) -> Self {
        if let Some(spec) = spec {
            self.description.add_adapters(spec);
        }
        self
    }

    /// Resolves the patterns of a stage to linear layers of this model.
    ///
    /// # Errors
    /// All errors: patterns that match nothing, no linear layer, or change nothing; a rank above a layer's own.
    pub fn resolve_adapter(&self, settings: &pipeline::Adapter) -> Result<AdapterSpec, Vec<RuleError>> {
        let description = &self.description;
        if self.is_opaque() || description.linear_layers.is_empty() {
            return Err(vec![self.without_linear_layers()]);
        }
        let mut selected = vec![false; description.tensors.len()];
        let mut errors = Vec::new();
        for (index, text) in settings.patterns.iter().enumerate() {
            let place = format!("adapter.match[{index}]");
            match Pattern::parse(text) {
                Ok(pattern) => errors.extend(
                    select(description, &pattern, &mut selected)
                        .map(|error| RuleError { setting: place, ..error }),
                ),
                Err(error) => errors.push(RuleError::syntax(&place, error)),
            }
        }
        let ids: Vec<TensorId> = (0..selected.len()).filter(|&id| selected[id]).collect();
        if ids.is_empty() && errors.is_empty() {
            let error = RuleError::new("adapter.match", "pattern-unmatched", "no layer is left to adapt");
            errors.push(error.help("remove a `!` pattern"));
        }
        let most = |id: &TensorId| description.tensors[*id].shape.iter().copied().min().unwrap_or(0);
        if let Some(id) = ids.iter().copied().min_by_key(most).filter(|id| most(id) < settings.rank) {
            let (rank, most, name) = (settings.rank, most(&id), module_of(&description.tensors[id].name));
            let message = format!("`rank = {rank}` is more than the {most} of `{name}` itself");
            let error = RuleError::new("adapter.rank", "adapter-rank", message);
            errors
                .push(error.help(format!("lower it: an adapter with rank {most} can already be any change")));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let weights = ids.into_iter().map(|id| description.tensors[id].name.clone()).collect();
        Ok(AdapterSpec { weights, rank: settings.rank, alpha: settings.alpha() })
    }

    fn without_linear_layers(&self) -> RuleError {
        let arch = &self.description.arch;
        let (message, help) = if self.is_opaque() {
            (
                format!("`{arch}` is computed by another library, without gradients"),
                "use another architecture, such as `dinov2_vits14`, or remove `adapter` and train only the head",
            )
        } else {
            (
                format!("`{arch}` has no linear layers below its head to adapt"),
                "use a vision transformer, such as `vit_s_16`, or train some of the layers: `train_last`",
            )
        };
        RuleError::new("adapter", "adapter-unsupported", message).help(help)
    }
}

/// Applies one pattern. Returns why it is an error, without its position.
fn select(description: &Description, pattern: &Pattern, selected: &mut [bool]) -> Option<RuleError> {
    let text = pattern.text();
    let matches = |id: &TensorId| {
        description.matches(pattern, *id) || pattern.matches_name(module_of(&description.tensors[*id].name))
    };
    let matched: Vec<TensorId> = (0..description.tensors.len()).filter(matches).collect();
    let linear: Vec<TensorId> =
        matched.iter().copied().filter(|id| description.linear_layers.contains(id)).collect();
    let Some(&first) = matched.first() else {
        let error = RuleError::new("", "pattern-unmatched", format!("`{text}` matches no layer"));
        let is_above = |name: &&str| {
            description
                .linear_layers
                .iter()
                .any(|&id| is_within(module_of(&description.tensors[id].name), name))
        };
        let above: Vec<&str> = description.names().into_iter().filter(is_above).collect();
        return Some(error.help(match pattern.suggestion(above) {
            Some(suggestion) => format!("did you mean `{suggestion}`?"),
            None => format!("`defrost params` lists the names of `{}`", description.arch),
        }));
    };
    if linear.is_empty() {
        let name = &description.tensors[first].name;
        let of_head = pattern.alias() == Some(PatternAlias::Head) || description.in_head(first);
        let (what, help) = if of_head {
            ("only the head, which is not adapted", "train it as a whole: `train = [\"@head\"]`".to_owned())
        } else {
            let example = module_of(&description.tensors[description.linear_layers[0]].name);
            ("no linear layer", format!("match linear layers, such as `{example}`"))
        };
        let message = if of_head {
            format!("`{text}` matches {what}")
        } else {
            format!("`{text}` matches {what}: `{name}` is none")
        };
        return Some(RuleError::new("", "adapter-not-linear", message).help(help));
    }
    let takes = !pattern.is_negated();
    let mut changed = false;
    for id in linear {
        changed |= selected[id] != takes;
        selected[id] = takes;
    }
    let redundant = || {
        let already = if takes { "is already selected by" } else { "is not selected by" };
        let message = format!("`{text}` has no effect: all that it matches {already} the rules before it");
        RuleError::new("", "pattern-redundant", message).help("remove it, or move it")
    };
    (!changed).then(redundant)
}

#[cfg(test)]
mod tests;
