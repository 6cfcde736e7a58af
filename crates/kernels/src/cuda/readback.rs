//! The way of a few numbers to the host, beside what is being computed.
//!
//! The copy is launched behind the kernel that makes the numbers, into memory that the device writes by itself, and the
//! host waits for that copy alone: what was launched later goes on meanwhile.

use std::marker::PhantomData;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{CudaEvent, PinnedHostSlice, result};
use candle_core::{DType, Tensor};

use super::elementwise::as_type;
use super::engine::{Address, Engine, address, failed, locked};
use crate::error::{Error, Result};

/// Numbers that are read often are few: pieces of memory hold as many bytes at least.
const SMALLEST: usize = 1 << 12;

/// Memory of the host that the device writes, and what tells when it has. Getting some takes the driver's time, so pieces
/// are used again.
pub struct Landing {
    memory: PinnedHostSlice<u8>,
    bytes: usize,
    arrived: CudaEvent,
}

/// Numbers on their way.
pub struct Readback<T> {
    engine: Arc<Engine>,
    /// There until waited for.
    landing: Option<Landing>,
    count: usize,
    numbers: PhantomData<T>,
}

impl Engine {
    /// Has `count` numbers copied to the host once what was launched before has written them.
    pub fn read_back<T: Copy>(self: &Arc<Self>, from: Address, count: usize) -> Result<Readback<T>> {
        let bytes = count * size_of::<T>();
        let landing = self.landing(bytes)?;
        let copy = || {
            // SAFETY: it is read when `arrived` has passed.
            let to = unsafe { std::slice::from_raw_parts_mut(landing.memory.as_ptr()?.cast_mut(), bytes) };
            // SAFETY: as many bytes are at both ends; the landing stays until the copy is through.
            unsafe { result::memcpy_dtoh_async(to, from.at, self.stream().cu_stream()) }?;
            landing.arrived.record(self.stream())
        };
        copy().map_err(failed)?;
        Ok(Readback { engine: self.clone(), landing: Some(landing), count, numbers: PhantomData })
    }

    /// One that is free and large enough, or a new one.
    fn landing(&self, bytes: usize) -> Result<Landing> {
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
            Ok(Landing { memory, bytes, arrived: context.new_event(None)? })
        };
        new().map_err(failed)
    }
}

impl<T: Copy> Readback<T> {
    /// The numbers, once they are there.
    pub fn wait(mut self) -> Result<Vec<T>> {
        let Some(landing) = &self.landing else {
            return Err(Error::bug("numbers of a GPU were read twice"));
        };
        let read = || {
            landing.arrived.synchronize()?;
            let first = landing.memory.as_ptr()?.cast::<T>();
            // SAFETY: the copy is through, and memory that the device writes is aligned to pages.
            Ok(unsafe { std::slice::from_raw_parts(first, self.count) }.to_vec())
        };
        let numbers = read().map_err(failed)?;
        locked(&self.engine.landings).extend(self.landing.take());
        Ok(numbers)
    }
}

impl<T> Drop for Readback<T> {
    /// Numbers that nobody waited for may still be on their way.
    fn drop(&mut self) {
        if let Some(landing) = self.landing.take() {
            // A device that fails here writes no more.
            _ = landing.arrived.synchronize();
            locked(&self.engine.landings).push(landing);
        }
    }
}

/// [`Engine::read_back`] of a tensor, as f32 whatever its type.
pub fn read_back(tensor: &Tensor) -> Result<Readback<f32>> {
    let tensor = as_type(tensor, DType::F32)?;
    Engine::of(&tensor)?.read_back(address(&tensor)?, tensor.elem_count())
}
