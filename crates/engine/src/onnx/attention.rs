//! Tokens, and attention among them.

use super::graph::{Attribute, OnnxTensor};
use super::operations::Translation;
use crate::error::{Error, Result};
use crate::model::trace::TracedTensor;

impl Translation<'_> {
    /// The class token and then the patches line by line, plus positions: [N, 1 + H · W, C].
    pub fn tokens(&mut self, reads: &[TracedTensor]) -> Result<String> {
        let [patches, class_token, positions] = reads else {
            return Err(Error::bug("tokens of other than three tensors"));
        };
        let patches = self.tensor(patches)?;
        let (class_token, positions) = (self.tensor(class_token)?, self.tensor(positions)?);
        let lines = self.reshaped(&patches.name, &[0, 0, -1]);
        let lines = self.transposed(&lines, &[0, 2, 1]);
        // One class token for each image.
        let attributes = [Attribute::Int("start", 0), Attribute::Int("end", 1)];
        let images = self.graph.node("Shape", &[&patches.name], &attributes);
        let rest = self.graph.ints("token_shape", &[1, class_token.dims[2] as i64]);
        let shape = self.graph.node("Concat", &[&images, &rest], &[Attribute::Int("axis", 0)]);
        let class_tokens = self.graph.node("Expand", &[&class_token.name, &shape], &[]);
        let all = self.graph.node("Concat", &[&class_tokens, &lines], &[Attribute::Int("axis", 1)]);
        Ok(self.graph.node("Add", &[&all, &positions.name], &[]))
    }

    /// [N, T, C] to [N, C].
    pub fn first_token(&mut self, x: &TracedTensor) -> Result<String> {
        let x = self.tensor(x)?;
        let first = self.graph.index("first", 0);
        Ok(self.graph.node("Gather", &[&x.name, &first], &[Attribute::Int("axis", 1)]))
    }

    /// softmax(q · kᵀ / √d) · v for each head of x [N, T, 3 · C].
    pub fn attention(&mut self, x: &TracedTensor, heads: usize) -> Result<String> {
        let x = self.tensor(x)?;
        let (tokens, channels) = (x.dims[1], x.dims[2] / 3);
        let [query, key, value] = self.heads(&x, heads);
        let weights = self.attention_weights(&query, &key, channels / heads);
        Ok(self.joined_heads(&weights, &value, tokens, channels))
    }

    /// Queries [N, heads, T, d], keys [N, heads, d, T] and values of x [N, T, 3 · C].
    pub fn heads(&mut self, x: &OnnxTensor, heads: usize) -> [String; 3] {
        let (tokens, channels) = (x.dims[1], x.dims[2] / 3);
        let shape = [0, tokens as i64, 3, heads as i64, (channels / heads) as i64];
        let parts = self.reshaped(&x.name, &shape);
        // [3, N, heads, T, d]
        let parts = self.transposed(&parts, &[2, 0, 3, 1, 4]);
        let part = |this: &mut Self, place: i64| {
            let index = this.graph.index("part", place);
            this.graph.node("Gather", &[&parts, &index], &[Attribute::Int("axis", 0)])
        };
        let [query, key, value] = [0, 1, 2].map(|place| part(self, place));
        let key = self.transposed(&key, &[0, 1, 3, 2]);
        [query, key, value]
    }

    /// The heads of weights · value side by side: [N, T, C].
    pub fn joined_heads(&mut self, weights: &str, value: &str, tokens: usize, channels: usize) -> String {
        let y = self.graph.node("MatMul", &[weights, value], &[]);
        let y = self.transposed(&y, &[0, 2, 1, 3]);
        self.reshaped(&y, &[0, tokens as i64, channels as i64])
    }

    /// The same of queries, keys and values that are maps [N, heads · d, H, W].
    pub fn attention_qkv(&mut self, reads: &[TracedTensor], heads: usize) -> Result<String> {
        let [query, key, value] = reads else {
            return Err(Error::bug("attention of other than three tensors"));
        };
        let tensors = [self.tensor(query)?, self.tensor(key)?, self.tensor(value)?];
        let size = tensors[0].dims[1] / heads;
        let (height, width) = (tensors[2].dims[2] as i64, tensors[2].dims[3] as i64);
        let shape = [0, heads as i64, -1, height * width];
        let [query, key, value] = tensors.map(|tensor| self.reshaped(&tensor.name, &shape));
        let query = self.transposed(&query, &[0, 1, 3, 2]);
        let weights = self.attention_weights(&query, &key, size);
        // Channels by places: v · weightsᵀ.
        let weights = self.transposed(&weights, &[0, 1, 3, 2]);
        let y = self.graph.node("MatMul", &[&value, &weights], &[]);
        Ok(self.reshaped(&y, &[0, -1, height, width]))
    }

    /// softmax(q · k / √size) over the keys; `key` has its places last.
    fn attention_weights(&mut self, query: &str, key: &str, size: usize) -> String {
        let scores = self.scores(query, key, size);
        self.graph.node("Softmax", &[&scores], &[Attribute::Int("axis", -1)])
    }

    /// q · k / √size.
    pub fn scores(&mut self, query: &str, key: &str, size: usize) -> String {
        let scores = self.graph.node("MatMul", &[query, key], &[]);
        let scale = self.graph.floats("scale", &[], &[(size as f64).sqrt().recip() as f32]);
        self.graph.node("Mul", &[&scores, &scale], &[])
    }
}
