//! Copies of rows on the device: blocks of a batch, and concatenation.

use candle_core::Tensor;
use candle_core::cuda_backend::cudarc::driver::result;

use super::engine::{Engine, address, failed};
use crate::error::{Error, Result};

/// Rows `start..start + count` of `x`, padded with zero rows up to `block` rows.
pub fn block(x: &Tensor, start: usize, count: usize, block: usize) -> Result<Tensor> {
    let part = x.narrow(0, start, count)?;
    if count == block {
        return Ok(part);
    }
    let engine = Engine::of(x)?;
    let mut shape = x.dims().to_vec();
    shape[0] = block;
    let (out, to) = engine.tensor(x.dtype(), shape)?;
    let bytes = part.elem_count() * x.dtype().size_in_bytes();
    let rest = out.elem_count() * x.dtype().size_in_bytes() - bytes;
    let (from, stream) = (address(&part)?, engine.stream().cu_stream());
    // SAFETY: both tensors exist and hold this many bytes.
    unsafe {
        result::memcpy_dtod_async(to.at, from.at, bytes, stream).map_err(failed)?;
        result::memset_d8_async(to.plus(bytes).at, 0, rest, stream).map_err(failed)?;
    }
    Ok(out)
}

/// The rows of all pieces, in order.
pub fn concatenate(pieces: &[Tensor]) -> Result<Tensor> {
    let Some(first) = pieces.first() else {
        return Err(Error::bug("nothing to join"));
    };
    if pieces.len() == 1 {
        return Ok(first.clone());
    }
    let engine = Engine::of(first)?;
    let mut shape = first.dims().to_vec();
    shape[0] = pieces.iter().map(|piece| piece.dims()[0]).sum();
    let (out, mut to) = engine.tensor(first.dtype(), shape)?;
    for piece in pieces {
        let bytes = piece.elem_count() * piece.dtype().size_in_bytes();
        // SAFETY: all pieces exist, and the new tensor holds the bytes of all.
        unsafe { result::memcpy_dtod_async(to.at, address(piece)?.at, bytes, engine.stream().cu_stream()) }
            .map_err(failed)?;
        to = to.plus(bytes);
    }
    Ok(out)
}
