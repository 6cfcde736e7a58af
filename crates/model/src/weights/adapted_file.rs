//! Files whose layers have low-rank adapters: read as one weight each, or written without the network.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Tensor};

use super::{Dialect, TensorEntry, WeightsFile, save};
use crate::digest::Digest;
use crate::error::Result;
use crate::model::{AdapterSpec, Description, StateDict, TensorId, TensorSpec, adapter_names};
use crate::ops;

/// The metadata key under which defrost records adapters: an [`AdapterSpec`].
pub const ADAPTER: &str = "defrost.adapter";

/// What PEFT writes ahead of each name: its own modules around the network.
pub(super) const PEFT: &str = "base_model.model.";

/// The adapters of a file that are merged when a weight is read.
#[derive(Clone, Debug, Default)]
pub(super) struct MergedAdapters {
    scale: f64,
    /// A and B by the name of the weight.
    layers: BTreeMap<String, [TensorEntry; 2]>,
}

impl WeightsFile {
    /// The adapters that the file records.
    pub fn adapter(&self) -> Option<AdapterSpec> {
        serde_json::from_str(self.metadata().get(ADAPTER)?).ok()
    }

    /// The same file without adapters: each weight that has one is read as W + scale · B·A.
    #[must_use]
    pub fn merged(mut self) -> Self {
        let Some(spec) = self.adapter() else { return self };
        self.merged.scale = spec.scale();
        for weight in spec.weights {
            let [down, up] = adapter_names(&weight);
            if let (true, Some(down), Some(up)) = (
                self.entries.contains_key(&weight),
                self.entries.get(&down).cloned(),
                self.entries.get(&up).cloned(),
            ) {
                adapter_names(&weight).iter().for_each(|name| _ = self.entries.remove(name));
                self.merged.layers.insert(weight, [down, up]);
            }
        }
        self
    }

    /// The value of a weight with its adapter, if it has one that is merged.
    pub(super) fn with_adapter(&self, name: &str, weight: Tensor) -> Result<Tensor> {
        let Some([down, up]) = self.merged.layers.get(name) else { return Ok(weight) };
        let read = |entry: &TensorEntry| self.stored(name, (entry, self.bytes(entry)));
        let (down, up) = (read(down)?, read(up)?);
        let fits = match (weight.dims(), down.dims(), up.dims()) {
            ([outputs, inputs], [rank, columns], [rows, depth]) => {
                [outputs, inputs, rank] == [rows, columns, depth]
            }
            _ => false,
        };
        if !fits || [&weight, &down, &up].iter().any(|tensor| tensor.dtype() != DType::F32) {
            return Err(self.file_error(name, "has an adapter of other shapes, or not of floats"));
        }
        ops::low_rank_sum(&weight, &down, &up, self.merged.scale)
    }
}

/// Writes some tensors of a model under the names of `dialect` as PEFT writes an adapter, and returns the file's digest.
///
/// # Errors
/// The file cannot be written.
pub fn save_adapter(
    path: &Path,
    description: &Description,
    state: &StateDict,
    ids: &[TensorId],
    dialect: Dialect,
    metadata: &BTreeMap<String, String>,
) -> Result<Digest> {
    let names = dialect.names(description);
    let spec = |&id: &TensorId| TensorSpec {
        name: format!("{PEFT}{}", names[id]),
        shape: dialect.shape(description, id).to_vec(),
        ..description.tensors[id].clone()
    };
    let part = Description { tensors: ids.iter().map(spec).collect(), ..Description::default() };
    let tensors = ids.iter().map(|&id| state.tensors[id].clone()).collect();
    save(path, &part, &StateDict { tensors }, Dialect::Own, metadata)
}
