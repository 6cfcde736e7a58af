//! One immutable file of rows, named by the digest of its bytes.
//!
//! Little-endian: magic; type (0 is f32, 1 is bf16) and rank as u32; the shape of a row, the number of keys and
//! the number of rows as u64; for each key its 32 bytes and its row number as u64, all ones if it has no row;
//! zero padding to a multiple of 64; the rows.
//!
//! A row of several tensors stores them one after the other. Such a file has a different magic and the number of
//! tensors instead of the rank. Instead of the shape, it has the rank and the shape of each tensor, all as u64.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use half::bf16;
use memmap2::Mmap;

use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::pipeline::FeatureType;
use crate::store::disk;

const MAGIC: &[u8; 16] = b"defrost rows 1\n\0";
const MAGIC_OF_SEVERAL: &[u8; 16] = b"defrost rows 2\n\0";
const SUFFIX: &str = ".rows";
/// The row number of a key without a row: its image cannot be read.
const UNREADABLE: u64 = u64::MAX;
/// Rows begin on cache lines.
const ALIGNMENT: usize = 64;
const KEY: usize = 40;

/// The shape of each tensor of a row.
pub(super) type Shapes = Vec<Vec<usize>>;

/// Rows to write.
pub struct SegmentWriter {
    kind: FeatureType,
    shapes: Option<Shapes>,
    keys: Vec<(Digest, u64)>,
    count: u64,
    bytes: Vec<u8>,
}

impl SegmentWriter {
    pub(super) fn new(kind: FeatureType) -> Self {
        Self { kind, shapes: None, keys: Vec::new(), count: 0, bytes: Vec::new() }
    }

    /// The size of the rows so far.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds the rows of `features`, [N, …] in f32, one per key. Row i has the i-th values of every tensor.
    pub fn push(&mut self, keys: &[Digest], features: &[Tensor]) -> Result<()> {
        let shapes: Shapes = features.iter().map(|tensor| tensor.dims()[1..].to_vec()).collect();
        let rows = |tensor: &Tensor| tensor.dims()[0] == keys.len();
        if !features.iter().all(rows) || self.shapes.get_or_insert_with(|| shapes.clone()) != &shapes {
            return Err(Error::bug("features of another shape than those before"));
        }
        let numbers = features.iter().map(numbers).collect::<Result<Vec<_>>>()?;
        let widths: Vec<usize> = shapes.iter().map(|shape| shape.iter().product()).collect();
        self.bytes.reserve(keys.len() * widths.iter().sum::<usize>() * self.kind.bytes());
        for row in 0..keys.len() {
            for (numbers, &width) in numbers.iter().zip(&widths) {
                self.push_numbers(&numbers[row * width..][..width]);
            }
        }
        self.keys.extend(keys.iter().copied().zip(self.count..));
        self.count += keys.len() as u64;
        Ok(())
    }

    fn push_numbers(&mut self, numbers: &[f32]) {
        for number in numbers {
            match self.kind {
                FeatureType::F32 => self.bytes.extend_from_slice(&number.to_le_bytes()),
                FeatureType::Bf16 => self.bytes.extend_from_slice(&bf16::from_f32(*number).to_le_bytes()),
            }
        }
    }

    /// Records that the image of a key cannot be read.
    pub fn push_unreadable(&mut self, key: Digest) {
        self.keys.push((key, UNREADABLE));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Writes the file into `folder` atomically and durably. If the same rows exist already, the file is replaced by an
    /// equal one. `shapes` are those of a row, for a file that only records unreadable images.
    pub(super) fn write(&self, folder: &Path, shapes: &[Vec<usize>]) -> Result<PathBuf> {
        let shapes = self.shapes.as_deref().unwrap_or(shapes);
        let (magic, count, numbers) = match shapes {
            [shape] => (MAGIC, shape.len(), shape.clone()),
            several => {
                let numbers = several.iter().flat_map(|shape| [&[shape.len()], &shape[..]].concat());
                (MAGIC_OF_SEVERAL, several.len(), numbers.collect())
            }
        };
        let mut head = magic.to_vec();
        head.extend((self.kind as u32).to_le_bytes());
        head.extend((count as u32).to_le_bytes());
        for number in numbers.iter().map(|number| *number as u64).chain([self.keys.len() as u64, self.count])
        {
            head.extend(number.to_le_bytes());
        }
        for (key, row) in &self.keys {
            head.extend(key.as_bytes());
            head.extend(row.to_le_bytes());
        }
        head.resize(head.len().next_multiple_of(ALIGNMENT), 0);
        let mut hasher = Hasher::default();
        hasher.update(&head);
        hasher.update(&self.bytes);
        let path = folder.join(format!("{}{SUFFIX}", hasher.finish()));
        let write = || {
            fs::create_dir_all(folder)?;
            let mut file = disk::unfinished_file(folder)?;
            file.write_all(&head)?;
            file.write_all(&self.bytes)?;
            let mut permissions = file.as_file().metadata()?.permissions();
            permissions.set_readonly(true);
            file.as_file().set_permissions(permissions)?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            disk::sync_folder(folder)
        };
        write().map_err(|error| Error::io("write", &path, error))?;
        Ok(path)
    }
}

/// The digest in the name of a file of rows; `None` for other names.
pub(super) fn digest_of_name(name: &str) -> Option<Digest> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

/// A memory-mapped file of rows.
pub(super) struct Segment {
    map: Mmap,
    pub kind: FeatureType,
    pub shapes: Shapes,
    keys: usize,
    keys_at: usize,
    rows_at: usize,
    row_bytes: usize,
}

impl Segment {
    /// Maps a file. The caller has verified that its bytes match its name.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |error| Error::io("read", path, error);
        let file = File::open(path).map_err(failed)?;
        // SAFETY: the file is read-only and got its name when it was complete; no process writes to it, and a
        // removed file stays while it is mapped.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        Self::parse(map).ok_or_else(|| failed(io::Error::other("not a file of features")))
    }

