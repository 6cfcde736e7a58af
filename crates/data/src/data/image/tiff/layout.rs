//! What the directory of a TIFF file says of its samples, and where they are.

use super::damaged;
use super::directory::{Directory, tag};
use crate::data::image::decode::check_pixels;
use crate::data::image::{OtherFormat, Region};

/// The most channels: more than hyperspectral cameras have.
const MOST_CHANNELS: u32 = 64;
/// The longest side, as for PNG.
const LONGEST_SIDE: u32 = 1_000_000;

/// The type of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleKind {
    /// Up to 8 bits, without a sign.
    Bits(u32),
    U16,
    F16,
    F32,
}

impl SampleKind {
    pub fn bits(self) -> usize {
        match self {
            Self::Bits(bits) => bits as usize,
            Self::U16 | Self::F16 => 16,
            Self::F32 => 32,
        }
    }
}

/// What samples mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Photometric {
    WhiteIsZero,
    BlackIsZero,
    Rgb,
    /// All reds, then all greens and blues, of 16 bits each.
    Palette(Vec<u16>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Lzw,
    Deflate,
    PackBits,
}

impl Compression {
    /// The most bytes that one compressed byte can become.
    fn best(self) -> u64 {
        match self {
            Self::None => 1,
            // 4096 bytes by 12 bits.
            Self::Lzw => 2731,
            Self::Deflate => 1032,
            Self::PackBits => 64,
        }
    }
}

/// How samples differ from stored numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predictor {
    None,
    /// Each is the difference to its left neighbour.
    Horizontal,
    /// As `Horizontal`, on the bytes of floats, sorted by significance.
    Float,
}

pub struct Layout {
    pub width: u32,
    pub height: u32,
    pub channels: usize,
    pub kind: SampleKind,
    pub big_endian: bool,
    pub photometric: Photometric,
    pub compression: Compression,
    pub predictor: Predictor,
    /// Whether the lowest bit of a byte comes first.
    pub reversed_bits: bool,
    /// Whether colours are already multiplied with the transparency.
    pub premultiplied: bool,
    has_alpha: bool,
    planar: bool,
    /// Width and height of a strip or tile.
    chunk: (u32, u32),
    /// Whether chunks at the edges are as large as the others.
    tiled: bool,
    /// Start and length of each strip or tile, all of the first plane first.
    places: Vec<(usize, usize)>,
}

/// A strip or tile.
pub struct Chunk {
    pub place: (usize, usize),
    /// The pixels of the picture in it.
    pub area: Region,
    /// The first channel in it, and the number of channels.
    pub plane: usize,
    pub samples: usize,
    /// The bytes of a row, with pixels beyond the picture's edge.
    pub row_bytes: usize,
    /// The rows in the file.
    pub rows: usize,
}

