//! Copies batches to the device while it computes.
//!
//! A batch is copied into pinned host memory, then on a separate stream into a staging buffer on the device.
//! Only the last copy, into the new tensor, is queued among the kernels. The next batch is therefore transferred
//! while the GPU computes the current step.

use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{
    CudaContext, CudaEvent, CudaSlice, CudaStream, DevicePtr, PinnedHostSlice, result,
};
use candle_core::{CpuStorage, DType, Storage, Tensor};

use super::engine::{Engine, failed};
use crate::error::{Error, Result};

pub struct Upload {
    stream: Arc<CudaStream>,
    slots: [Option<StagingBuffer>; 2],
    next: usize,
}

struct StagingBuffer {
    host: PinnedHostSlice<f32>,
    device: CudaSlice<f32>,
    length: usize,
    /// The events after the copy to the device, and after the copy into the tensor.
    arrived: CudaEvent,
    taken: CudaEvent,
}

impl Upload {
    pub(super) fn new(context: &Arc<CudaContext>) -> Result<Self> {
        Ok(Self { stream: context.new_stream().map_err(failed)?, slots: [None, None], next: 0 })
    }

    pub(super) fn tensor(&mut self, engine: &Engine, tensor: &Tensor) -> Result<Tensor> {
        let (storage, layout) = tensor.storage_and_layout();
        let (Storage::Cpu(CpuStorage::F32(numbers)), Some((start, end))) =
            (&*storage, layout.contiguous_offsets())
        else {
            return Err(Error::bug("only batches of f32 are copied to the GPU"));
        };
        let numbers = &numbers[start..end];
        if numbers.is_empty() {
            return Err(Error::bug("an empty batch"));
        }
        let slot = self.slot(engine, numbers.len())?;
        // The previous content must be on the device and in its tensor before the buffer is reused.
        slot.arrived.synchronize().map_err(failed)?;
        slot.host.as_mut_slice().map_err(failed)?[..numbers.len()].copy_from_slice(numbers);
        let (out, address) = engine.tensor(DType::F32, tensor.shape().clone())?;
        let Self { stream, slots, next } = self;
        let Some(slot) = &mut slots[*next] else { unreachable!("made just now") };
        *next = 1 - *next;
        let copy = || {
            stream.wait(&slot.taken)?;
            let from = &slot.host.as_slice()?[..numbers.len()];
            let (staging, _) = slot.device.device_ptr(stream);
            // SAFETY: both addresses are in memory of the slot, which is not reused before `arrived` and
            // `taken`.
            unsafe { result::memcpy_htod_async(staging, from, stream.cu_stream()) }?;
            slot.arrived.record(stream)?;
            engine.stream().wait(&slot.arrived)?;
            let bytes = size_of_val(numbers);
            // SAFETY: the tensor holds this many elements, in memory of this stream.
            unsafe { result::memcpy_dtod_async(address.at, staging, bytes, engine.stream().cu_stream()) }?;
            slot.taken.record(engine.stream())
        };
        copy().map_err(failed)?;
        Ok(out)
    }

    /// The next slot in turn, with room for this many elements.
    fn slot(&mut self, engine: &Engine, length: usize) -> Result<&mut StagingBuffer> {
        let slot = &mut self.slots[self.next];
        if slot.as_ref().is_none_or(|slot| slot.length < length) {
            // Waits for all use of the old memory.
            engine.synchronize()?;
            self.stream.synchronize().map_err(failed)?;
            *slot = None;
            let context = self.stream.context();
            let new = || {
                Ok(StagingBuffer {
                    // SAFETY: it is written before it is read.
                    host: unsafe { context.alloc_pinned_with_flags::<f32>(length, 0) }?,
                    // SAFETY: likewise.
                    device: unsafe { self.stream.alloc::<f32>(length) }?,
                    length,
                    arrived: context.new_event(None)?,
                    taken: context.new_event(None)?,
                })
            };
            *slot = Some(new().map_err(failed)?);
        }
        match slot {
            Some(slot) => Ok(slot),
            None => unreachable!("made just now"),
        }
    }
}
