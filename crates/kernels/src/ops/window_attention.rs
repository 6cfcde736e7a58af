//! Self-attention in windows with relative position bias: Liu et al., *Swin Transformer* (ICCV 2021), §3.2, eq. 4.
//!
//! On a GPU, the host computes it: queries, keys and values are copied there, and the results and gradients back.

use std::mem::MaybeUninit;

use candle_core::Tensor;
use rayon::prelude::*;

use super::attention::Heads;
use super::attention_heads::each_head;
use super::attention_rows::padded;
use super::float::{Float, by_dtype, from_f64, tensor, with_slice};
use super::gemm::{Matrix, Output, RowOffsets};
use super::on_host::{gradient_like, on_host};
use super::windows::WindowGrid;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};

/// What is added to the score of two pixels that a shifted window joins from different parts of a map, as in published code.
const APART: f64 = -100.0;
/// How many windows add to one sum of gradients of the bias. It decides where sums are split, so it affects results.
const WINDOWS_PER_TASK: usize = 16;

/// softmax(q · kᵀ / √d + bias) · v in each window, for each of `heads` heads of size d. q, k and v are concatenated in
/// x [N · windows, tokens, 3 · C]; the result is [N · windows, tokens, C], with the heads concatenated.
///
/// `table` is [(2 · side − 1)², heads]: a bias for each distance of two pixels of a window, line by line.
pub fn window_attention(
    tape: &mut Tape,
    x: &Value,
    table: &Value,
    grid: WindowGrid,
    heads: usize,
) -> Result<Value> {
    let shape = Heads::new(x.tensor().dims(), heads)?;
    let distances = (2 * grid.window).saturating_sub(1).pow(2);
    let fits = shape.tokens == grid.tokens()
        && shape.images.is_multiple_of(grid.count().max(1))
        && table.tensor().dims() == [distances, heads];
    if !fits {
        let dims = (x.tensor().dims(), table.tensor().dims());
        return Err(Error::bug(format!(
            "attention with {heads} heads in {grid:?} over x and table of {dims:?}"
        )));
    }
    let sizes = Sizes { shape, grid };
    let inputs = [on_host(x.tensor())?, on_host(table.tensor())?];
    let output = by_dtype!(inputs[0], T => {
        let output = with_slice(&inputs[0], |x: &[T]| with_slice(&inputs[1], |table| sizes.forward(x, table)))??;
        tensor(output, (shape.images, shape.tokens, shape.channels))
    })?;
    let output = gradient_like(&output, x.tensor())?;
    Ok(tape.record(&[x, table], output, || WindowAttention {
        x: x.tensor().clone(),
        table: table.tensor().clone(),
        sizes,
    }))
}

/// What [`window_attention`] adds to the scores: for each head, the biases of all pairs of tokens [heads, tokens, tokens], and
/// for each window of a map [windows, tokens, tokens] what keeps its parts apart, if some windows have several.
pub fn biases_of_windows(table: &[f32], grid: WindowGrid, heads: usize) -> (Vec<f32>, Option<Vec<f32>>) {
    let tokens = grid.tokens();
    let pairs = || (0..tokens * tokens).map(move |pair| (pair / tokens, pair % tokens));
    let bias = |head: usize| {
        pairs().map(move |(query, key)| table[distance(grid.window, query, key) * heads + head])
    };
    let apart = |window: usize| {
        let joins = grid.joins(window);
        pairs().map(move |(query, key)| match grid.part(joins, query) == grid.part(joins, key) {
            true => 0.0,
            false => APART as f32,
        })
    };
    let shifted = grid.shift != [0; 2];
    ((0..heads).flat_map(bias).collect(), shifted.then(|| (0..grid.count()).flat_map(apart).collect()))
}

/// The row of the table for two tokens of a window.
fn distance(side: usize, query: usize, key: usize) -> usize {
    let down = query / side + side - 1 - key / side;
    let across = query % side + side - 1 - key % side;
    down * (2 * side - 1) + across
}

struct WindowAttention {
    x: Tensor,
    table: Tensor,
    sizes: Sizes,
}

impl Backward for WindowAttention {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let [host, table, grad] = [on_host(&self.x)?, on_host(&self.table)?, on_host(&grad)?];
        let [x, bias] = by_dtype!(grad, T => {
            let (x, bias) = with_slice(&grad, |grad: &[T]| {
                with_slice(&host, |x: &[T]| with_slice(&table, |table| self.sizes.backward(x, table, grad)))
            })???;
            Ok::<_, Error>([tensor(x, host.shape())?, tensor(from_f64::<T>(&bias), table.shape())?])
        })?;
        Ok(vec![
            wanted[0].then(|| gradient_like(&x, &self.x)).transpose()?,
            wanted[1].then(|| gradient_like(&bias, &self.table)).transpose()?,
        ])
    }
}

