//! Launch shapes of kernels, and their arguments.

use std::ffi::c_void;

use candle_core::DType;

use super::engine::Engine;
use super::signatures::KernelArgument;
use crate::error::{Error, Result};

/// Columns and lanes of blocks that sum columns; threads of blocks that process a row. kernels/common.cuh has
/// the same values.
const COLUMNS: usize = 32;
const LANES: usize = 16;
const THREADS: u32 = 128;

/// Threads per block, and the maximum number of blocks, of elementwise kernels. Each thread loops with a stride.
const NUMBERS: usize = 256;
const BLOCKS: usize = 1 << 14;

/// The number of blocks that fills a GPU for a sum, and the minimum rows of a partial sum. They decide where
/// sums are split, so they affect results: a change needs a new version.
const SUMMING_BLOCKS: usize = 1024;
const CHUNK: usize = 128;

/// The arguments of a kernel. Their types are compared with the kernel's source before the launch.
#[derive(Default)]
pub struct Arguments {
    words: Vec<u64>,
    /// The offset of each argument.
    places: Vec<usize>,
    types: Vec<&'static str>,
}

impl Arguments {
    pub fn push<T: KernelArgument>(&mut self, value: T) {
        self.types.push(value.type_name());
        self.keep(value.passed());
    }

    /// Copies the value, because the launch reads it by address after the original may be gone.
    fn keep<T: Copy>(&mut self, value: T) {
        const { assert!(align_of::<T>() <= align_of::<u64>()) };
        let place = self.words.len();
        self.words.resize(place + size_of::<T>().div_ceil(size_of::<u64>()), 0);
        // SAFETY: the buffer has room for the value, aligned to words.
        unsafe { self.words.as_mut_ptr().add(place).cast::<T>().write(value) };
        self.places.push(place);
    }

    pub(super) fn types(&self) -> &[&'static str] {
        &self.types
    }

    /// The address of each argument, valid until another is added.
    pub(super) fn addresses(&mut self) -> Vec<*mut c_void> {
        let words = self.words.as_mut_ptr();
        // SAFETY: offsets are inside the buffer.
        self.places.iter().map(|place| unsafe { words.add(*place) }.cast()).collect()
    }
}

#[macro_export]
macro_rules! arguments {
    ($($value:expr),* $(,)?) => {{
        let mut arguments = $crate::cuda::Arguments::default();
        $(arguments.push($value);)*
        arguments
    }};
}
pub use arguments;

/// Rows split into chunks for summing. The shape alone decides the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowChunks {
    /// The rows of each chunk but the last.
    pub rows: i64,
    pub count: i32,
}

impl RowChunks {
    pub fn of(rows: usize, columns: usize) -> Self {
        let wanted = (SUMMING_BLOCKS / columns.div_ceil(COLUMNS).max(1)).max(1);
        let chunk = rows.div_ceil(wanted).max(CHUNK).next_multiple_of(LANES);
        Self { rows: chunk as i64, count: rows.div_ceil(chunk).max(1) as i32 }
    }
}

/// The name of the kernel `name` for activations of this type.
pub fn kernel(name: &str, dtype: DType) -> Result<String> {
    match dtype {
        DType::F32 => Ok(format!("{name}_f32")),
        DType::BF16 => Ok(format!("{name}_bf16")),
        DType::F16 => Ok(format!("{name}_f16")),
        other => Err(Error::bug(format!("no kernel computes in {other:?}"))),
    }
}

/// The positions of windows on images. kernels/pooling.cuh has the same fields.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WindowGrid {
    pub channels: i32,
    /// Height and width of the input, and of the output.
    pub input: [i32; 2],
    pub output: [i32; 2],
    pub kernel: [i32; 2],
    pub stride: [i32; 2],
    /// Padding at the top and the left.
    pub padding: [i32; 2],
}

/// A window of images, treated as images of another size. kernels/convolution.cuh has the same fields.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ImageFrame {
    pub channels: i32,
    pub from: [i32; 2],
    pub to: [i32; 2],
    /// How much further up and left the new images begin.
    pub offset: [i32; 2],
}

impl ImageFrame {
    /// The inverse, for gradients.
    pub fn inverse(self) -> Self {
        Self { from: self.to, to: self.from, offset: self.offset.map(|offset| -offset), ..self }
    }
}

impl Engine {
    /// Launches an elementwise kernel for `count` elements.
    pub fn numbers(&self, kernel: &str, count: usize, arguments: Arguments) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let blocks = count.div_ceil(NUMBERS).min(BLOCKS);
        self.launch(kernel, [blocks, 1, 1], [NUMBERS as u32, 1], arguments)
    }

    /// Launches a kernel that sums columns, with blocks along the columns and the further grid `rest`.
    pub fn columns(
        &self,
        kernel: &str,
        columns: usize,
        rest: [usize; 2],
        arguments: Arguments,
    ) -> Result<()> {
        let grid = [columns.div_ceil(COLUMNS), rest[0], rest[1]];
        self.launch(kernel, grid, [COLUMNS as u32, LANES as u32], arguments)
    }

    /// Launches a kernel with one block per row.
    pub fn rows(&self, kernel: &str, rows: usize, arguments: Arguments) -> Result<()> {
        self.launch(kernel, [rows, 1, 1], [THREADS, 1], arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_all_rows() {
        for (rows, columns) in
            [(1, 1), (127, 3), (128, 64), (129, 64), (802_816, 64), (3136, 2048), (2, 4096)]
        {
            let RowChunks { rows: chunk, count } = RowChunks::of(rows, columns);
            let (chunk, count) = (chunk as usize, count as usize);
            assert!(chunk * count >= rows && chunk * (count - 1) < rows, "{rows} rows of {columns}");
            assert!(count * columns.div_ceil(COLUMNS) <= 2 * SUMMING_BLOCKS && count <= 65_535);
        }
    }
}
