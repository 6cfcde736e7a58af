//! Attention on CUDA.

use candle_core::Tensor;

use super::Heads;
use crate::cuda::{Address, Engine, address};
use crate::error::Result;
use crate::ops::attention_heads::cuda::{HeadLayout, HeadProducts, joined, split};

impl Heads {
    fn layout(&self, parts: usize) -> HeadLayout {
        let [tokens, parts, heads, width] =
            [self.tokens, parts, self.heads, self.width()].map(|size| size as i32);
        HeadLayout { tokens, parts, heads, width, images: self.images as i64 }
    }

    fn products<'a>(&self, engine: &'a Engine, x: &Tensor) -> HeadProducts<'a> {
        HeadProducts {
            engine,
            dtype: x.dtype(),
            heads: self.images * self.heads,
            tokens: self.tokens,
            key: self.width(),
            value: self.width(),
            scale: self.scale(),
        }
    }

    pub(super) fn forward_on_cuda(&self, x: &Tensor) -> Result<Tensor> {
        let (engine, parts) = (Engine::of(x)?, split(x, self.layout(3))?);
        let output = self.products(&engine, x).forward(thirds(&parts)?)?;
        joined(&output, self.layout(1), &[self.images, self.tokens, self.channels])
    }

    pub(super) fn backward_on_cuda(&self, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (engine, parts) = (Engine::of(x)?, split(x, self.layout(3))?);
        let grad = split(grad, self.layout(1))?;
        let gradients = self.products(&engine, x).backward(thirds(&parts)?, address(&grad)?)?;
        let all = crate::cuda::concatenate(&gradients)?;
        joined(&all, self.layout(3), x.dims())
    }
}

/// Queries, keys and values, one after the other.
fn thirds(all: &Tensor) -> Result<[Address; 3]> {
    let bytes = all.elem_count() / 3 * all.dtype().size_in_bytes();
    let first = address(all)?;
    Ok([0, 1, 2].map(|part| first.plus(part * bytes)))
}
