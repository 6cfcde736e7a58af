//! Linear layers with low-rank adapters.

use super::layers::no_bias;
use super::{Pass, get_or_make};
use crate::autograd::Value;
use crate::error::Result;
use crate::model::TensorId;
use crate::model::adapter::AdaptedLayer;
use crate::ops;

impl Pass<'_> {
    /// y + scale · B·A·x, for rows x: [.., in] and y: [.., out].
    pub(super) fn add_adapted(&mut self, adapter: AdaptedLayer, x: &Value, y: &Value) -> Result<Value> {
        let places =
            |value: &Value| value.tensor().elem_count() / value.tensor().dims().iter().last().unwrap_or(&1);
        let rows = places(x) / x.tensor().dim(0)?.max(1);
        let [down, up] = [adapter.down, adapter.up].map(|id| self.parameter(id));
        self.count(&down, x, rows);
        let inner = ops::pointwise(&mut self.tape, x, &down, &no_bias(&down)?, None)?;
        let scale = self.adapters.scale;
        // Few numbers are scaled: those between A and B.
        let inner = if scale == 1.0 { inner } else { ops::scale(&mut self.tape, &inner, scale)? };
        self.count(&up, &inner, rows);
        ops::pointwise(&mut self.tape, &inner, &up, &no_bias(&up)?, Some(y))
    }

    /// W + scale · B·A, of which nothing trains.
    pub(super) fn merged(&mut self, weight: TensorId, adapter: AdaptedLayer) -> Result<Value> {
        let (state, scale) = (self.state, self.adapters.scale);
        let merge = || {
            let [weight, down, up] = [weight, adapter.down, adapter.up].map(|id| &state.tensors[id]);
            ops::low_rank_sum(weight, down, up, scale)
        };
        Ok(Value::constant(get_or_make(&mut self.merged, weight, merge)?.clone()))
    }
}