impl Layout {
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let directory = Directory::read(bytes)?;
        if directory.is_camera_raw()?
            && let Some(raw) = OtherFormat::camera_raw()
        {
            return Err(format!("it is {} file; {}", raw.with_article(), raw.conversion()));
        }
        if directory.has_other_pages()? {
            return Err("it has several pages; save each as a file".into());
        }
        let [width, height] = [
            directory.needed(tag::WIDTH, "how wide it is")?[0],
            directory.needed(tag::HEIGHT, "how high it is")?[0],
        ];
        check_pixels(width, height)?;
        if width.max(height) > LONGEST_SIDE {
            return Err(format!(
                "its header says {width} × {height} pixels, and sides of more than {LONGEST_SIDE} are not decoded"
            ));
        }
        let channels = directory.number(tag::CHANNELS, 1)?;
        if !(1..=MOST_CHANNELS).contains(&channels) {
            return Err(format!("it has {channels} channels, and 1 to {MOST_CHANNELS} are read"));
        }
        let kind = kind(&directory)?;
        let photometric = photometric(&directory, channels, kind)?;
        let compression = compression(&directory)?;
        let predictor = predictor(&directory, kind)?;
        let color = if photometric == Photometric::Rgb { 3 } else { 1 };
        if channels < color {
            return Err(damaged(&format!("it has {channels} channels, too few for RGB")));
        }
        let extra = directory.numbers(tag::EXTRA_SAMPLES)?.unwrap_or_default();
        let has_alpha = channels == color + 1 && matches!(extra[..], [1 | 2]);
        let planar = match directory.number(tag::PLANAR, 1)? {
            1 => false,
            2 => channels > 1,
            other => return Err(damaged(&format!("its planar configuration is {other}"))),
        };
        let tiled = directory.numbers(tag::TILE_WIDTH)?.is_some();
        let (chunk, offsets, lengths) = if tiled {
            let side = |tag| Ok::<u32, String>(directory.needed(tag, "how large its tiles are")?[0]);
            (
                (side(tag::TILE_WIDTH)?, side(tag::TILE_HEIGHT)?),
                directory.needed(tag::TILE_OFFSETS, "where its tiles are")?,
                directory.needed(tag::TILE_BYTES, "how long its tiles are")?,
            )
        } else {
            let rows = directory.number(tag::ROWS_PER_STRIP, height)?.min(height);
            let offsets = directory.needed(tag::STRIP_OFFSETS, "where its strips are")?;
            let lengths = match directory.numbers(tag::STRIP_BYTES)? {
                Some(lengths) => lengths,
                // Old files have one strip to the end.
                None if offsets.len() == 1 => vec![(bytes.len() as u32).saturating_sub(offsets[0])],
                None => return Err(damaged("it does not say how long its strips are")),
            };
            ((width, rows), offsets, lengths)
        };
        if chunk.0 == 0 || chunk.1 == 0 || chunk.0.max(chunk.1) > LONGEST_SIDE {
            return Err(damaged(&format!("its strips or tiles have {} × {} pixels", chunk.0, chunk.1)));
        }
        let place = |(offset, length): (u32, u32)| {
            let (offset, length) = (offset as usize, length as usize);
            offset.checked_add(length).filter(|end| *end <= bytes.len()).map(|_| (offset, length))
        };
        let is_same = offsets.len() == lengths.len();
        let places: Option<Vec<_>> = offsets.into_iter().zip(lengths).map(place).collect();
        let layout = Self {
            width,
            height,
            channels: channels as usize,
            kind,
            big_endian: directory.is_big_endian(),
            photometric,
            compression,
            predictor,
            reversed_bits: directory.number(tag::FILL_ORDER, 1)? == 2,
            premultiplied: has_alpha && extra == [1],
            has_alpha,
            planar,
            chunk,
            tiled,
            places: places.ok_or(super::CUT_OFF)?,
        };
        layout.check(is_same, bytes.len())?;
        Ok(layout)
    }

    /// Returns an error if there are too few strips or tiles, or the file is too short for them.
    fn check(&self, is_same: bool, file: usize) -> Result<(), String> {
        let (across, down) = self.grid();
        let planes = if self.planar { self.channels } else { 1 };
        let expected = across as usize * down as usize * planes;
        if !is_same || self.places.len() != expected {
            let found = self.places.len();
            return Err(damaged(&format!("it has {found} strips or tiles, and {expected} are needed")));
        }
        let short = || {
            let (width, height) = (self.width, self.height);
            format!("its header says {width} × {height} pixels, more than its {file} bytes can hold")
        };
        let best = self.compression.best();
        let mut needed = 0u64;
        for chunk in self.chunks() {
            let bytes = chunk.row_bytes as u64 * chunk.rows as u64;
            if bytes > best * chunk.place.1 as u64 {
                return Err(short());
            }
            needed += bytes;
        }
        // Strips may share bytes, but not so many that a small file becomes a large picture.
        if needed > best * file as u64 { Err(short()) } else { Ok(()) }
    }

    /// The channel of the transparency.
    pub fn alpha(&self) -> Option<usize> {
        self.has_alpha.then(|| self.channels - 1)
    }

    /// Whether a person can see all channels: grey or RGB, with transparency or without. A fourth channel of RGB that
    /// is not transparency is left out, as in Pillow.
    pub fn has_shown_channels(&self) -> bool {
        matches!((self.channels, &self.photometric), (1 | 3, _) | (4, Photometric::Rgb)) || self.has_alpha
    }

    /// The number of strips or tiles across and down.
    fn grid(&self) -> (u32, u32) {
        (self.width.div_ceil(self.chunk.0), self.height.div_ceil(self.chunk.1))
    }

    /// The strips or tiles in the order of the file.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk> + '_ {
        let (across, down) = self.grid();
        let samples = if self.planar { 1 } else { self.channels };
        let row_bytes = (self.chunk.0 as usize * samples * self.kind.bits()).div_ceil(8);
        let chunk = move |(index, place): (usize, &(usize, usize))| {
            let per_plane = across as usize * down as usize;
            let (plane, index) = (index / per_plane, (index % per_plane) as u32);
            let (left, top) = (index % across * self.chunk.0, index / across * self.chunk.1);
            let (width, height) = (self.chunk.0.min(self.width - left), self.chunk.1.min(self.height - top));
            let rows = if self.tiled { self.chunk.1 } else { height } as usize;
            let area = Region { left, top, width, height };
            Chunk { place: *place, area, plane, samples, row_bytes, rows }
        };
        self.places.iter().enumerate().map(chunk)
    }
}

