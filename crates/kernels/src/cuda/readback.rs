//! Copies a few values to the host while the device computes.
//!
//! The copy is launched after the kernel that computes the values, into pinned host memory. The host waits for
//! that copy alone; later launches continue to run.

use std::marker::PhantomData;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{CudaEvent, PinnedHostSlice, result};
use candle_core::{DType, Tensor};

use super::elementwise::as_type;
use super::engine::{Address, Engine, address, failed, locked};
use crate::error::{Error, Result};

/// The minimum size of a buffer in bytes: values that are read often are few.
const SMALLEST: usize = 1 << 12;

/// Pinned host memory, and the event that marks a finished copy. Allocating pinned memory is slow, so buffers
/// are reused.
pub struct PinnedBuffer {
    memory: PinnedHostSlice<u8>,
    bytes: usize,
    arrived: CudaEvent,
}

/// Values that are being copied to the host.
pub struct Readback<T> {
    engine: Arc<Engine>,
    /// `Some` until the values have been read.
    landing: Option<PinnedBuffer>,
    count: usize,
    numbers: PhantomData<T>,
}

impl Engine {
    /// Starts a copy of `count` values to the host, after all work launched before.
    pub fn read_back<T: Copy>(self: &Arc<Self>, from: Address, count: usize) -> Result<Readback<T>> {
        let bytes = count * size_of::<T>();
        let landing = self.pinned_buffer(bytes)?;
        let copy = || {
            // SAFETY: it is read only after the event `arrived`.
            let to = unsafe { std::slice::from_raw_parts_mut(landing.memory.as_ptr()?.cast_mut(), bytes) };
            // SAFETY: both sides have this many bytes, and the buffer exists until the copy is done.
            unsafe { result::memcpy_dtoh_async(to, from.at, self.stream().cu_stream()) }?;
            landing.arrived.record(self.stream())
        };
        copy().map_err(failed)?;
        Ok(Readback { engine: self.clone(), landing: Some(landing), count, numbers: PhantomData })
    }

    /// A free buffer that is large enough, or a new one.
    fn pinned_buffer(&self, bytes: usize) -> Result<PinnedBuffer> {
        let mut free = locked(&self.landings);
        if let Some(place) = free.iter().position(|landing| landing.bytes >= bytes) {
            return Ok(free.swap_remove(place));
        }
        drop(free);
        let bytes = bytes.next_power_of_two().max(SMALLEST);
        let context = self.stream().context();
        let new = || {
            // SAFETY: it is written before it is read.
            let memory = unsafe { context.alloc_pinned_with_flags::<u8>(bytes, 0) }?;
            Ok(PinnedBuffer { memory, bytes, arrived: context.new_event(None)? })
        };
        new().map_err(failed)
    }
}

impl<T: Copy> Readback<T> {
    /// Blocks until the values have arrived.
    pub fn wait(mut self) -> Result<Vec<T>> {
        let Some(landing) = &self.landing else {
            return Err(Error::bug("numbers of a GPU were read twice"));
        };
        let read = || {
            landing.arrived.synchronize()?;
            let first = landing.memory.as_ptr()?.cast::<T>();
            // SAFETY: the copy is done, and pinned memory is aligned to pages.
            Ok(unsafe { std::slice::from_raw_parts(first, self.count) }.to_vec())
        };
        let numbers = read().map_err(failed)?;
        locked(&self.engine.landings).extend(self.landing.take());
        Ok(numbers)
    }
}

impl<T> Drop for Readback<T> {
    /// A dropped readback may still have a copy in progress.
    fn drop(&mut self) {
        if let Some(landing) = self.landing.take() {
            // After a failure the device writes no more.
            _ = landing.arrived.synchronize();
            locked(&self.engine.landings).push(landing);
        }
    }
}

/// [`Engine::read_back`] of a tensor, converted to f32.
pub fn read_back(tensor: &Tensor) -> Result<Readback<f32>> {
    let tensor = as_type(tensor, DType::F32)?;
    Engine::of(&tensor)?.read_back(address(&tensor)?, tensor.elem_count())
}