    fn parse(map: Mmap) -> Option<Self> {
        let several = map.starts_with(MAGIC_OF_SEVERAL);
        let mut rest = map.strip_prefix(if several { MAGIC_OF_SEVERAL } else { MAGIC })?;
        let kind = match take_u32(&mut rest)? {
            0 => FeatureType::F32,
            1 => FeatureType::Bf16,
            _ => return None,
        };
        let count = take_u32(&mut rest)? as usize;
        let shapes = match several {
            false => vec![take_shape(&mut rest, count)?],
            true => (0..count)
                .map(|_| take(&mut rest).and_then(|rank| take_shape(&mut rest, rank)))
                .collect::<Option<_>>()?,
        };
        let (keys, rows) = (take(&mut rest)?, take(&mut rest)?);
        let row_bytes = row_numbers(&shapes)?.checked_mul(kind.bytes())?;
        let keys_at = map.len() - rest.len();
        let rows_at = keys.checked_mul(KEY)?.checked_add(keys_at)?.checked_next_multiple_of(ALIGNMENT)?;
        let whole = rows.checked_mul(row_bytes)?.checked_add(rows_at)? == map.len();
        let segment = Self { map, kind, shapes, keys, keys_at, rows_at, row_bytes };
        (whole && segment.keys().all(|(_, row)| row.is_none_or(|row| (row as usize) < rows)))
            .then_some(segment)
    }

    /// Every key with its row number.
    pub fn keys(&self) -> impl Iterator<Item = (Digest, Option<u32>)> {
        self.map[self.keys_at..][..self.keys * KEY].chunks_exact(KEY).map(|entry| {
            let (key, row) = entry.split_at(32);
            let row = u64::from_le_bytes(row.try_into().expect("eight of forty bytes"));
            let row = (row != UNREADABLE).then(|| u32::try_from(row).unwrap_or(u32::MAX));
            (Digest::from_bytes(key.try_into().expect("32 of forty bytes")), row)
        })
    }

    /// Copies values of a row, starting at value `first`, widened to f32.
    pub fn read(&self, row: u32, first: usize, numbers: &mut [f32]) {
        let bytes = &self.map[self.rows_at + row as usize * self.row_bytes..][..self.row_bytes];
        let bytes = &bytes[first * self.kind.bytes()..];
        match self.kind {
            FeatureType::F32 => {
                for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *number = f32::from_le_bytes(*bytes);
                }
            }
            FeatureType::Bf16 => {
                for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *number = bf16::from_le_bytes(*bytes).to_f32();
                }
            }
        }
    }
}

/// The numbers of a tensor.
fn numbers(features: &Tensor) -> Result<Vec<f32>> {
    match features.dtype() {
        DType::F32 => Ok(features.flatten_all()?.to_vec1()?),
        other => Err(Error::bug(format!("features of {other:?} numbers"))),
    }
}

/// The number of values in a row; `None` if it overflows.
fn row_numbers(shapes: &[Vec<usize>]) -> Option<usize> {
    let numbers = |shape: &Vec<usize>| shape.iter().try_fold(1usize, |all, side| all.checked_mul(*side));
    shapes.iter().try_fold(0usize, |all, shape| all.checked_add(numbers(shape)?))
}

fn take_shape(rest: &mut &[u8], rank: usize) -> Option<Vec<usize>> {
    (0..rank).map(|_| take(rest)).collect()
}

fn take(rest: &mut &[u8]) -> Option<usize> {
    let (head, after) = rest.split_first_chunk()?;
    *rest = after;
    usize::try_from(u64::from_le_bytes(*head)).ok()
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    let (head, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_le_bytes(*head))
}
