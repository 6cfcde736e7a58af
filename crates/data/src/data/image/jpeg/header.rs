//! The marker segments of a file: tables, the frame, and scans (T.81, annex B).

use std::sync::Arc;

use super::huffman::HuffmanTable;
use super::inverse::Quantization;
use super::{CUT_OFF, Damage, standard};

/// The position of each coefficient in a block, in file order.
pub const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

pub const START_OF_SCAN: u8 = 0xDA;
pub const END_OF_IMAGE: u8 = 0xD9;
const EXIF: &[u8] = b"Exif\0\0";

/// The colour space of the components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colors {
    Grey,
    Rgb,
    /// Luma and two chroma components, as in JFIF.
    Ycc,
    /// Inverted, as Adobe writes it.
    Cmyk,
    /// CMYK with the first three components converted to luma and chroma.
    Ycck,
}

/// A component of the frame header.
#[derive(Clone, Copy, Debug)]
pub struct Component {
    pub id: u8,
    /// Sampling factors, 1 to 4.
    pub across: usize,
    pub down: usize,
    pub quantization: usize,
}

/// The frame header.
#[derive(Clone, Debug)]
pub struct Frame {
    pub width: usize,
    pub height: usize,
    pub progressive: bool,
    pub components: Vec<Component>,
    pub colors: Colors,
}

/// The current tables at a position of the file.
#[derive(Clone, Default)]
pub struct DecodeTables {
    pub quantization: [Option<Quantization>; 4],
    pub dc: [Option<Arc<HuffmanTable>>; 4],
    pub ac: [Option<Arc<HuffmanTable>>; 4],
    /// Units between restart markers; none if 0.
    pub restart_interval: usize,
}

/// A scan header: components with their DC and AC tables, the band of coefficients, and their bits.
pub struct Scan {
    pub components: Vec<(usize, usize, usize)>,
    pub start: usize,
    pub end: usize,
    pub high: u8,
    pub low: u8,
}

/// The segments from a position.
#[derive(Clone)]
pub struct Segments<'a> {
    pub bytes: &'a [u8],
    pub position: usize,
}

impl<'a> Segments<'a> {
    /// The next marker with the content of its segment.
    ///
    /// Skips bytes before a marker, as libjpeg does: cameras and editors leave some there.
    pub fn next(&mut self) -> Result<(u8, &'a [u8]), Damage> {
        let marker = self.marker()?;
        if is_bare(marker) {
            return Ok((marker, &[]));
        }
        let rest = &self.bytes[self.position..];
        let &length = rest.first_chunk::<2>().ok_or(CUT_OFF)?;
        let length = usize::from(u16::from_be_bytes(length));
        if length < 2 {
            // The length includes its own two bytes. A smaller one is invalid and cannot be skipped.
            self.position += 2;
            return if is_passed_over(marker) { Ok((marker, &[])) } else { Err("a segment has no length") };
        }
        let content = rest.get(2..length).ok_or(CUT_OFF)?;
        self.position += length;
        Ok((marker, content))
    }

    fn marker(&mut self) -> Result<u8, Damage> {
        loop {
            let rest = self.bytes.get(self.position..).unwrap_or_default();
            let start = rest.iter().position(|byte| *byte == 0xFF).ok_or(CUT_OFF)?;
            let fill = rest[start..].iter().position(|byte| *byte != 0xFF).ok_or(CUT_OFF)?;
            self.position += start + fill + 1;
            // In entropy-coded data, 0xFF is followed by a zero.
            match rest[start + fill] {
                0 => {}
                marker => return Ok(marker),
            }
        }
    }
}

/// Whether a marker has no segment.
fn is_bare(marker: u8) -> bool {
    matches!(marker, 0x01 | 0xD0..=0xD9)
}

/// Whether a segment does not affect pixels, except for the colour space in APP0 and APP14.
fn is_passed_over(marker: u8) -> bool {
    matches!(marker, 0xE0..=0xEF | 0xFE)
}

/// Everything before the first scan.
pub struct Header<'a> {
    pub frame: Frame,
    pub tables: DecodeTables,
    pub exif: Option<&'a [u8]>,
    /// The position of the first scan header.
    pub scans: Segments<'a>,
}

