//! Windows of maps [N, C, H, W], attention in them, and merged patches.

use super::graph::{Attribute, values};
use super::operations::Translation;
use crate::error::Result;
use crate::model::TensorId;
use crate::model::trace::TracedTensor;
use crate::ops::{WindowGrid, biases_of_windows};

/// The axes of height and width.
const AXES: [i64; 2] = [2, 3];

impl Translation<'_> {
    /// [N, C, H, W] to [N · windows, tokens, C].
    pub fn windows(&mut self, x: &TracedTensor, grid: WindowGrid) -> Result<String> {
        let x = self.tensor(x)?;
        let ([height, width], [rows, columns]) = (grid.padded(), grid.windows().map(|count| count as i64));
        let mut name = x.name;
        if [height, width] != [grid.height, grid.width] {
            let (below, right) = ((height - grid.height) as i64, (width - grid.width) as i64);
            let pads = self.graph.ints("pads", &[0, 0, 0, 0, 0, 0, below, right]);
            name = self.graph.node("Pad", &[&name, &pads], &[]);
        }
        for (axis, shift) in AXES.into_iter().zip(grid.shift) {
            name = self.rolled(name, axis, shift as i64);
        }
        let (channels, side) = (x.dims[1] as i64, grid.window as i64);
        let cut = self.reshaped(&name, &[0, channels, rows, side, columns, side]);
        let cut = self.transposed(&cut, &[0, 2, 4, 3, 5, 1]);
        Ok(self.reshaped(&cut, &[-1, grid.tokens() as i64, channels]))
    }

    /// The inverse.
    pub fn joined_windows(&mut self, x: &TracedTensor, grid: WindowGrid) -> Result<String> {
        let x = self.tensor(x)?;
        let ([height, width], [rows, columns]) = (grid.padded(), grid.windows().map(|count| count as i64));
        let (channels, side) = (x.dims[2] as i64, grid.window as i64);
        let cut = self.reshaped(&x.name, &[-1, rows, columns, side, side, channels]);
        let cut = self.transposed(&cut, &[0, 5, 1, 3, 2, 4]);
        let mut name = self.reshaped(&cut, &[0, 0, height as i64, width as i64]);
        for (axis, padded) in [height, width].into_iter().enumerate() {
            let back = if grid.shift[axis] > 0 { padded - grid.shift[axis] } else { 0 };
            name = self.rolled(name, AXES[axis], back as i64);
        }
        for (axis, [size, padded]) in [[grid.height, height], [grid.width, width]].into_iter().enumerate() {
            if size != padded {
                name = self.slice(&name, AXES[axis], 0, size as i64);
            }
        }
        Ok(name)
    }

    /// The first `places` of an axis behind all others.
    fn rolled(&mut self, x: String, axis: i64, places: i64) -> String {
        if places == 0 {
            return x;
        }
        let rest = self.slice(&x, axis, places, i64::MAX);
        let first = self.slice(&x, axis, 0, places);
        self.graph.node("Concat", &[&rest, &first], &[Attribute::Int("axis", axis)])
    }

    fn slice(&mut self, x: &str, axis: i64, start: i64, end: i64) -> String {
        let places = [("starts", start), ("ends", end), ("axes", axis)];
        let [starts, ends, axes] = places.map(|(name, value)| self.graph.ints(name, &[value]));
        self.graph.node("Slice", &[x, &starts, &ends, &axes], &[])
    }

    /// Each 2×2 pixels as one: the left ones first, of each pair the upper one.
    pub fn merge_patches(&mut self, x: &TracedTensor) -> Result<String> {
        let x = self.tensor(x)?;
        let [channels, height, width] = [1, 2, 3].map(|axis| x.dims[axis] as i64);
        let pairs = self.reshaped(&x.name, &[0, channels, height / 2, 2, width / 2, 2]);
        let pairs = self.transposed(&pairs, &[0, 5, 3, 1, 2, 4]);
        Ok(self.reshaped(&pairs, &[0, 4 * channels, height / 2, width / 2]))
    }

    /// softmax(q · kᵀ / √d + bias) · v for each head of x [N · windows, T, 3 · C].
    pub fn window_attention(
        &mut self,
        x: &TracedTensor,
        table: TensorId,
        grid: WindowGrid,
        heads: usize,
    ) -> Result<String> {
        let x = self.tensor(x)?;
        let (tokens, channels) = (grid.tokens(), x.dims[2] / 3);
        let [query, key, value] = self.heads(&x, heads);
        let mut scores = self.scores(&query, &key, channels / heads);
        let (biases, apart) = biases_of_windows(&values(self.parameter(table))?, grid, heads);
        let biases = self.graph.floats("biases", &[heads, tokens, tokens], &biases);
        scores = self.graph.node("Add", &[&scores, &biases], &[]);
        if let Some(apart) = apart {
            let (count, heads, tokens) = (grid.count() as i64, heads as i64, tokens as i64);
            let dims = [grid.count(), 1, grid.tokens(), grid.tokens()];
            let apart = self.graph.floats("apart", &dims, &apart);
            scores = self.reshaped(&scores, &[-1, count, heads, tokens, tokens]);
            scores = self.graph.node("Add", &[&scores, &apart], &[]);
            scores = self.reshaped(&scores, &[-1, heads, tokens, tokens]);
        }
        let weights = self.graph.node("Softmax", &[&scores], &[Attribute::Int("axis", -1)]);
        Ok(self.joined_heads(&weights, &value, tokens, channels))
    }
}