/// The sizes of an attention operation over windows, which take the place of images in [`Heads`].
#[derive(Clone, Copy)]
struct Sizes {
    shape: Heads,
    grid: WindowGrid,
}

impl Sizes {
    fn forward<T: Float>(&self, x: &[T], table: &[T]) -> Vec<T> {
        let Heads { images: windows, heads, channels, .. } = self.shape;
        let biases = self.biases(table);
        let write = |output: &mut [MaybeUninit<T>]| {
            let output = Output::uninitialized(output, RowOffsets::Even { start: 0, stride: 0 });
            each_head(windows, heads, |window, head| {
                let rows = RowOffsets::Even { start: self.shape.result(window, head), stride: channels };
                // SAFETY: each head of each window writes its own numbers.
                let output = unsafe { output.with_rows(rows) };
                let scores = self.first_scores(&biases[head], window);
                self.shape.head().forward(self.shape.parts(x, window, head), Some(scores), output);
            });
        };
        // SAFETY: the heads of all windows cover the whole output.
        unsafe { super::gemm::written(windows * self.shape.tokens * channels, write) }
    }

    /// The gradients of x, and of the table.
    fn backward<T: Float>(&self, x: &[T], table: &[T], grad: &[T]) -> (Vec<T>, Vec<f64>) {
        let Heads { images: windows, tokens, channels, heads } = self.shape;
        let biases = self.biases(table);
        let tasks = windows.div_ceil(WINDOWS_PER_TASK);
        let mut sums = Vec::new();
        let write = |output: &mut [MaybeUninit<T>]| {
            let output = Output::uninitialized(output, RowOffsets::Even { start: 0, stride: 0 });
            // The sums of a head's distances, of some windows.
            let of_task = |task: usize| -> Vec<f64> {
                let (first, head) = (task / heads * WINDOWS_PER_TASK, task % heads);
                let mut sums = vec![0.0; table.len() / heads];
                for window in first..windows.min(first + WINDOWS_PER_TASK) {
                    let grad = &grad[self.shape.result(window, head)..];
                    let grad = Matrix { data: grad, row_stride: channels, column_stride: 1 };
                    let scores = Some(self.first_scores(&biases[head], window));
                    let parts = self.shape.parts(x, window, head);
                    let part = |part| {
                        let start = self.shape.start(window, head, part);
                        // SAFETY: each head of each window writes its own numbers, part by part.
                        unsafe { output.with_rows(RowOffsets::Even { start, stride: 3 * channels }) }
                    };
                    self.shape.head().backward(parts, scores, grad, part, |gradients: &[T]| {
                        for (query, row) in gradients.chunks_exact(padded(tokens)).enumerate() {
                            for (key, gradient) in row[..tokens].iter().enumerate() {
                                sums[distance(self.grid.window, query, key)] += gradient.widen();
                            }
                        }
                    });
                }
                sums
            };
            sums = (0..tasks * heads).into_par_iter().with_max_len(1).map(of_task).collect();
        };
        // SAFETY: the three parts of all heads of all windows cover the whole output.
        let x = unsafe { super::gemm::written(3 * windows * tokens * channels, write) };
        let mut of_table = vec![0.0; table.len()];
        // The gradients are of scores before they are scaled, in which the bias is divided by the scale.
        let factor = 1.0 / self.shape.scale::<f64>();
        for (task, sums) in sums.iter().enumerate() {
            for (distance, sum) in sums.iter().enumerate() {
                of_table[distance * heads + task % heads] += factor * sum;
            }
        }
        (x, of_table)
    }

    /// For each head, the biases of all pairs of tokens, divided by the factor that scores are multiplied by.
    fn biases<T: Float>(&self, table: &[T]) -> Vec<Vec<T>> {
        let Heads { tokens, heads, .. } = self.shape;
        let factor = T::from_f64(1.0 / self.shape.scale::<f64>());
        let of_head = |head: usize| {
            let mut biases = vec![T::ZERO; tokens * padded(tokens)];
            for (query, row) in biases.chunks_exact_mut(padded(tokens)).enumerate() {
                for (key, bias) in row[..tokens].iter_mut().enumerate() {
                    *bias = factor * table[distance(self.grid.window, query, key) * heads + head];
                }
            }
            biases
        };
        (0..heads).map(of_head).collect()
    }