impl<'a> Header<'a> {
    pub fn read(bytes: &'a [u8]) -> Result<Self, Damage> {
        let mut segments = Segments { bytes, position: 2 };
        let (mut tables, mut frame, mut exif) = (DecodeTables::default(), None, None);
        let (mut jfif, mut adobe) = (false, None);
        loop {
            let before = segments.clone();
            let (marker, content) = segments.next()?;
            match marker {
                START_OF_SCAN => {
                    let mut frame: Frame = frame.ok_or("it has no frame")?;
                    frame.colors = colors(&frame.components, jfif, adobe)?;
                    if !frame.progressive {
                        tables.add_standard();
                    }
                    return Ok(Self { frame, tables, exif, scans: before });
                }
                END_OF_IMAGE => return Err("it has no picture"),
                0xC0..=0xC2 if frame.is_some() => return Err("it has two frames"),
                0xC0..=0xC2 => frame = Some(read_frame(content, marker == 0xC2)?),
                0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                    return Err("its kind of coding is not supported");
                }
                0xE0 => jfif |= content.starts_with(b"JFIF\0") && content.len() >= 14,
                0xE1 if exif.is_none() => exif = content.strip_prefix(EXIF),
                0xEE if content.starts_with(b"Adobe") && content.len() >= 12 => adobe = Some(content[11]),
                _ => tables.read(marker, content)?,
            }
        }
    }
}

impl DecodeTables {
    /// The tables of T.81, annex K, if the file has none: frames of motion JPEG, such as those of webcams, omit
    /// them.
    fn add_standard(&mut self) {
        for (place, [dc, ac]) in standard::tables().into_iter().enumerate() {
            self.dc[place].get_or_insert(dc);
            self.ac[place].get_or_insert(ac);
        }
    }

    /// Reads a segment that may appear between scans; comments and similar segments are skipped.
    pub fn read(&mut self, marker: u8, content: &[u8]) -> Result<(), Damage> {
        match marker {
            0xDB => self.read_quantization(content),
            0xC4 => self.read_huffman(content),
            0xDD => {
                let &[high, low] = content else { return Err("a restart interval is wrong") };
                self.restart_interval = u16::from_be_bytes([high, low]).into();
                Ok(())
            }
            // A line count, and stray restart markers, have no effect.
            0xDC | 0xD0..=0xD7 => Ok(()),
            _ if is_passed_over(marker) => Ok(()),
            _ => Err("it has a marker where none belongs"),
        }
    }

    fn read_quantization(&mut self, mut content: &[u8]) -> Result<(), Damage> {
        const WRONG: Damage = "a quantisation table is wrong";
        while let Some((&first, rest)) = content.split_first() {
            let (wide, table) = (usize::from(first >> 4), self.quantization.get_mut(usize::from(first & 15)));
            let (values, rest) = rest.split_at_checked(64 * (wide + 1)).filter(|_| wide < 2).ok_or(WRONG)?;
            let mut quantization = [0; 64];
            for (value, place) in values.chunks_exact(wide + 1).zip(ZIGZAG) {
                quantization[usize::from(place)] =
                    value.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte));
            }
            *table.ok_or(WRONG)? = Some(quantization);
            content = rest;
        }
        Ok(())
    }

    fn read_huffman(&mut self, mut content: &[u8]) -> Result<(), Damage> {
        const WRONG: Damage = "a Huffman table is wrong";
        while let Some((&first, rest)) = content.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(WRONG)?;
            let total = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(total).ok_or(WRONG)?;
            let tables = match first >> 4 {
                0 if symbols.iter().all(|symbol| *symbol < 16) => &mut self.dc,
                1 => &mut self.ac,
                _ => return Err(WRONG),
            };
            let table = tables.get_mut(usize::from(first & 15)).ok_or(WRONG)?;
            *table = Some(Arc::new(HuffmanTable::new(counts, symbols)?));
            content = rest;
        }
        Ok(())
    }
}

