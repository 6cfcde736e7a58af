//! Decodes coefficients of the blocks of a scan (T.81, annexes F and G).

use super::Damage;
use super::bits::BitReader;
use super::header::ZIGZAG;
use super::huffman::HuffmanTable;
use super::inverse::Block;

const BEYOND: Damage = "a block has too many coefficients";

/// Reads a block of a sequential scan into zeros. Returns whether only the first coefficient may be non-zero.
#[inline(always)]
pub fn sequential(
    bits: &mut BitReader,
    dc: &HuffmanTable,
    ac: &HuffmanTable,
    predicted: &mut i32,
    block: &mut Block,
) -> Result<bool, Damage> {
    bits.refill()?;
    let entry = dc.look_up(bits);
    let difference = if entry.is_whole() {
        bits.skip(entry.bits());
        i32::from(entry.value())
    } else {
        let size = dc.symbol(bits)?;
        bits.signed(size.into())
    };
    *predicted = predicted.wrapping_add(difference);
    block[0] = *predicted as i16;
    let mut place = 1;
    loop {
        bits.refill()?;
        let mut entry = ac.look_up(bits);
        if entry.is_whole() && !entry.is_end() {
            // Most codes fit the look-up table. One refill has bits for a code from the table and one from
            // outside it, so the loop reads two codes per refill: refilling is a large part of decoding.
            bits.skip(entry.bits());
            place += entry.run();
            *block.get_mut(usize::from(*ZIGZAG.get(place).ok_or(BEYOND)?)).ok_or(BEYOND)? = entry.value();
            place += 1;
            if place == 64 {
                return Ok(false);
            }
            entry = ac.look_up(bits);
        }
        if entry.is_whole() {
            bits.skip(entry.bits());
            if entry.is_end() {
                return Ok(place == 1);
            }
            place += entry.run();
            block[usize::from(*ZIGZAG.get(place).ok_or(BEYOND)?) & 63] = entry.value();
        } else {
            let symbol = ac.symbol(bits)?;
            let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            match (run, size) {
                (0, 0) => return Ok(place == 1),
                (15, 0) => place += 15,
                (_, 0) => return Err("a scan has a code that means nothing"),
                _ => {
                    place += run;
                    block[usize::from(*ZIGZAG.get(place).ok_or(BEYOND)?) & 63] = bits.signed(size) as i16;
                }
            }
        }
        place += 1;
        if place >= 64 {
            return if place == 64 { Ok(false) } else { Err(BEYOND) };
        }
    }
}

/// A band of coefficients of a progressive scan, and the number of following blocks without coefficients in it.
pub struct Band {
    pub start: usize,
    pub end: usize,
    pub low: u8,
    pub ended: u32,
}

/// Reads the first bits of a first coefficient.
pub fn dc_first(
    bits: &mut BitReader,
    dc: &HuffmanTable,
    predicted: &mut i32,
    low: u8,
    block: &mut Block,
) -> Result<(), Damage> {
    bits.refill()?;
    let size = dc.symbol(bits)?;
    *predicted = predicted.wrapping_add(bits.signed(size.into()));
    block[0] = (*predicted << low) as i16;
    Ok(())
}

/// Reads one more bit of a first coefficient.
pub fn dc_refine(bits: &mut BitReader, low: u8, block: &mut Block) -> Result<(), Damage> {
    bits.refill()?;
    block[0] |= (bits.take(1) << low) as i16;
    Ok(())
}

/// Reads the first bits of a band.
pub fn ac_first(
    bits: &mut BitReader,
    ac: &HuffmanTable,
    band: &mut Band,
    block: &mut Block,
) -> Result<(), Damage> {
    if band.ended > 0 {
        band.ended -= 1;
        return Ok(());
    }
    let mut place = band.start;
    while place <= band.end {
        bits.refill()?;
        let symbol = ac.symbol(bits)?;
        let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        if size > 0 {
            place += run;
            if place > band.end {
                return Err(BEYOND);
            }
            block[usize::from(ZIGZAG[place])] = (bits.signed(size) << band.low) as i16;
        } else if run < 15 {
            band.ended = (1 << run) - 1 + bits.take(run as u32) as u32;
            return Ok(());
        } else {
            place += 15;
        }
        place += 1;
    }
    Ok(())
}

/// Reads one more bit of a band: a correction for each non-zero coefficient, and new coefficients between them
/// (T.81, G.1.2.3).
pub fn ac_refine(
    bits: &mut BitReader,
    ac: &HuffmanTable,
    band: &mut Band,
    block: &mut Block,
) -> Result<(), Damage> {
    let bit = 1i16 << band.low;
    let mut place = band.start;
    while band.ended == 0 && place <= band.end {
        bits.refill()?;
        let symbol = ac.symbol(bits)?;
        let (mut run, size) = (usize::from(symbol >> 4), symbol & 15);
        let mut new = 0;
        match size {
            1 => new = if bits.take(1) == 1 { bit } else { -bit },
            0 if run < 15 => {
                band.ended = (1 << run) + bits.take(run as u32) as u32;
                break;
            }
            0 => {}
            _ => return Err("a scan has a code that means nothing"),
        }
        // Corrects non-zero coefficients on the way, and skips as many zeros as the run says.
        while place <= band.end {
            let coefficient = &mut block[usize::from(ZIGZAG[place])];
            if *coefficient != 0 {
                correct(bits, bit, coefficient)?;
            } else if run == 0 {
                *coefficient = new;
                break;
            } else {
                run -= 1;
            }
            place += 1;
        }
        if place > band.end && new != 0 {
            return Err(BEYOND);
        }
        place += 1;
    }
    if band.ended > 0 {
        for place in place..=band.end {
            let coefficient = &mut block[usize::from(ZIGZAG[place])];
            if *coefficient != 0 {
                correct(bits, bit, coefficient)?;
            }
        }
        band.ended -= 1;
    }
    Ok(())
}

fn correct(bits: &mut BitReader, bit: i16, coefficient: &mut i16) -> Result<(), Damage> {
    bits.refill()?;
    if bits.take(1) == 1 && *coefficient & bit == 0 {
        *coefficient = coefficient.wrapping_add(if *coefficient < 0 { -bit } else { bit });
    }
    Ok(())
}