/// The type of the samples; all channels have the same.
fn kind(directory: &Directory) -> Result<SampleKind, String> {
    let same = |tag: u16, otherwise: u32, what: &str| {
        let numbers = directory.numbers(tag)?.filter(|numbers| !numbers.is_empty());
        let numbers = numbers.unwrap_or_else(|| vec![otherwise]);
        match numbers.iter().all(|number| *number == numbers[0]) {
            true => Ok(numbers[0]),
            false => Err(format!("its channels have different {what}, which is not read")),
        }
    };
    let bits = same(tag::BITS, 1, "depths")?;
    let unread = |what: &str| {
        Err(format!(
            "its values are {what} of {bits} bits, and 1, 2, 4, 8 or 16 bits or floats of 16 or 32 are read"
        ))
    };
    match (same(tag::SAMPLE_FORMAT, 1, "types")?, bits) {
        (1 | 4, 1 | 2 | 4 | 8) => Ok(SampleKind::Bits(bits)),
        (1 | 4, 16) => Ok(SampleKind::U16),
        (3, 16) => Ok(SampleKind::F16),
        (3, 32) => Ok(SampleKind::F32),
        (1 | 4, _) => unread("whole numbers"),
        (2, _) => unread("whole numbers with a sign"),
        (3, _) => unread("floats"),
        _ => unread("complex numbers"),
    }
}

fn photometric(directory: &Directory, channels: u32, kind: SampleKind) -> Result<Photometric, String> {
    let needs = "; save it as RGB or grey";
    match directory.number(tag::PHOTOMETRIC, 1)? {
        0 if matches!(kind, SampleKind::F16 | SampleKind::F32) => {
            Err(format!("white is zero in it, which floats do not define{needs}"))
        }
        0 => Ok(Photometric::WhiteIsZero),
        1 => Ok(Photometric::BlackIsZero),
        2 => Ok(Photometric::Rgb),
        3 => {
            let SampleKind::Bits(bits) = kind else { return Err(damaged("its palette is too large")) };
            let palette = directory.needed(tag::PALETTE, "the colours of its palette")?;
            if channels != 1 || palette.len() != 3 << bits {
                return Err(damaged("its palette has the wrong size"));
            }
            Ok(Photometric::Palette(palette.into_iter().map(|value| value as u16).collect()))
        }
        5 => Err(format!("its colours are CMYK, which is not read{needs}")),
        6 => Err(format!("its colours are YCbCr, which is not read{needs}")),
        8..=10 => Err(format!("its colours are CIE Lab, which is not read{needs}")),
        32803 => Err(format!("it is the raw mosaic of a camera, which is not read{needs}")),
        other => Err(format!("its colours are of kind {other}, which is not read{needs}")),
    }
}

fn compression(directory: &Directory) -> Result<Compression, String> {
    let name = match directory.number(tag::COMPRESSION, 1)? {
        1 => return Ok(Compression::None),
        5 => return Ok(Compression::Lzw),
        8 | 32946 => return Ok(Compression::Deflate),
        32773 => return Ok(Compression::PackBits),
        2..=4 => "fax".to_owned(),
        6 | 7 => "JPEG".to_owned(),
        34712 => "JPEG 2000".to_owned(),
        34887 => "LERC".to_owned(),
        34925 => "LZMA".to_owned(),
        50000 => "Zstandard".to_owned(),
        50001 => "WebP".to_owned(),
        other => format!("compression {other}"),
    };
    Err(format!(
        "it is compressed with {name}, which is not read; save it with LZW, Deflate or PackBits, or without"
    ))
}

fn predictor(directory: &Directory, kind: SampleKind) -> Result<Predictor, String> {
    match (directory.number(tag::PREDICTOR, 1)?, kind) {
        (1, _) => Ok(Predictor::None),
        (2, SampleKind::Bits(8) | SampleKind::U16 | SampleKind::F16 | SampleKind::F32) => {
            Ok(Predictor::Horizontal)
        }
        (3, SampleKind::F16 | SampleKind::F32) => Ok(Predictor::Float),
        (other, _) => Err(format!("its predictor {other} is not read for values of {} bits", kind.bits())),
    }
}
