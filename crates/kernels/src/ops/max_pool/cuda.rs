//! Max pooling on CUDA.

use candle_core::Tensor;
use candle_core::cuda_backend::cudarc::driver::CudaSlice;

use super::WindowGrid;
use crate::autograd::Backward;
use crate::cuda::{self, Address, Engine, address, arguments, kernel};
use crate::error::Result;

/// Pools `x`, and records the kernel tap of each maximum if `record` is set.
pub(super) fn forward(grid: &WindowGrid, x: &Tensor, record: bool) -> Result<(Tensor, Option<MaxPool>)> {
    let engine = Engine::of(x)?;
    let shape = (x.dim(0)?, grid.output[0], grid.output[1], grid.channels);
    let (out, to) = engine.tensor(x.dtype(), shape)?;
    let count = out.elem_count();
    let chosen = record.then(|| engine.buffer::<u16>(count)).transpose()?;
    let places = chosen.as_ref().map_or(Address::NONE, |chosen| engine.address(chosen));
    let grid = grid.on_cuda();
    engine.numbers(
        &kernel("max_pool", x.dtype())?,
        count,
        arguments![count as i64, grid, address(x)?, to, places],
    )?;
    Ok((out, chosen.map(|chosen| MaxPool { grid, chosen })))
}

impl WindowGrid {
    fn on_cuda(&self) -> cuda::WindowGrid {
        let pair = |[first, second]: [usize; 2]| [first as i32, second as i32];
        let [top, left, ..] = self.window.padding;
        cuda::WindowGrid {
            channels: self.channels as i32,
            input: pair(self.input),
            output: pair(self.output),
            kernel: pair(self.window.kernel),
            stride: pair(self.window.stride),
            padding: pair([top, left]),
        }
    }
}

pub struct MaxPool {
    grid: cuda::WindowGrid,
    /// The kernel tap of each output element's maximum.
    chosen: CudaSlice<u16>,
}

impl Backward for MaxPool {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let engine = Engine::of(&grad)?;
        let [height, width] = self.grid.input.map(|size| size as usize);
        let (out, to) =
            engine.tensor(grad.dtype(), (grad.dim(0)?, height, width, self.grid.channels as usize))?;
        let (count, chosen) = (out.elem_count(), engine.address(&self.chosen));
        engine.numbers(
            &kernel("max_pool_backward", grad.dtype())?,
            count,
            arguments![count as i64, self.grid, address(&grad)?, chosen, to],
        )?;
        Ok(vec![Some(out)])
    }
}
