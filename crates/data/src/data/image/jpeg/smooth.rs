//! Smoothing of incomplete progressive files: unknown coefficients are estimated from the first coefficients of
//! neighbouring blocks, with the bits of libjpeg-turbo since 2.1 (after T.81, annex K.8, over five by five
//! blocks).

use super::geometry::ComponentLayout;
use super::header::{Scan, ZIGZAG};
use super::inverse::{Block, Quantization};

/// The first coefficients in file order, which can be estimated.
const ESTIMATED: usize = 10;

/// Weights of the neighbouring blocks, with the block itself in the middle.
type SmoothingKernel = [[i32; 5]; 5];

/// The precision of a component's first coefficients: the number of missing bits, or -1 if all are missing.
#[derive(Clone, Copy)]
pub struct CoefficientPrecision([i32; ESTIMATED]);

impl Default for CoefficientPrecision {
    fn default() -> Self {
        Self([-1; ESTIMATED])
    }
}

impl CoefficientPrecision {
    /// Records what a scan adds.
    pub fn add(&mut self, scan: &Scan) {
        let covered = self.0.iter_mut().take(scan.end + 1).skip(scan.start);
        covered.for_each(|bits| *bits = scan.low.into());
    }

    /// Whether estimates improve a component with this quantization table; `None` if they are impossible.
    fn gains(&self, quantization: &Quantization) -> Option<bool> {
        let divides = ZIGZAG[..ESTIMATED].iter().all(|place| quantization[usize::from(*place)] != 0);
        (divides && self.0[0] >= 0).then(|| self.0[1..].iter().any(|bits| *bits != 0))
    }

    /// Whether only first coefficients are known. Then these are smoothed too.
    fn is_first_alone(&self) -> bool {
        self.0[1..].iter().all(|bits| *bits == -1)
    }
}

/// Whether to smooth the blocks of a file: if it improves one component and is possible for all.
pub fn is_needed<'a>(components: impl Iterator<Item = (&'a CoefficientPrecision, &'a Quantization)>) -> bool {
    let gains: Option<Vec<bool>> = components.map(|(known, table)| known.gains(table)).collect();
    gains.is_some_and(|gains| gains.contains(&true))
}

/// A block with estimates of its unknown coefficients.
///
/// `units` is the number of unit rows in the file.
pub fn smoothed(
    blocks: &[Block],
    (column, row): (usize, usize),
    layout: &ComponentLayout,
    units: usize,
    known: &CoefficientPrecision,
    quantization: &Quantization,
) -> Block {
    let last = layout.alone.0 - 1;
    let rows = rows_around(row, layout, units);
    let around: SmoothingKernel = std::array::from_fn(|y| {
        std::array::from_fn(|x| {
            let column = (column + x).saturating_sub(2).min(last);
            i32::from(blocks[rows[y] * layout.blocks_across + column][0])
        })
    });
    let sum = |kernel: &SmoothingKernel| -> i64 {
        let products = kernel.iter().flatten().zip(around.iter().flatten()).map(|(weight, dc)| weight * dc);
        i64::from(products.sum::<i32>()) * i64::from(quantization[0])
    };
    let mut block = blocks[row * layout.blocks_across + column];
    let alone = known.is_first_alone();
    let kernels: &[SmoothingKernel] = if alone { &ALONE } else { &BESIDE_OTHERS };
    for (kernel, number) in kernels.iter().zip(1..) {
        let (bits, place) = (known.0[number], usize::from(ZIGZAG[number]));
        if bits != 0 && block[place] == 0 {
            block[place] = rounded(sum(kernel), quantization[place], bits);
        }
    }
    if alone {
        block[0] = rounded(sum(&FIRST), quantization[0], 0);
    }
    block
}

/// A weighted sum in units of a coefficient, rounded, and limited to what the missing bits can represent.
fn rounded(sum: i64, quantization: u16, bits: i32) -> i16 {
    let divisor = i64::from(quantization) << 8;
    let mut size = (sum.abs() + divisor / 2) / divisor;
    if bits > 0 {
        size = size.min((1 << bits) - 1);
    }
    (if sum < 0 { -size } else { size }) as i16
}

/// The block rows from two above to two below, repeated at the edges, with libjpeg's definition of the lower
/// edge.
fn rows_around(row: usize, layout: &ComponentLayout, units: usize) -> [usize; 5] {
    let down = layout.blocks_down / units;
    let unit = row / down;
    let in_unit = match layout.alone.1 % down {
        rest if rest > 0 && unit + 1 == units => rest,
        _ => down,
    };
    let (place, count) = (unit * in_unit + row % down, in_unit * units);
    let above = if place > 0 { row - 1 } else { row };
    let below = if place + 1 < count { row + 1 } else { row };
    [
        if place > 1 { row - 2 } else { above },
        above,
        row,
        below,
        if place + 2 < count { row + 2 } else { below },
    ]
}

const NONE: [i32; 5] = [0; 5];

/// For the first coefficient itself, in 1/256.
const FIRST: SmoothingKernel = [
    [-2, -6, -8, -6, -2],
    [-6, 6, 42, 6, -6],
    [-8, 42, 152, 42, -8],
    [-6, 6, 42, 6, -6],
    [-2, -6, -8, -6, -2],
];

/// If only first coefficients are known: for the nine that follow, in file order.
const ALONE: [SmoothingKernel; 9] = [
    [[-1, -1, 0, 1, 1], [-3, 13, 0, -13, 3], [-3, 38, 0, -38, 3], [-3, 13, 0, -13, 3], [-1, -1, 0, 1, 1]],
    [[-1, -3, -3, -3, -1], [-1, 13, 38, 13, -1], NONE, [1, -13, -38, -13, 1], [1, 3, 3, 3, 1]],
    [[0, 0, 1, 0, 0], [0, 2, 7, 2, 0], [0, -5, -14, -5, 0], [0, 2, 7, 2, 0], [0, 0, 1, 0, 0]],
    [[-1, 0, 0, 0, 1], [0, 9, 0, -9, 0], NONE, [0, -9, 0, 9, 0], [1, 0, 0, 0, -1]],
    [NONE, [0, 2, -5, 2, 0], [1, 7, -14, 7, 1], [0, 2, -5, 2, 0], NONE],
    [NONE, [0, 1, 0, -1, 0], [0, 2, 0, -2, 0], [0, 1, 0, -1, 0], NONE],
    [NONE, [0, 1, -3, 1, 0], NONE, [0, -1, 3, -1, 0], NONE],
    [NONE, [0, 1, 0, -1, 0], [0, -3, 0, 3, 0], [0, 1, 0, -1, 0], NONE],
    [NONE, [0, 1, 2, 1, 0], NONE, [0, -1, -2, -1, 0], NONE],
];

/// If others are partly known: for the five that follow.
const BESIDE_OTHERS: [SmoothingKernel; 5] = [
    [NONE, NONE, [-7, 50, 0, -50, 7], NONE, NONE],
    [[0, 0, -7, 0, 0], [0, 0, 50, 0, 0], NONE, [0, 0, -50, 0, 0], [0, 0, 7, 0, 0]],
    [[0, 0, -1, 0, 0], [0, 0, 13, 0, 0], [0, 0, -24, 0, 0], [0, 0, 13, 0, 0], [0, 0, -1, 0, 0]],
    [[0, -1, 0, 1, 0], [-1, 10, 0, -10, 1], NONE, [1, -10, 0, 10, -1], [0, 1, 0, -1, 0]],
    [NONE, NONE, [-1, 13, -24, 13, -1], NONE, NONE],
];
