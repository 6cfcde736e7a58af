//! Checks of PNG files that need no pixels.

use super::messages::{CUT_OFF, damaged};
use super::{BEST_COMPRESSION, LONGEST_SIDE, SIGNATURE};
use crate::data::image::decode::check_pixels;

/// Returns an error if the file is too short for the picture, or the picture exceeds the limits.
pub fn check_header(bytes: &[u8]) -> Result<(), String> {
    let header: &[u8; 17] = bytes.get(12..).and_then(<[u8]>::first_chunk).ok_or(CUT_OFF)?;
    let [b'I', b'H', b'D', b'R', w3, w2, w1, w0, h3, h2, h1, h0, depth, color, ..] = *header else {
        return Err(damaged("it does not begin with its header"));
    };
    let (width, height) = (u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0]));
    check_pixels(width, height)?;
    if width.max(height) > LONGEST_SIDE {
        return Err(format!(
            "its header says {width} × {height} pixels, and sides of more than {LONGEST_SIDE} are not decoded"
        ));
    }
    let channels = match color {
        2 => 3,
        4 => 2,
        6 => 4,
        _ => 1,
    };
    let row = 1 + (u64::from(width) * channels * u64::from(depth)).div_ceil(8);
    if row * u64::from(height) > BEST_COMPRESSION * bytes.len() as u64 {
        return Err(format!(
            "its header says {width} × {height} pixels, more than its {} bytes can hold",
            bytes.len()
        ));
    }
    Ok(())
}

/// Whether a file has a valid size and complete chunks up to its end (PNG specification, section 5). Nothing is
/// decompressed.
pub fn looks_whole(bytes: &[u8]) -> bool {
    let Some(mut rest) = bytes.strip_prefix(SIGNATURE) else { return false };
    let is_header = |size: &[u8]| size.len() == 13 && size[..4] != [0; 4] && size[4..8] != [0; 4];
    let (mut first, mut has_data) = (true, false);
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((kind, after)) = after.split_first_chunk::<4>() else { return false };
        // A checksum of four bytes follows the content of each chunk.
        let Some(next) = length.checked_add(4).and_then(|length| after.get(length..)) else { return false };
        match kind {
            b"IEND" => return has_data,
            b"IHDR" if !first || !is_header(&after[..length]) => return false,
            b"IDAT" => has_data = true,
            _ if first && kind != b"IHDR" => return false,
            _ => {}
        }
        (rest, first) = (next, false);
    }
    false
}
