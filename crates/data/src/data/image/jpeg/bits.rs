//! Bitwise reading of entropy-coded bytes.

use super::{CUT_OFF, Damage};

/// Zero padding after the data, so that the last codes can be looked up without a bounds check.
const PADDING: usize = 16;

/// A run of entropy-coded data, from a scan header or restart marker to the next marker, without stuffed zeros.
#[derive(Default)]
pub struct EntropySegment {
    bytes: Vec<u8>,
}

impl EntropySegment {
    /// Reads the data at the start of `source` up to a marker, and returns its length. Data without a final
    /// marker is truncated.
    pub fn fill(&mut self, source: &[u8]) -> Result<usize, Damage> {
        self.bytes.clear();
        let mut position = 0;
        loop {
            // Copies eight bytes at a time while none of them is 0xFF.
            let plain = source[position..].as_chunks::<8>().0.iter().take_while(|chunk| !has_marker(**chunk));
            let start = position;
            position += 8 * plain.count();
            let rest = &source[position..];
            position += rest.iter().position(|byte| *byte == 0xFF).ok_or(CUT_OFF)?;
            self.bytes.extend_from_slice(&source[start..position]);
            match source.get(position + 1) {
                Some(0) => {
                    self.bytes.push(0xFF);
                    position += 2;
                }
                // Fill bytes before a marker.
                Some(0xFF) => position += 1,
                Some(_) => break,
                None => return Err(CUT_OFF),
            }
        }
        self.bytes.extend_from_slice(&[0; PADDING]);
        Ok(position)
    }

    pub fn bits(&self) -> BitReader<'_> {
        BitReader { bytes: &self.bytes, position: 0, buffer: 0, count: 0 }
    }
}

fn has_marker(chunk: [u8; 8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let inverted = !u64::from_ne_bytes(chunk);
    inverted.wrapping_sub(ONES) & !inverted & (ONES << 7) != 0
}

/// Reads a segment, most significant bit first.
pub struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
    /// The next bits, left-aligned.
    buffer: u64,
    count: u32,
}

impl BitReader<'_> {
    /// Makes at least 56 bits available: two symbols with their values.
    #[inline(always)]
    pub fn refill(&mut self) -> Result<(), Damage> {
        let Some(Ok(chunk)) = self.bytes.get(self.position..self.position + 8).map(<[u8; 8]>::try_from)
        else {
            return self.refill_at_end();
        };
        self.buffer |= u64::from_be_bytes(chunk) >> self.count;
        self.position += ((63 - self.count) >> 3) as usize;
        self.count |= 56;
        Ok(())
    }

    #[cold]
    fn refill_at_end(&mut self) -> Result<(), Damage> {
        // Reads from the padding: its rest is enough unless bits beyond the data are used.
        while self.count <= 56 && self.position < self.bytes.len() {
            self.buffer |= u64::from(self.bytes[self.position]) << (56 - self.count);
            self.position += 1;
            self.count += 8;
        }
        if self.count < 48 { Err("a scan ends early") } else { Ok(()) }
    }

    #[inline(always)]
    pub fn peek(&self, count: u32) -> usize {
        (self.buffer >> (64 - count)) as usize
    }

    #[inline(always)]
    pub fn skip(&mut self, count: u32) {
        self.buffer <<= count;
        self.count -= count;
    }

    /// The next `count` bits as a number; `count` may be 0.
    #[inline(always)]
    pub fn take(&mut self, count: u32) -> i32 {
        let value = (self.buffer >> 1 >> (63 - count)) as i32;
        self.skip(count);
        value
    }

    /// The next bits as a signed number of that many bits (T.81, F.2.2.1, EXTEND).
    #[inline(always)]
    pub fn signed(&mut self, count: u32) -> i32 {
        extend(self.take(count), count)
    }

    /// Fails if more was read than the data contains.
    pub fn finish(&self) -> Result<(), Damage> {
        let read = 8 * self.position as i64 - i64::from(self.count);
        if read > 8 * (self.bytes.len() - PADDING) as i64 { Err("a scan ends early") } else { Ok(()) }
    }
}

/// Half of the values of a size are negative: those whose highest bit is 0.
#[inline(always)]
pub fn extend(value: i32, size: u32) -> i32 {
    let negative = ((value << 1) >> size) - 1;
    value + (negative & ((-1i32 << size) + 1))
}
