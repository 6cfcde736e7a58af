//! From the bytes of a row to samples.

use half::f16;

/// Samples of up to 8 bits, scaled to 0 … 255.
pub fn bits(line: &[u8], bits: u32, inverted: bool, row: &mut Vec<u8>) {
    indices(line, bits, row);
    let scale = (255 / ((1u32 << bits) - 1)) as u8;
    let change = |value: u8| if inverted { 255 - value * scale } else { value * scale };
    if inverted || scale > 1 {
        row.iter_mut().for_each(|value| *value = change(*value));
    }
}

/// Samples of up to 8 bits as they are.
pub fn indices(line: &[u8], bits: u32, row: &mut Vec<u8>) {
    if bits == 8 {
        return row.extend_from_slice(line);
    }
    let mask = ((1u32 << bits) - 1) as u8;
    for byte in line {
        row.extend((0..8 / bits).map(|place| byte >> (8 - bits * (place + 1)) & mask));
    }
}

pub fn wide(line: &[u8], inverted: bool, row: &mut Vec<u16>) {
    let value = |bytes: &[u8; 2]| {
        let value = u16::from_ne_bytes(*bytes);
        if inverted { u16::MAX - value } else { value }
    };
    row.extend(line.as_chunks().0.iter().map(value));
}

pub fn half_floats(line: &[u8], row: &mut Vec<f32>) {
    row.extend(line.as_chunks().0.iter().map(|bytes| f16::from_bits(u16::from_ne_bytes(*bytes)).to_f32()));
}

pub fn floats(line: &[u8], row: &mut Vec<f32>) {
    row.extend(line.as_chunks().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)));
}
