//! Register kernels, and the selection by profile.

use std::any::Any;

use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::ops::Activation;
use crate::ops::float::Float;
use crate::ops::profile::Profile;

/// The maximum length of the inner dimension that one kernel call accumulates before adding to the output.
///
/// All profiles use the same, so that they agree to the bit. Partial sums of this length reduce the error of
/// long sums (Blanchard, Higham and Mary, *A Class of Fast and Accurate Summation Algorithms*, 2020). Twice the
/// length is hardly faster and exceeds the bound of twice PyTorch's error.
pub(super) const DEPTH: usize = 128;

/// The row stride of a left block packed row by row. It is slightly more than [`DEPTH`], so that rows read
/// together do not compete for the same cache sets. A constant, so that kernels address rows by displacement.
pub(in crate::ops) const ROW_STRIDE: usize = DEPTH + 16;

/// The layout of a packed left block. Each source chooses the layout that copies contiguous runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum PackLayout {
    /// Element (row, k) of a block at `row * ROW_STRIDE + k`.
    Rows,
    /// Element (row, k) of a panel at `k * lanes + row`, one panel per tile.
    Columns,
}

/// The final step for an output element after its sum is complete: `activation(sum + bias + residual)`.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Epilogue<'a, T> {
    /// One per output column.
    pub bias: Option<&'a [T]>,
    /// With the length and the addressing of the output.
    pub residual: Option<&'a [T]>,
    pub activation: Activation,
}

impl<T> Epilogue<'_, T> {
    pub const NONE: Self = Self { bias: None, residual: None, activation: Activation::None };
}

/// One kernel call: `output[r][c] (+)= Σ_k left[r][k] · right[k][c]`, k ascending from zero, with one fused
/// multiply-add per step.
pub(super) struct KernelCall<T> {
    pub depth: usize,
    /// Element (row, k) at `row * row_step + k * depth_step`.
    pub left: *const T,
    pub row_step: usize,
    pub depth_step: usize,
    /// A panel: the columns of k start at `k * right_step`, and are whole vectors.
    pub right: *const T,
    pub right_step: usize,
    pub rows: usize,
    pub columns: usize,
    /// The first column of the tile; row r starts `row_offsets[r]` further.
    pub output: *mut T,
    pub row_offsets: *const usize,
    /// Whether to add to the output.
    pub accumulate: bool,
    /// The bias of the tile's first column, or null.
    pub bias: *const T,
    /// Addressed as the output, or null.
    pub residual: *const T,
    pub activation: Activation,
}

/// A register kernel and its shapes.
#[derive(Clone, Copy)]
pub(super) struct Kernel<T> {
    /// The maximum rows of one call.
    pub rows: usize,
    /// The columns of a right panel, the maximum of one call.
    pub columns: usize,
    /// The row slots of a left panel packed column by column.
    pub lanes: usize,
    /// It reads the columns of a right panel in vectors of this length.
    pub vector: usize,
    /// The rows of one task: packed together, then multiplied with each right panel in turn.
    pub block_rows: usize,
    /// # Safety
    ///
    /// The pointers of the tile must be valid for its shape, and the machine must support the kernel's profile.
    pub run: unsafe fn(&KernelCall<T>),
}

/// The columns of one task, a multiple of every kernel's; also the maximum length of a row that is packed at
/// once.
pub(in crate::ops) const BLOCK_COLUMNS: usize = 256;

impl<T: Float> Kernel<T> {
    /// The kernel of a supported profile.
    pub fn of(profile: Profile) -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let special: Option<&dyn Any> = match profile {
                Profile::X86V4 => Some(&avx512::KERNEL),
                Profile::X86V3 => Some(&avx2::KERNEL),
                Profile::Scalar => None,
            };
            if let Some(kernel) = special.and_then(|kernel| kernel.downcast_ref::<Self>()) {
                return *kernel;
            }
        }
        portable::kernel(profile)
    }

    /// The number of tiles for `rows` rows, and the rows of each but the last.
    pub fn tiles(&self, rows: usize) -> (usize, usize) {
        let tiles = rows.div_ceil(self.rows);
        (tiles, rows.div_ceil(tiles.max(1)))
    }
}

/// The blocks in which an inner dimension of `depth` is summed: as few as possible, of equal length up to a
/// multiple of 16.
pub(super) fn depth_blocks(depth: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let length = depth.div_ceil(depth.div_ceil(DEPTH).max(1)).next_multiple_of(16).min(DEPTH);
    // An empty sum is one empty block, so that the output is still written.
    (0..depth.max(1)).step_by(length.max(1)).map(move |start| start..depth.min(start + length))
}
