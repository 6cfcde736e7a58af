//! What a register kernel is, and which one a profile uses.

use std::any::Any;

use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::ops::Activation;
use crate::ops::float::Float;
use crate::ops::profile::Profile;

/// The longest run of the inner dimension that one kernel call sums up before it is added to the output.
///
/// One for all profiles, so that they agree to the bit. Summing in parts of this length keeps the error of long sums
/// down (Blanchard, Higham and Mary, *A Class of Fast and Accurate Summation Algorithms*, 2020): twice the length is hardly
/// faster and misses the bound of twice PyTorch's error.
pub(super) const DEPTH: usize = 128;

/// The distance between two rows of a left block packed row by row: a little more than [`DEPTH`], lest rows that a
/// kernel reads side by side share their cache sets. A constant, so that kernels address rows by displacement.
pub(in crate::ops) const ROW_STRIDE: usize = DEPTH + 16;

/// How a left block is packed; each source chooses the one that copies runs of its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum Layout {
    /// Element (row, k) of a block at `row * ROW_STRIDE + k`.
    Rows,
    /// Element (row, k) of a panel at `k * lanes + row`, one panel for each tile.
    Columns,
}

/// What happens to an output element once its sum is complete: `activation(sum + bias + residual)`.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Epilogue<'a, T> {
    /// One for each output column.
    pub bias: Option<&'a [T]>,
    /// As long as the output, and addressed like it.
    pub residual: Option<&'a [T]>,
    pub activation: Activation,
}

impl<T> Epilogue<'_, T> {
    pub const NONE: Self = Self { bias: None, residual: None, activation: Activation::None };
}

/// One call of a kernel: `output[r][c] (+)= Σ_k left[r][k] · right[k][c]`, k ascending, each step one fused
/// multiply-add from zero.
pub(super) struct Tile<T> {
    pub depth: usize,
    pub left: *const T,
    pub layout: Layout,
    /// `right_columns` numbers for each k.
    pub right: *const T,
    pub rows: usize,
    pub columns: usize,
    /// The first column of the tile; row r stands `row_offsets[r]` further.
    pub output: *mut T,
    pub row_offsets: *const usize,
    /// Adds to what the output holds.
    pub accumulate: bool,
    /// Null for none; the tile's first column.
    pub bias: *const T,
    /// Null for none; addressed as the output.
    pub residual: *const T,
    pub activation: Activation,
}

/// A register kernel and the shapes it wants.
#[derive(Clone, Copy)]
pub(super) struct Kernel<T> {
    /// The most rows of one call.
    pub rows: usize,
    /// The columns of a right panel, the most of one call.
    pub columns: usize,
    /// The row slots of a left panel packed column by column.
    pub lanes: usize,
    /// The rows of one task: packed together, and multiplied with each right panel in turn.
    pub block_rows: usize,
    /// # Safety
    ///
    /// The pointers of the tile must be good for its shape, and the machine must have the kernel's profile.
    pub run: unsafe fn(&Tile<T>),
}

/// The columns of one task, a multiple of every kernel's; and so the longest part of a row that is packed at once.
pub(in crate::ops) const BLOCK_COLUMNS: usize = 256;

impl<T: Float> Kernel<T> {
    /// The kernel of a profile that the machine has.
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

    /// The number of tiles that `rows` are cut into, and the rows of each but the last.
    pub fn tiles(&self, rows: usize) -> (usize, usize) {
        let tiles = rows.div_ceil(self.rows);
        (tiles, rows.div_ceil(tiles.max(1)))
    }
}

/// The blocks that an inner dimension of `depth` is summed in: as many as needed, of equal length up to a multiple of 16.
pub(super) fn depth_blocks(depth: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let length = depth.div_ceil(depth.div_ceil(DEPTH).max(1)).next_multiple_of(16).min(DEPTH);
    // An empty sum is one empty block, so that the output is still written.
    (0..depth.max(1)).step_by(length.max(1)).map(move |start| start..depth.min(start + length))
}
