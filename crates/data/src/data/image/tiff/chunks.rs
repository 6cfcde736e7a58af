//! Decompresses a strip or tile, to samples in the byte order of this machine.

use std::io::Read;

use flate2::read::ZlibDecoder;
use weezl::{BitOrder, LzwStatus, decode::Decoder as LzwDecoder};

use super::layout::{Chunk, Compression, Layout, Predictor};
use super::{CUT_OFF, damaged};

/// Writes the rows of a chunk, of [`Chunk::row_bytes`] each.
pub fn decompressed(file: &[u8], layout: &Layout, chunk: &Chunk, out: &mut Vec<u8>) -> Result<(), String> {
    let (start, length) = chunk.place;
    let stored = file.get(start..).and_then(|rest| rest.get(..length)).ok_or(CUT_OFF)?;
    let needed = chunk.row_bytes * chunk.rows;
    out.clear();
    out.try_reserve_exact(needed)
        .map_err(|_| format!("there is no memory for the {needed} bytes of a strip or tile"))?;
    out.resize(needed, 0);
    let reversed;
    let stored = if layout.reversed_bits {
        reversed = stored.iter().map(|byte| byte.reverse_bits()).collect::<Vec<u8>>();
        &reversed[..]
    } else {
        stored
    };
    match layout.compression {
        Compression::None => out.copy_from_slice(stored.get(..needed).ok_or(CUT_OFF)?),
        Compression::Lzw => lzw(stored, out)?,
        Compression::Deflate => ZlibDecoder::new(stored)
            .read_exact(out)
            .map_err(|_| damaged("its compressed data is corrupt or too short"))?,
        Compression::PackBits => pack_bits(stored, out)?,
    }
    let bytes = layout.kind.bits() / 8;
    for row in out.chunks_exact_mut(chunk.row_bytes.max(1)) {
        match (layout.predictor, bytes) {
            (Predictor::Float, _) => sorted_floats(row, bytes, chunk.samples),
            (Predictor::None, _) => to_native(row, bytes, layout.big_endian),
            (Predictor::Horizontal, _) => {
                to_native(row, bytes, layout.big_endian);
                accumulate(row, bytes, chunk.samples);
            }
        }
    }
    Ok(())
}

fn lzw(stored: &[u8], out: &mut [u8]) -> Result<(), String> {
    let corrupt = || damaged("its LZW data is corrupt or too short");
    if stored.starts_with(&[0]) && stored.get(1).is_some_and(|byte| byte & 1 == 1) {
        return Err("it has LZW data in the order of before 1988, which is not read; save it again".into());
    }
    let mut decoder = LzwDecoder::with_tiff_size_switch(BitOrder::Msb, 8);
    let (mut from, mut to) = (0, 0);
    while to < out.len() {
        let step = decoder.decode_bytes(&stored[from..], &mut out[to..]);
        (from, to) = (from + step.consumed_in, to + step.consumed_out);
        match step.status.map_err(|_| corrupt())? {
            LzwStatus::Ok => {}
            LzwStatus::NoProgress | LzwStatus::Done if to < out.len() => return Err(corrupt()),
            LzwStatus::NoProgress | LzwStatus::Done => {}
        }
    }
    Ok(())
}

/// Run lengths (TIFF 6.0, section 9).
fn pack_bits(mut stored: &[u8], out: &mut [u8]) -> Result<(), String> {
    let mut filled = 0;
    while filled < out.len() {
        let (&head, rest) = stored.split_first().ok_or(CUT_OFF)?;
        // A run that goes on behind the last row is cut off there.
        let room = out.len() - filled;
        match head as i8 {
            -128 => stored = rest,
            literal @ 0.. => {
                let length = literal as usize + 1;
                let (bytes, after) = rest.split_at_checked(length).ok_or(CUT_OFF)?;
                let length = length.min(room);
                out[filled..filled + length].copy_from_slice(&bytes[..length]);
                (filled, stored) = (filled + length, after);
            }
            repeated => {
                let (&byte, after) = rest.split_first().ok_or(CUT_OFF)?;
                let length = (1 - isize::from(repeated)) as usize;
                let length = length.min(room);
                out[filled..filled + length].fill(byte);
                (filled, stored) = (filled + length, after);
            }
        }
    }
    Ok(())
}

/// Brings samples of several bytes to the byte order of this machine.
fn to_native(row: &mut [u8], bytes: usize, big_endian: bool) {
    if bytes > 1 && big_endian != cfg!(target_endian = "big") {
        row.chunks_exact_mut(bytes).for_each(<[u8]>::reverse);
    }
}

/// Adds to each sample its left neighbour. Floats are added as the whole numbers of their bits.
fn accumulate(row: &mut [u8], bytes: usize, samples: usize) {
    let step = bytes * samples;
    for at in (step..row.len()).step_by(bytes) {
        let (before, this) = row.split_at_mut(at);
        let (left, this) = (&before[at - step..][..bytes], &mut this[..bytes]);
        match (left, this) {
            ([left], [this]) => *this = this.wrapping_add(*left),
            (&[a, b], [c, d]) => {
                [*c, *d] =
                    u16::from_ne_bytes([*c, *d]).wrapping_add(u16::from_ne_bytes([a, b])).to_ne_bytes();
            }
            (&[a, b, c, d], [e, f, g, h]) => {
                let left = u32::from_ne_bytes([a, b, c, d]);
                [*e, *f, *g, *h] = u32::from_ne_bytes([*e, *f, *g, *h]).wrapping_add(left).to_ne_bytes();
            }
            _ => {}
        }
    }
}

/// Undoes the predictor of floats (Adobe, *TIFF Technical Note 3*, 2005): bytes are differences, and come by
/// significance, the highest of all samples first.
fn sorted_floats(row: &mut [u8], bytes: usize, samples: usize) {
    for at in samples..row.len() {
        row[at] = row[at].wrapping_add(row[at - samples]);
    }
    let sorted = row.to_vec();
    let count = row.len() / bytes.max(1);
    for (index, sample) in row.chunks_exact_mut(bytes.max(1)).enumerate() {
        for (significance, byte) in sample.iter_mut().enumerate() {
            *byte = sorted[significance * count + index];
        }
        if cfg!(target_endian = "little") {
            sample.reverse();
        }
    }
}
