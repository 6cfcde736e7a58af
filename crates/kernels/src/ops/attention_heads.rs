//! The arithmetic of one head of one image, wherever its queries, keys and values are in memory.
//!
//! Each head of each image is one task. It computes its [T, T] probabilities in a buffer that stays in the
//! cache. The backward pass computes them again instead of saving them: they would be by far the largest saved
//! tensor, and recomputing costs a fiftieth of a transformer's step.

#[cfg(feature = "cuda")]
pub mod cuda;

use rayon::prelude::*;

use super::attention_rows::{ScoreGradient, Softmax, padded};
use super::float::Float;
use super::gemm::{Epilogue, Matrix, Output, Product, Right, RowOffsets};
use super::profile::Profile;
use super::vector::vectorised;

/// Queries, keys or values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    Query,
    Key,
    Value,
}

/// The sizes of a head. Queries and keys are [T, key], values and the result [T, value].
#[derive(Clone, Copy)]
pub struct HeadSize<T> {
    pub tokens: usize,
    pub key: usize,
    pub value: usize,
    /// The factor of the scores.
    pub scale: T,
}

/// Queries, keys and values of a head.
#[derive(Clone, Copy)]
pub struct HeadParts<'a, T> {
    pub query: Matrix<'a, T>,
    pub key: Matrix<'a, T>,
    pub value: Matrix<'a, T>,
}

/// Runs `work` for every head of every image: `work(image, head)`.
pub fn each_head(images: usize, heads: usize, work: impl Fn(usize, usize) + Sync) {
    let tasks = (0..images * heads).into_par_iter().with_max_len(1);
    tasks.for_each(|task| work(task / heads, task % heads));
}

impl<T: Float> HeadSize<T> {
    /// softmax(scale · (first + q · kᵀ)) · v. `first` has rows of the padded length; without it, it is zero.
    pub(in crate::ops) fn forward(&self, parts: HeadParts<T>, first: Option<Vec<T>>, output: Output<'_, T>) {
        let probabilities = self.probabilities(parts, first);
        self.product(self.scores(&probabilities), parts.value, self.value, output);
    }

    /// With probabilities P and output gradient G: V̇ = Pᵀ · G; with the gradient Ṡ of the scores: Q̇ = Ṡ · K
    /// and K̇ = Ṡᵀ · Q. `output` says where each of them is written; `first_gradient` gets that of `first`, which is Ṡ.
    pub(in crate::ops) fn backward<'a>(
        &self,
        parts: HeadParts<T>,
        first: Option<Vec<T>>,
        grad: Matrix<T>,
        output: impl Fn(Projection) -> Output<'a, T>,
        first_gradient: impl FnOnce(&[T]),
    ) where
        T: 'a,
    {
        let probabilities = self.probabilities(parts, first);
        let transposed = self.scores(&probabilities).transposed();
        self.product(transposed, grad, self.value, output(Projection::Value));
        let mut scores = self.empty_scores();
        self.score_product(grad, parts.value, self.value, &mut scores, false);
        let kernel = ScoreGradient {
            probabilities: &probabilities,
            gradients: &mut scores,
            columns: padded(self.tokens),
            scale: self.scale,
        };
        vectorised(Profile::current(), kernel);
        first_gradient(&scores);
        self.product(self.scores(&scores), parts.key, self.key, output(Projection::Query));
        self.product(self.scores(&scores).transposed(), parts.query, self.key, output(Projection::Key));
    }

    /// A distribution over keys for each query.
    fn probabilities(&self, parts: HeadParts<T>, first: Option<Vec<T>>) -> Vec<T> {
        let accumulate = first.is_some();
        let mut scores = first.unwrap_or_else(|| self.empty_scores());
        self.score_product(parts.query, parts.key, self.key, &mut scores, accumulate);
        let kernel = Softmax {
            scores: &mut scores,
            tokens: self.tokens,
            columns: padded(self.tokens),
            scale: self.scale,
        };
        vectorised(Profile::current(), kernel);
        scores
    }

    /// [T, T], padded as in [`Self::empty_scores`].
    fn scores<'a>(&self, scores: &'a [T]) -> Matrix<'a, T> {
        Matrix::row_major(scores, padded(self.tokens))
    }

    /// Rows of scores, padded to whole vectors. Padding after the last token does not affect the softmax.
    fn empty_scores(&self) -> Vec<T> {
        vec![T::ZERO; self.tokens * padded(self.tokens)]
    }

    /// scores = left · rightᵀ, both [T, depth], or that added to them.
    fn score_product(
        &self,
        left: Matrix<T>,
        right: Matrix<T>,
        depth: usize,
        scores: &mut [T],
        accumulate: bool,
    ) {
        let right = right.transposed();
        let rows = RowOffsets::Even { start: 0, stride: padded(self.tokens) };
        Product {
            profile: Profile::current(),
            rows: self.tokens,
            columns: self.tokens,
            depth,
            left: &left,
            right: Right::Source(&right),
            epilogue: Epilogue::NONE,
        }
        .compute(Output::existing(scores, rows, accumulate));
    }

    /// output = left [T, T] · right [T, columns]
    fn product(&self, left: Matrix<T>, right: Matrix<T>, columns: usize, output: Output<'_, T>) {
        Product {
            profile: Profile::current(),
            rows: self.tokens,
            columns,
            depth: self.tokens,
            left: &left,
            right: Right::Source(&right),
            epilogue: Epilogue::NONE,
        }
        .compute(output);
    }
}
