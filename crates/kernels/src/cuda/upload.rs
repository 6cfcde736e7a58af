//! The way of batches to the device, beside what is being computed.
//!
//! A batch is copied into memory that the device reads by itself, and from there over a stream of its own into memory that
//! stays; only the last step, from there into the new tensor, waits its turn among the kernels. So while the GPU is still
//! at one step, the next one's batch is on its way.

use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{
    CudaContext, CudaEvent, CudaSlice, CudaStream, DevicePtr, PinnedHostSlice, result,
};
use candle_core::{CpuStorage, DType, Storage, Tensor};

use super::engine::{Engine, failed};
use crate::error::{Error, Result};

pub struct Upload {
    stream: Arc<CudaStream>,
    slots: [Option<Slot>; 2],
    next: usize,
}

struct Slot {
    host: PinnedHostSlice<f32>,
    device: CudaSlice<f32>,
    length: usize,
    /// After the copy to the device, and after the one from there into a tensor.
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
        // What lay here last must be on the device, and there in its tensor, before the next takes its place.
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
            // SAFETY: both lie in memory of the slot, which is not touched before `arrived` and `taken` have passed.
            unsafe { result::memcpy_htod_async(staging, from, stream.cu_stream()) }?;
            slot.arrived.record(stream)?;
            engine.stream().wait(&slot.arrived)?;
            let bytes = size_of_val(numbers);
            // SAFETY: the tensor was made for as many numbers, of this stream's memory.
            unsafe { result::memcpy_dtod_async(address.at, staging, bytes, engine.stream().cu_stream()) }?;
            slot.taken.record(engine.stream())
        };
        copy().map_err(failed)?;
        Ok(out)
    }

    /// The slot whose turn it is, with room for so many numbers.
    fn slot(&mut self, engine: &Engine, length: usize) -> Result<&mut Slot> {
        let slot = &mut self.slots[self.next];
        if slot.as_ref().is_none_or(|slot| slot.length < length) {
            // Whatever the old memory is in use for ends first.
            engine.synchronize()?;
            self.stream.synchronize().map_err(failed)?;
            *slot = None;
            let context = self.stream.context();
            let new = || {
                Ok(Slot {
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
