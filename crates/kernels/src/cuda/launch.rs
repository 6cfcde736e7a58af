//! The shapes in which kernels are launched, and what they are given.

use std::ffi::c_void;

use candle_core::DType;

use super::engine::Engine;
use super::signatures::Argument;
use crate::error::{Error, Result};

/// Columns and lanes of the blocks that sum columns; threads of those that handle a row: as kernels/common.cuh has them.
const COLUMNS: usize = 32;
const LANES: usize = 16;
const THREADS: u32 = 128;

/// Threads and, at most, blocks of kernels that go over numbers; each thread goes on in strides.
const NUMBERS: usize = 256;
const BLOCKS: usize = 1 << 14;

/// Blocks that keep a GPU busy summing, and the fewest rows worth a sum of their own. They decide where sums are cut, so
/// they enter results: a change is a change of version.
const SUMMING_BLOCKS: usize = 1024;
const CHUNK: usize = 128;

/// What a kernel is given. Before it is launched, their types are compared with those that its source names.
#[derive(Default)]
pub struct Arguments {
    words: Vec<u64>,
    /// Where each begins.
    places: Vec<usize>,
    types: Vec<&'static str>,
}

impl Arguments {
    pub fn push<T: Argument>(&mut self, value: T) {
        self.types.push(value.type_name());
        self.keep(value.passed());
    }

    /// Keeps a copy: what is launched reads it by address, when whatever it was made of is gone.
    fn keep<T: Copy>(&mut self, value: T) {
        const { assert!(align_of::<T>() <= align_of::<u64>()) };
        let place = self.words.len();
        self.words.resize(place + size_of::<T>().div_ceil(size_of::<u64>()), 0);
        // SAFETY: there is room for the value, aligned to words.
        unsafe { self.words.as_mut_ptr().add(place).cast::<T>().write(value) };
        self.places.push(place);
    }

    pub(super) fn types(&self) -> &[&'static str] {
        &self.types
    }

    /// The address of each, good for as long as nothing is added.
    pub(super) fn addresses(&mut self) -> Vec<*mut c_void> {
        let words = self.words.as_mut_ptr();
        // SAFETY: places are within the words.
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

/// Rows cut into chunks for summing: by shape alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// Rows in each but the last.
    pub rows: i64,
    pub count: i32,
}

impl Chunks {
    pub fn of(rows: usize, columns: usize) -> Self {
        let wanted = (SUMMING_BLOCKS / columns.div_ceil(COLUMNS).max(1)).max(1);
        let chunk = rows.div_ceil(wanted).max(CHUNK).next_multiple_of(LANES);
        Self { rows: chunk as i64, count: rows.div_ceil(chunk).max(1) as i32 }
    }
}

/// The kernel `name` for activations of this type.
pub fn kernel(name: &str, dtype: DType) -> Result<String> {
    match dtype {
        DType::F32 => Ok(format!("{name}_f32")),
        DType::BF16 => Ok(format!("{name}_bf16")),
        other => Err(Error::bug(format!("no kernel computes in {other:?}"))),
    }
}

/// Where windows lie on images: as kernels/pooling.cuh has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    pub channels: i32,
    /// Height and width of the input, and of the output.
    pub input: [i32; 2],
    pub output: [i32; 2],
    pub kernel: [i32; 2],
    pub stride: [i32; 2],
    /// Above, and to the left.
    pub padding: [i32; 2],
}

/// A window of images as images of another size: as kernels/convolution.cuh has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub channels: i32,
    pub from: [i32; 2],
    pub to: [i32; 2],
    /// How much further up and left the new ones begin.
    pub offset: [i32; 2],
}

impl Frame {
    /// What makes the old ones of the new ones again, for gradients.
    pub fn back(self) -> Self {
        Self { from: self.to, to: self.from, offset: self.offset.map(|offset| -offset), ..self }
    }
}

impl Engine {
    /// A kernel that goes over `count` numbers.
    pub fn numbers(&self, kernel: &str, count: usize, arguments: Arguments) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let blocks = count.div_ceil(NUMBERS).min(BLOCKS);
        self.launch(kernel, [blocks, 1, 1], [NUMBERS as u32, 1], arguments)
    }

    /// A kernel that sums columns: blocks along the columns, and as `rest` says.
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

    /// A kernel with a block for each row.
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
            let Chunks { rows: chunk, count } = Chunks::of(rows, columns);
            let (chunk, count) = (chunk as usize, count as usize);
            assert!(chunk * count >= rows && chunk * (count - 1) < rows, "{rows} rows of {columns}");
            assert!(count * columns.div_ceil(COLUMNS) <= 2 * SUMMING_BLOCKS && count <= 65_535);
        }
    }
}
