//! Huffman tables for look-up by the next bits.

use super::Damage;
use super::bits::{BitReader, extend};

/// The number of bits looked up at once. Most codes with their values are shorter.
const AHEAD: u32 = 10;

/// A looked-up code with its signed value: the number of bits in the low byte, then the run of zeros before the
/// value, then the value in the upper half.
#[derive(Clone, Copy)]
pub struct HuffmanEntry(u32);

impl HuffmanEntry {
    /// A code or value that is longer than the looked-up bits.
    pub const PARTIAL: Self = Self(0);
    /// A run longer than any block: the end of a block.
    const END: u32 = 64;

    #[inline(always)]
    pub fn is_whole(self) -> bool {
        self.0 != 0
    }

    #[inline(always)]
    pub fn bits(self) -> u32 {
        self.0 & 0xFF
    }

    #[inline(always)]
    pub fn run(self) -> usize {
        ((self.0 >> 8) & 0xFF) as usize
    }

    #[inline(always)]
    pub fn value(self) -> i16 {
        (self.0 >> 16) as i16
    }

    #[inline(always)]
    pub fn is_end(self) -> bool {
        self.run() == Self::END as usize
    }
}

pub struct HuffmanTable {
    /// By the next bits: the complete coefficient, if it fits.
    entries: [HuffmanEntry; 1 << AHEAD],
    /// By the next bits: the length of the code and its symbol; 0 if the code is longer.
    codes: [(u8, u8); 1 << AHEAD],
    /// Per code length: one more than its last code, shifted to 16 bits.
    limits: [u32; 17],
    /// Per code length: the offset from a code to the index of its symbol.
    offsets: [i32; 17],
    symbols: [u8; 256],
}

impl HuffmanTable {
    /// From the number of codes of each length, and the symbols in code order (T.81, annex C).
    pub fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, Damage> {
        const WRONG: Damage = "a Huffman table is wrong";
        let mut table = Self {
            entries: [HuffmanEntry::PARTIAL; 1 << AHEAD],
            codes: [(0, 0); 1 << AHEAD],
            limits: [0; 17],
            offsets: [0; 17],
            symbols: [0; 256],
        };
        table.symbols.get_mut(..symbols.len()).ok_or(WRONG)?.copy_from_slice(symbols);
        let (mut code, mut place) = (0u32, 0usize);
        for length in 1..=16u32 {
            table.offsets[length as usize] = place as i32 - code as i32;
            for _ in 0..counts[length as usize - 1] {
                if code >> length != 0 || place == symbols.len() {
                    return Err(WRONG);
                }
                if length <= AHEAD {
                    let first = (code << (AHEAD - length)) as usize;
                    for ahead in first..first + (1 << (AHEAD - length)) {
                        table.codes[ahead] = (length as u8, symbols[place]);
                        table.entries[ahead] = entry(ahead as u32, length, symbols[place]);
                    }
                }
                code += 1;
                place += 1;
            }
            // No code consists of ones only (T.81, C.2).
            if counts[length as usize - 1] > 0 && code >> length != 0 {
                return Err(WRONG);
            }
            table.limits[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Ok(table)
    }

    #[inline(always)]
    pub fn look_up(&self, bits: &BitReader) -> HuffmanEntry {
        self.entries[bits.peek(AHEAD)]
    }

    /// The next symbol.
    #[inline(always)]
    pub fn symbol(&self, bits: &mut BitReader) -> Result<u8, Damage> {
        let (length, symbol) = self.codes[bits.peek(AHEAD)];
        if length != 0 {
            bits.skip(length.into());
            return Ok(symbol);
        }
        let code = bits.peek(16) as u32;
        let length = (AHEAD + 1..=16).find(|length| code < self.limits[*length as usize]);
        let length = length.ok_or("a scan has a code that is in no table")?;
        bits.skip(length);
        let place = (code >> (16 - length)) as i32 + self.offsets[length as usize];
        Ok(self.symbols[place as usize & 0xFF])
    }
}

/// The entry of the next bits, if they contain the code and its value.
fn entry(ahead: u32, length: u32, symbol: u8) -> HuffmanEntry {
    let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
    let bits = length + size;
    match (run, size) {
        (0, 0) => HuffmanEntry(length | HuffmanEntry::END << 8),
        (_, 0) => HuffmanEntry::PARTIAL,
        _ if bits > AHEAD => HuffmanEntry::PARTIAL,
        _ => {
            let value = extend(((ahead >> (AHEAD - bits)) & ((1 << size) - 1)) as i32, size);
            HuffmanEntry(bits | run << 8 | (value as u32) << 16)
        }
    }
}
