//! The fields of a TIFF directory.

use super::{CUT_OFF, damaged};

/// The tags that are read (TIFF 6.0, section 8, and later supplements).
pub mod tag {
    pub const KIND: u16 = 254;
    pub const WIDTH: u16 = 256;
    pub const HEIGHT: u16 = 257;
    pub const BITS: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const FILL_ORDER: u16 = 266;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const CHANNELS: u16 = 277;
    pub const ROWS_PER_STRIP: u16 = 278;
    pub const STRIP_BYTES: u16 = 279;
    pub const PLANAR: u16 = 284;
    pub const PREDICTOR: u16 = 317;
    pub const PALETTE: u16 = 320;
    pub const TILE_WIDTH: u16 = 322;
    pub const TILE_HEIGHT: u16 = 323;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_BYTES: u16 = 325;
    pub const EXTRA_SAMPLES: u16 = 338;
    pub const SAMPLE_FORMAT: u16 = 339;
    /// Of Adobe's *Digital Negative*, which cameras and converters of raw files write.
    pub const DNG_VERSION: u16 = 50706;
}

/// Bits of the kind of a picture: a smaller copy of another, a mask.
const REDUCED: u32 = 1;
const MASK: u32 = 4;
/// More copies than halving a picture gives.
const MOST_COPIES: usize = 32;

/// A directory of a file.
pub struct Directory<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    /// The entries: twelve bytes each.
    entries: &'a [[u8; 12]],
    /// Where the next directory is; 0 if there is none.
    next: u32,
}

impl<'a> Directory<'a> {
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let big_endian = bytes.starts_with(b"MM");
        let start = bytes.get(4..).and_then(<[u8]>::first_chunk).ok_or(CUT_OFF)?;
        Self::at(bytes, big_endian, long(big_endian, *start))
    }

    fn at(bytes: &'a [u8], big_endian: bool, start: u32) -> Result<Self, String> {
        let (count, rest) = bytes.get(start as usize..).and_then(<[u8]>::split_first_chunk).ok_or(CUT_OFF)?;
        let count = usize::from(short(big_endian, *count));
        let (entries, rest) = rest.split_at_checked(12 * count).ok_or(CUT_OFF)?;
        // Some writers leave out the place of the next directory.
        let next = rest.first_chunk().map_or(0, |next| long(big_endian, *next));
        Ok(Self { bytes, big_endian, entries: entries.as_chunks().0, next })
    }

    /// Whether other directories hold pictures of their own. Smaller copies of the first one and masks are not.
    pub fn has_other_pages(&self) -> Result<bool, String> {
        let mut next = self.next;
        for _ in 0..MOST_COPIES {
            if next == 0 {
                return Ok(false);
            }
            let directory = Self::at(self.bytes, self.big_endian, next)?;
            if directory.number(tag::KIND, 0)? & (REDUCED | MASK) == 0 {
                return Ok(true);
            }
            next = directory.next;
        }
        Ok(true)
    }

    /// Whether this is a file of a camera: its first picture is a preview, or what a sensor measured.
    pub fn is_camera_raw(&self) -> Result<bool, String> {
        Ok(self.numbers(tag::DNG_VERSION)?.is_some() || self.number(tag::KIND, 0)? & REDUCED != 0)
    }

    pub fn is_big_endian(&self) -> bool {
        self.big_endian
    }

    /// The whole numbers of a field; `None` if there is no such field.
    ///
    /// # Errors
    /// A field of other values, or one that is not inside the file.
    pub fn numbers(&self, tag: u16) -> Result<Option<Vec<u32>>, String> {
        let is_asked = |entry: &&[u8; 12]| short(self.big_endian, [entry[0], entry[1]]) == tag;
        let Some(entry) = self.entries.iter().find(is_asked) else { return Ok(None) };
        let [_, _, kind0, kind1, count @ .., v0, v1, v2, v3] = *entry;
        let (kind, value) = (short(self.big_endian, [kind0, kind1]), [v0, v1, v2, v3]);
        let count = long(self.big_endian, count) as usize;
        let size = match kind {
            1 => 1,
            3 => 2,
            4 => 4,
            _ => return Err(damaged(&format!("its field {tag} is not a list of whole numbers"))),
        };
        let length = count.checked_mul(size).ok_or(CUT_OFF)?;
        let stored = if length <= 4 {
            &value[..length]
        } else {
            let start = long(self.big_endian, value) as usize;
            self.bytes.get(start..).and_then(|rest| rest.get(..length)).ok_or(CUT_OFF)?
        };
        let number = |bytes: &[u8]| match *bytes {
            [byte] => u32::from(byte),
            [a, b] => u32::from(short(self.big_endian, [a, b])),
            [a, b, c, d] => long(self.big_endian, [a, b, c, d]),
            _ => 0,
        };
        Ok(Some(stored.chunks_exact(size).map(number).collect()))
    }

    /// The first number of a field, or what it means if there is none.
    pub fn number(&self, tag: u16, otherwise: u32) -> Result<u32, String> {
        Ok(self.numbers(tag)?.and_then(|numbers| numbers.first().copied()).unwrap_or(otherwise))
    }

    /// A field that every file has.
    pub fn needed(&self, tag: u16, what: &str) -> Result<Vec<u32>, String> {
        let numbers = self.numbers(tag)?.filter(|numbers| !numbers.is_empty());
        numbers.ok_or_else(|| damaged(&format!("it does not say {what}")))
    }
}

fn short(big_endian: bool, bytes: [u8; 2]) -> u16 {
    if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
}

fn long(big_endian: bool, bytes: [u8; 4]) -> u32 {
    if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}
