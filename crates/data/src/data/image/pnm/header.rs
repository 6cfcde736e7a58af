//! The header of a PNM file: its kind, width, height and largest value, with comments between them.

use super::{CUT_OFF, damaged};
use crate::data::image::decode::check_pixels;
use crate::data::image::pnm::plain::Numbers;

/// The longest side, as for PNG.
const LONGEST_SIDE: u32 = 1_000_000;

pub struct Header {
    pub width: u32,
    pub height: u32,
    /// 1 or 3.
    pub channels: usize,
    /// The value of white: 1 in bitmaps, else 1 to 65535.
    pub largest: u16,
    pub is_bitmap: bool,
    /// Whether numbers are written in digits.
    pub is_text: bool,
}

impl Header {
    /// The header, and the bytes behind it.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8]), String> {
        let (kind, rest) = bytes.get(1..).and_then(<[u8]>::split_first).ok_or(CUT_OFF)?;
        match rest.first() {
            None => return Err(CUT_OFF.into()),
            Some(next) if !next.is_ascii_whitespace() && *next != b'#' => {
                return Err(damaged("its first line is not that of a PNM file"));
            }
            Some(_) => {}
        }
        let kind = kind - b'0';
        let is_bitmap = matches!(kind, 1 | 4);
        let mut numbers = Numbers::new(rest);
        let (width, height) = (numbers.side()?, numbers.side()?);
        check_pixels(width, height)?;
        if width.max(height) > LONGEST_SIDE {
            return Err(format!(
                "its header says {width} × {height} pixels, and sides of more than {LONGEST_SIDE} are not decoded"
            ));
        }
        let largest = if is_bitmap { 1 } else { numbers.next(u16::MAX)? };
        if largest == 0 {
            return Err(damaged("its largest value is 0"));
        }
        let is_text = kind < 4;
        let channels = if matches!(kind, 3 | 6) { 3 } else { 1 };
        let data = numbers.end_of_header();
        Ok((Self { width, height, channels, largest, is_bitmap, is_text }, data))
    }

    pub fn samples(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * self.channels as u64
    }

    /// The fewest bytes in which the picture can be written.
    pub fn least_bytes(&self) -> u64 {
        match (self.is_text, self.is_bitmap) {
            (true, true) => self.samples(),
            // A digit and a space, but for the last.
            (true, false) => 2 * self.samples() - 1,
            (false, true) => u64::from(self.width.div_ceil(8)) * u64::from(self.height),
            (false, false) => self.samples() * if self.largest < 256 { 1 } else { 2 },
        }
    }
}
