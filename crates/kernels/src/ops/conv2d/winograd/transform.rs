//! The transforms of one tile, on vectors of channels: only sums, and halvings, which are exact.

use crate::ops::vector::Vector;

/// Bᵀ d of four values.
#[inline(always)]
fn input_line<V: Vector>(d: [V; 4]) -> [V; 4] {
    [d[0].sub(d[2]), d[1].add(d[2]), d[2].sub(d[1]), d[1].sub(d[3])]
}

/// Bᵀ d B: a tile of 4×4 pixels, row by row.
#[inline(always)]
pub fn input<V: Vector>(d: [V; 16]) -> [V; 16] {
    let mut t = d;
    for column in 0..4 {
        let line = input_line([d[column], d[4 + column], d[8 + column], d[12 + column]]);
        for row in 0..4 {
            t[4 * row + column] = line[row];
        }
    }
    for row in 0..4 {
        let line = input_line([t[4 * row], t[4 * row + 1], t[4 * row + 2], t[4 * row + 3]]);
        t[4 * row..4 * row + 4].copy_from_slice(&line);
    }
    t
}

/// Aᵀ m of four values.
#[inline(always)]
fn output_line<V: Vector>(m: [V; 4]) -> [V; 2] {
    [m[0].add(m[1]).add(m[2]), m[1].sub(m[2]).sub(m[3])]
}

/// Aᵀ m A: the 2×2 outputs of a tile.
#[inline(always)]
pub fn output<V: Vector>(m: [V; 16]) -> [V; 4] {
    let mut columns = [[m[0]; 2]; 4];
    for (column, out) in columns.iter_mut().enumerate() {
        *out = output_line([m[column], m[4 + column], m[8 + column], m[12 + column]]);
    }
    let [a, b] = output_line([columns[0][0], columns[1][0], columns[2][0], columns[3][0]]);
    let [c, d] = output_line([columns[0][1], columns[1][1], columns[2][1], columns[3][1]]);
    [a, b, c, d]
}

/// A y of two values.
#[inline(always)]
fn gradient_line<V: Vector>(y: [V; 2]) -> [V; 4] {
    [y[0], y[0].add(y[1]), y[0].sub(y[1]), y[0].filled(Default::default()).sub(y[1])]
}

/// A y Aᵀ: from the gradient of 2×2 outputs to that of the 16 products.
#[inline(always)]
pub fn output_gradient<V: Vector>(y: [V; 4]) -> [V; 16] {
    let columns = [gradient_line([y[0], y[2]]), gradient_line([y[1], y[3]])];
    let mut m = [y[0]; 16];
    for row in 0..4 {
        m[4 * row..4 * row + 4].copy_from_slice(&gradient_line([columns[0][row], columns[1][row]]));
    }
    m
}

/// G g of three values.
#[inline(always)]
fn weight_line<V: Vector>(g: [V; 3], half: V) -> [V; 4] {
    let ends = g[0].add(g[2]);
    [g[0], ends.add(g[1]).mul(half), ends.sub(g[1]).mul(half), g[2]]
}

/// G g Gᵀ: a kernel of 3×3, row by row.
#[inline(always)]
pub fn weight<V: Vector>(g: [V; 9], half: V) -> [V; 16] {
    let mut columns = [[g[0]; 4]; 3];
    for (column, out) in columns.iter_mut().enumerate() {
        *out = weight_line([g[column], g[3 + column], g[6 + column]], half);
    }
    let mut u = [g[0]; 16];
    for row in 0..4 {
        let line = weight_line([columns[0][row], columns[1][row], columns[2][row]], half);
        u[4 * row..4 * row + 4].copy_from_slice(&line);
    }
    u
}

/// Gᵀ u of four values.
#[inline(always)]
fn weight_gradient_line<V: Vector>(u: [V; 4], half: V) -> [V; 3] {
    let (sum, difference) = (u[1].add(u[2]).mul(half), u[1].sub(u[2]).mul(half));
    [u[0].add(sum), difference, sum.add(u[3])]
}

/// Gᵀ u G: from the gradient of the transformed kernel to that of the kernel.
#[inline(always)]
pub fn weight_gradient<V: Vector>(u: [V; 16], half: V) -> [V; 9] {
    let mut columns = [[u[0]; 3]; 4];
    for (column, out) in columns.iter_mut().enumerate() {
        *out = weight_gradient_line([u[column], u[4 + column], u[8 + column], u[12 + column]], half);
    }
    let mut g = [u[0]; 9];
    for row in 0..3 {
        let line = [columns[0][row], columns[1][row], columns[2][row], columns[3][row]];
        g[3 * row..3 * row + 3].copy_from_slice(&weight_gradient_line(line, half));
    }
    g
}
