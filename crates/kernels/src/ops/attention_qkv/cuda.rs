//! Attention over separate queries, keys and values on CUDA.

use candle_core::Tensor;

use super::{Grid, Projection};
use crate::cuda::{Engine, address};
use crate::error::Result;
use crate::ops::attention_heads::cuda::{HeadLayout, HeadProducts, joined, split};

impl Grid {
    fn layout(&self, part: Projection) -> HeadLayout {
        let [tokens, heads, width] = [self.tokens(), self.heads, self.width(part)].map(|size| size as i32);
        HeadLayout { tokens, parts: 1, heads, width, images: self.images as i64 }
    }

    fn products<'a>(&self, engine: &'a Engine, x: &Tensor) -> HeadProducts<'a> {
        HeadProducts {
            engine,
            dtype: x.dtype(),
            heads: self.images * self.heads,
            tokens: self.tokens(),
            key: self.key,
            value: self.value,
            scale: self.scale() as f32,
        }
    }

    fn split(&self, [query, key, value]: &[Tensor; 3]) -> Result<[Tensor; 3]> {
        let [keys, values] = [Projection::Key, Projection::Value].map(|part| self.layout(part));
        Ok([split(query, keys)?, split(key, keys)?, split(value, values)?])
    }

    pub(super) fn forward_on_cuda(&self, inputs: &[Tensor; 3]) -> Result<Tensor> {
        let [query, key, value] = self.split(inputs)?;
        let engine = Engine::of(&query)?;
        let places = [address(&query)?, address(&key)?, address(&value)?];
        let output = self.products(&engine, &query).forward(places)?;
        joined(&output, self.layout(Projection::Value), inputs[2].dims())
    }

    pub(super) fn backward_on_cuda(
        &self,
        inputs: &[Tensor; 3],
        grad: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let [query, key, value] = self.split(inputs)?;
        let grad = split(grad, self.layout(Projection::Value))?;
        let engine = Engine::of(&query)?;
        let places = [address(&query)?, address(&key)?, address(&value)?];
        let gradients = self.products(&engine, &query).backward(places, address(&grad)?)?;
        let parts = [Projection::Query, Projection::Key, Projection::Value];
        let all = gradients.iter().zip(parts).zip(inputs).zip(wanted);
        all.map(|(((gradient, part), input), wanted)| {
            wanted.then(|| joined(gradient, self.layout(part), input.dims())).transpose()
        })
        .collect()
    }
}