impl Scan {
    pub fn read(content: &[u8], frame: &Frame) -> Result<Self, Damage> {
        const WRONG: Damage = "a scan header is wrong";
        let (&count, rest) = content.split_first().ok_or(WRONG)?;
        let (named, rest) = rest.split_at_checked(2 * usize::from(count)).ok_or(WRONG)?;
        let &[start, end, bits] = rest else { return Err(WRONG) };
        let mut components: Vec<(usize, usize, usize)> = Vec::new();
        for (number, pair) in named.chunks_exact(2).enumerate() {
            // Finds the component as libjpeg does, also if two have the same name.
            let mut places = number..frame.components.len();
            let place = places.find(|place| frame.components[*place].id == pair[0]).ok_or(WRONG)?;
            let twice = components.iter().any(|component| component.0 == place);
            if twice || pair[1] >> 4 > 3 || pair[1] & 15 > 3 {
                return Err(WRONG);
            }
            components.push((place, usize::from(pair[1] >> 4), usize::from(pair[1] & 15)));
        }
        // A unit has at most ten blocks (T.81, B.2.3).
        let blocks = |&(place, ..): &(usize, usize, usize)| {
            frame.components[place].across * frame.components[place].down
        };
        if components.is_empty() || components.len() > 1 && components.iter().map(blocks).sum::<usize>() > 10
        {
            return Err(WRONG);
        }
        if !frame.progressive {
            // Some cameras write zeros here; a sequential scan always has all coefficients.
            return Ok(Self { components, start: 0, end: 63, high: 0, low: 0 });
        }
        let scan = Self { components, start: start.into(), end: end.into(), high: bits >> 4, low: bits & 15 };
        let banded = scan.start <= scan.end
            && scan.end < 64
            && scan.low < 14
            && (scan.high == 0 || scan.high == scan.low + 1)
            && if scan.start == 0 { scan.end == 0 } else { scan.components.len() == 1 };
        if banded { Ok(scan) } else { Err(WRONG) }
    }
}

fn read_frame(content: &[u8], progressive: bool) -> Result<Frame, Damage> {
    const WRONG: Damage = "its frame is wrong";
    let (&[precision, h1, h0, w1, w0, count], rest) = content.split_first_chunk::<6>().ok_or(WRONG)?;
    if precision != 8 {
        return Err("its samples are not of 8 bits");
    }
    if ![1, 3, 4].contains(&count) {
        return Err("it has neither one, three nor four components");
    }
    if rest.len() != 3 * usize::from(count) {
        return Err(WRONG);
    }
    let mut components: Vec<Component> = Vec::new();
    for part in rest.chunks_exact(3) {
        let (across, down) = (usize::from(part[1] >> 4), usize::from(part[1] & 15));
        if !(1..=4).contains(&across) || !(1..=4).contains(&down) || part[2] > 3 {
            return Err(WRONG);
        }
        components.push(Component { id: part[0], across, down, quantization: part[2].into() });
    }
    if let [only] = &mut components[..] {
        // A scan of one component has one block per unit, for all sampling factors.
        (only.across, only.down) = (1, 1);
    }
    let (width, height) = (u16::from_be_bytes([w1, w0]).into(), u16::from_be_bytes([h1, h0]).into());
    if width == 0 || height == 0 {
        return Err("its frame has no size");
    }
    Ok(Frame { width, height, progressive, components, colors: Colors::Grey })
}

/// Determines the colour space as libjpeg does: by JFIF's and Adobe's markers, else by the components' names.
fn colors(components: &[Component], jfif: bool, adobe: Option<u8>) -> Result<Colors, Damage> {
    let ids: Vec<u8> = components.iter().map(|component| component.id).collect();
    Ok(match (ids.len(), adobe) {
        (1, _) => Colors::Grey,
        (3, _) if jfif => Colors::Ycc,
        (3, Some(0)) => Colors::Rgb,
        (3, None) if ids == *b"RGB" => Colors::Rgb,
        (3, _) => Colors::Ycc,
        (_, Some(0) | None) => Colors::Cmyk,
        (_, _) => Colors::Ycck,
    })
}