    /// The scores before the product of queries and keys is added to them.
    fn first_scores<T: Float>(&self, biases: &[T], window: usize) -> Vec<T> {
        let (mut scores, tokens) = (biases.to_vec(), self.shape.tokens);
        let joins = self.grid.joins(window % self.grid.count());
        if joins == [false; 2] {
            return scores;
        }
        let apart = T::from_f64(APART / self.shape.scale::<f64>());
        let parts: Vec<usize> = (0..tokens).map(|token| self.grid.part(joins, token)).collect();
        for (row, query) in scores.chunks_exact_mut(padded(tokens)).zip(&parts) {
            let others = row.iter_mut().zip(&parts).filter(|(_, key)| *key != query);
            others.for_each(|(score, _)| *score += apart);
        }
        scores
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::testing::{
        Fixture, assert_same_on_any_threads, check_gradients, gradients, normal, numbers,
    };
    use crate::ops::{from_windows, pointwise, windows};

    fn run(grid: WindowGrid, heads: usize) -> impl Fn(&mut Tape, &[Value]) -> Result<Value> + Sync {
        move |tape, inputs| window_attention(tape, &inputs[0], &inputs[1], grid, heads)
    }

    fn inputs(images: usize, grid: WindowGrid, heads: usize, width: usize) -> [Tensor; 2] {
        let x = normal("x", &[images * grid.count(), grid.tokens(), 3 * heads * width]);
        [x, normal("table", &[(2 * grid.window - 1).pow(2), heads])]
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for shifted in [false, true] {
            let grid = WindowGrid::new([3, 4], 2, shifted);
            check_gradients(&inputs(2, grid, 2, 3), run(grid, 2));
        }
    }

    /// torchvision's `shifted_window_attention` with an output projection that changes nothing, on maps whose sides are no
    /// multiples of the window, and on ones with a single line of windows.
    #[test]
    fn pytorch_agrees() {
        let fixture = Fixture::open("window_attention");
        for (name, size, shifted) in
            [("plain", [5, 9], false), ("shifted", [5, 9], true), ("line", [3, 9], true)]
        {
            let grid = WindowGrid::new(size, 3, shifted);
            for dtype in [DType::F32, DType::F64] {
                let x = if name == "line" { "line" } else { "x" };
                let inputs = [x, "weight", "bias", "table"].map(|name| fixture.input(name, dtype));
                let weights = fixture.input(&format!("{x}.weights"), dtype);
                let (y, grads) = gradients(&inputs, &weights, |tape, inputs| {
                    let cut = windows(tape, &inputs[0], grid)?;
                    let qkv = pointwise(tape, &cut, &inputs[1], &inputs[2], None)?;
                    let y = window_attention(tape, &qkv, &inputs[3], grid, 2)?;
                    from_windows(tape, &y, grid)
                });
                fixture.assert(&format!("{name}.y"), &y);
                for (input, grad) in [x, "weight", "bias", "table"].iter().zip(&grads) {
                    fixture.assert(&format!("{name}.{input}"), grad);
                }
            }
        }
    }

    #[test]
    fn an_image_depends_on_no_other_and_threads_do_not_matter() {
        let grid = WindowGrid::new([12, 20], 7, true);
        let single = |tensor: Tensor| tensor.to_dtype(DType::F32).unwrap();
        let inputs = inputs(3, grid, 3, 16).map(single);
        let run = run(grid, 3);
        let of = |x: Tensor| {
            let inputs = [x, inputs[1].clone()].map(Value::constant);
            run(&mut Tape::new(), &inputs).unwrap().into_tensor()
        };
        let (whole, count) = (of(inputs[0].clone()), grid.count());
        let last = |tensor: &Tensor| tensor.narrow(0, 2 * count, count).unwrap();
        assert_eq!(numbers(&last(&whole)), numbers(&of(last(&inputs[0]).contiguous().unwrap())));
        assert_same_on_any_threads(|| gradients(&inputs, &whole, &run).1);
    }

    #[test]
    fn shapes_that_do_not_fit_are_an_error() {
        let grid = WindowGrid::new([4, 4], 2, false);
        let refused = |[x, table]: [Tensor; 2], grid, heads| {
            run(grid, heads)(&mut Tape::new(), &[x, table].map(Value::constant)).is_err()
        };
        assert!(!refused(inputs(1, grid, 2, 3), grid, 2));
        assert!(refused(inputs(1, grid, 2, 3), grid, 3));
        assert!(refused(inputs(1, grid, 2, 3), WindowGrid::new([4, 4], 3, false), 2));
        assert!(refused(inputs(1, grid, 2, 3), WindowGrid::new([4, 12], 2, false), 2));
    }
}
