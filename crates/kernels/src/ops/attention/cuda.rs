//! Attention on CUDA: cuBLAS products of all heads at once, with scores in f32 between them.
//!
//! As on the CPU, the backward pass computes the probabilities again.

use candle_core::{DType, Tensor};

use super::Heads;
use crate::cuda::{Address, CublasProduct, Engine, Operand, address, argument, arguments, kernel};
use crate::error::Result;

/// The layout of kernels/transformer.cuh: [images, tokens, parts, heads, width].
#[repr(C)]
#[derive(Clone, Copy)]
struct HeadLayout {
    tokens: i32,
    parts: i32,
    heads: i32,
    width: i32,
    images: i64,
}
argument!(HeadLayout => "Heads");

impl Heads {
    fn layout(&self, parts: usize) -> HeadLayout {
        let [tokens, parts, heads, width] =
            [self.tokens, parts, self.heads, self.width()].map(|size| size as i32);
        HeadLayout { tokens, parts, heads, width, images: self.images as i64 }
    }

    pub(super) fn forward_on_cuda(&self, x: &Tensor) -> Result<Tensor> {
        let parts = QueryKeyValue::of(*self, x)?;
        let probabilities = parts.probabilities()?;
        let output = parts.product(&probabilities, false, parts.places[2], x.dtype())?;
        joined(&output, self.layout(1), &[self.images, self.tokens, self.channels])
    }

    pub(super) fn backward_on_cuda(&self, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (dtype, parts) = (x.dtype(), QueryKeyValue::of(*self, x)?);
        let grad = split(grad, self.layout(1))?;
        let probabilities = parts.probabilities()?;
        let towards_value = parts.product(&probabilities, true, address(&grad)?, dtype)?;
        let gradients = parts.scores(address(&grad)?, parts.places[2])?;
        let scores = parts.over_rows("score_gradient", &[&probabilities, &gradients])?;
        let towards_query = parts.product(&scores, false, parts.places[1], dtype)?;
        let towards_key = parts.product(&scores, true, parts.places[0], dtype)?;
        let all = crate::cuda::concatenate(&[towards_query, towards_key, towards_value])?;
        joined(&all, self.layout(3), x.dims())
    }
}

/// Queries, keys and values, each [images · heads, tokens, width].
struct QueryKeyValue {
    of: Heads,
    all: Tensor,
    places: [Address; 3],
}

impl QueryKeyValue {
    fn of(of: Heads, x: &Tensor) -> Result<Self> {
        let all = split(x, of.layout(3))?;
        let bytes = all.elem_count() / 3 * all.dtype().size_in_bytes();
        let first = address(&all)?;
        Ok(Self { of, all, places: [0, 1, 2].map(|part| first.plus(part * bytes)) })
    }

    /// The number of score matrices, and their side.
    fn sizes(&self) -> (usize, usize) {
        (self.of.images * self.of.heads, self.of.tokens)
    }

    /// left · rightᵀ in f32; both are [tokens, width].
    fn scores(&self, left: Address, right: Address) -> Result<Tensor> {
        let ((count, tokens), engine) = (self.sizes(), Engine::of(&self.all)?);
        let (out, to) = engine.tensor(DType::F32, (count, tokens, tokens))?;
        let product = CublasProduct {
            dtype: self.all.dtype(),
            dimensions: [tokens, tokens, self.of.width()],
            left: Operand::plain(left),
            right: Operand::transposed(right),
            out: to,
            accumulate: false,
        };
        engine.products(&product, count, DType::F32)?;
        Ok(out)
    }

    /// scores [tokens, tokens], or their transpose, · right [tokens, width].
    fn product(&self, scores: &Tensor, transposed: bool, right: Address, out_type: DType) -> Result<Tensor> {
        let ((count, tokens), width, engine) = (self.sizes(), self.of.width(), Engine::of(scores)?);
        let (out, to) = engine.tensor(out_type, (count, tokens, width))?;
        let product = CublasProduct {
            dtype: scores.dtype(),
            dimensions: [tokens, width, tokens],
            left: Operand { address: address(scores)?, transposed },
            right: Operand::plain(right),
            out: to,
            accumulate: false,
        };
        engine.products(&product, count, out_type)?;
        Ok(out)
    }

    fn probabilities(&self) -> Result<Tensor> {
        let scores = self.scores(self.places[0], self.places[1])?;
        self.over_rows("probabilities", &[&scores])
    }

    /// Runs a kernel over rows of scores, scaled by 1 / √width; the result has the type of x.
    fn over_rows(&self, name: &str, inputs: &[&Tensor]) -> Result<Tensor> {
        let ((count, tokens), engine) = (self.sizes(), Engine::of(&self.all)?);
        let (out, to) = engine.tensor(self.all.dtype(), (count, tokens, tokens))?;
        let (name, scale) = (kernel(name, self.all.dtype())?, self.of.scale::<f32>());
        let rows = count * tokens;
        match inputs {
            [scores] => {
                engine.rows(&name, rows, arguments![tokens as i32, address(scores)?, scale, to])?;
            }
            _ => {
                let [first, second] = [address(inputs[0])?, address(inputs[1])?];
                engine.rows(&name, rows, arguments![tokens as i32, first, second, scale, to])?;
            }
        }
        Ok(out)
    }
}

/// [images, tokens, parts, heads, width] as [parts, images, heads, tokens, width].
fn split(x: &Tensor, layout: HeadLayout) -> Result<Tensor> {
    let (engine, count) = (Engine::of(x)?, x.elem_count());
    let (out, to) = engine.tensor(x.dtype(), count)?;
    engine.numbers(
        &kernel("split_heads", x.dtype())?,
        count,
        arguments![count as i64, layout, address(x)?, to],
    )?;
    Ok(out)
}

/// The inverse of [`split`].
fn joined(x: &Tensor, layout: HeadLayout, shape: &[usize]) -> Result<Tensor> {
    let (engine, count) = (Engine::of(x)?, x.elem_count());
    let (out, to) = engine.tensor(x.dtype(), shape)?;
    engine.numbers(
        &kernel("join_heads", x.dtype())?,
        count,
        arguments![count as i64, layout, address(x)?, to],
    )?;
    Ok(out)
}
