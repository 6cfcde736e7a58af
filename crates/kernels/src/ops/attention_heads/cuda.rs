//! The arithmetic of heads on CUDA: cuBLAS products of all heads at once, with scores in f32 between them.
//!
//! As on the CPU, the backward pass computes the probabilities again.

use candle_core::{DType, Tensor};

use crate::cuda::{Address, CublasProduct, Engine, Operand, address, argument, arguments, kernel};
use crate::error::Result;

/// The layout of kernels/transformer.cuh: [images, tokens, parts, heads, width].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HeadLayout {
    pub tokens: i32,
    pub parts: i32,
    pub heads: i32,
    pub width: i32,
    pub images: i64,
}
argument!(HeadLayout => "Heads");

/// The heads of all images. Queries, keys and values are [heads, tokens, width], of type `dtype`.
pub struct HeadProducts<'a> {
    pub engine: &'a Engine,
    pub dtype: DType,
    /// Of all images together.
    pub heads: usize,
    pub tokens: usize,
    /// The channels of a query or key, and of a value.
    pub key: usize,
    pub value: usize,
    /// The factor of the scores.
    pub scale: f32,
}

impl HeadProducts<'_> {
    /// softmax(scale · q · kᵀ) · v: [heads, tokens, value].
    pub fn forward(&self, [query, key, value]: [Address; 3]) -> Result<Tensor> {
        let probabilities = self.probabilities(query, key)?;
        self.product(&probabilities, false, value, self.value)
    }

    /// The gradients of queries, keys and values from that of the result.
    pub fn backward(&self, [query, key, value]: [Address; 3], grad: Address) -> Result<[Tensor; 3]> {
        let probabilities = self.probabilities(query, key)?;
        let towards_value = self.product(&probabilities, true, grad, self.value)?;
        let gradients = self.scores(grad, value, self.value)?;
        let scores = self.over_rows("score_gradient", &[&probabilities, &gradients])?;
        let towards_query = self.product(&scores, false, key, self.key)?;
        let towards_key = self.product(&scores, true, query, self.key)?;
        Ok([towards_query, towards_key, towards_value])
    }

    /// left · rightᵀ in f32; both are [tokens, width].
    fn scores(&self, left: Address, right: Address, width: usize) -> Result<Tensor> {
        let (out, to) = self.engine.tensor(DType::F32, (self.heads, self.tokens, self.tokens))?;
        let product = CublasProduct {
            dtype: self.dtype,
            dimensions: [self.tokens, self.tokens, width],
            left: Operand::plain(left),
            right: Operand::transposed(right),
            out: to,
            accumulate: false,
        };
        self.engine.products(&product, self.heads, DType::F32)?;
        Ok(out)
    }

    /// scores [tokens, tokens], or their transpose, · right [tokens, width].
    fn product(&self, scores: &Tensor, transposed: bool, right: Address, width: usize) -> Result<Tensor> {
        let (out, to) = self.engine.tensor(self.dtype, (self.heads, self.tokens, width))?;
        let product = CublasProduct {
            dtype: scores.dtype(),
            dimensions: [self.tokens, width, self.tokens],
            left: Operand { address: address(scores)?, transposed },
            right: Operand::plain(right),
            out: to,
            accumulate: false,
        };
        self.engine.products(&product, self.heads, self.dtype)?;
        Ok(out)
    }

    fn probabilities(&self, query: Address, key: Address) -> Result<Tensor> {
        let scores = self.scores(query, key, self.key)?;
        self.over_rows("probabilities", &[&scores])
    }

    /// Runs a kernel over rows of scores, which it scales; the result has the type of the inputs.
    fn over_rows(&self, name: &str, inputs: &[&Tensor]) -> Result<Tensor> {
        let (tokens, engine) = (self.tokens, self.engine);
        let (out, to) = engine.tensor(self.dtype, (self.heads, tokens, tokens))?;
        let (name, scale) = (kernel(name, self.dtype)?, self.scale);
        let rows = self.heads * tokens;
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
pub fn split(x: &Tensor, layout: HeadLayout) -> Result<Tensor> {
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
pub fn joined(x: &Tensor, layout: HeadLayout, shape: &[usize]) -> Result<Tensor> {
    let (engine, count) = (Engine::of(x)?, x.elem_count());
    let (out, to) = engine.tensor(x.dtype(), shape)?;
    engine.numbers(
        &kernel("join_heads", x.dtype())?,
        count,
        arguments![count as i64, layout, address(x)?, to],
    )?;
    Ok(out)
}
