//! Safetensors files: the length of a JSON header, the header, and the values of all tensors.
//!
//! The header is checked while it is parsed in one pass, so a header of any size takes little time and memory.

use std::collections::BTreeMap;
use std::fmt;

use safetensors::Dtype;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::weights_file::{MAX_DIMENSIONS, MAX_TENSORS, TensorEntry, name_error, row_major};
use super::{DataType, shown};
use crate::error::{Error, Result};

/// The format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

#[derive(Default)]
pub(super) struct FileContents {
    pub entries: BTreeMap<String, TensorEntry>,
    pub metadata: BTreeMap<String, String>,
    /// The class names that a pickled module has.
    pub classes: Option<Vec<String>>,
}

/// The tensors and the metadata; `TensorEntry::bytes` are offsets in `file`.
///
/// # Errors
/// The header is damaged, or the tensors do not cover the rest of the file exactly.
pub(super) fn read(file: &[u8]) -> Result<FileContents> {
    let fail = |what: String| {
        Error::usage(format!("damaged safetensors file: {what}"))
            .hint("compare its size with the original's; it may be truncated")
    };
    let (length, rest) = file.split_first_chunk().ok_or_else(|| fail("it has no header".to_owned()))?;
    let length = u64::from_le_bytes(*length);
    if length > LONGEST_HEADER {
        return Err(fail(format!("its header has a length of {length} bytes, more than the format allows")));
    }
    let header = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let header = header
        .ok_or_else(|| fail(format!("its header has {length} bytes, but only {} are there", rest.len())))?;
    let start = 8 + header.len();

    let mut contents = FileContents::default();
    let mut json = serde_json::Deserializer::from_slice(header);
    let parsed = Header(&mut contents).deserialize(&mut json).and_then(|()| json.end());
    if let Err(error) = parsed {
        return Err(match contents.entries.len() {
            // It has one element more.
            MAX_TENSORS => Error::usage(format!("it holds more than {MAX_TENSORS} tensors"))
                .hint("save only the tensors of the network"),
            _ => fail(shown(&error.to_string())),
        });
    }
    place(&mut contents.entries, start, file.len()).map_err(fail)?;
    Ok(contents)
}

/// Converts the offsets to file positions, if there is neither gap nor overlap.
fn place(entries: &mut BTreeMap<String, TensorEntry>, start: usize, length: usize) -> Result<(), String> {
    let mut order: Vec<(&String, &mut TensorEntry)> = entries.iter_mut().collect();
    order.sort_by_key(|(_, entry)| (entry.bytes.start, entry.bytes.end));
    let mut end = start;
    for (name, entry) in order {
        let at = |offset: usize| start.checked_add(offset).filter(|&place| place <= length);
        let (Some(first), Some(last)) = (at(entry.bytes.start), at(entry.bytes.end)) else {
            return Err(format!("the data of `{name}` ends after the end of the file"));
        };
        if first != end || last < first {
            let what = if first < end { "overlap others" } else { "do not follow those before" };
            return Err(format!("the numbers of `{name}` {what}"));
        }
        entry.bytes = first..last;
        end = last;
    }
    match length - end {
        0 => Ok(()),
        more => Err(format!("{more} bytes belong to no tensor")),
    }
}

/// Parses the entries of the header one after the other.
struct Header<'c>(&'c mut FileContents);

impl<'de> DeserializeSeed<'de> for Header<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Header<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a table of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let FileContents { entries, metadata, .. } = self.0;
        let mut described = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                if std::mem::replace(&mut described, true) {
                    return Err(A::Error::custom("it has metadata twice"));
                }
                *metadata = map.next_value::<Option<_>>()?.unwrap_or_default();
                continue;
            }
            if let Some(fault) = name_error(&name) {
                return Err(A::Error::custom(fault));
            }
            if entries.len() == MAX_TENSORS {
                return Err(A::Error::custom("too many tensors"));
            }
            let entry = map
                .next_value::<TensorInfo>()?
                .entry()
                .map_err(|what| A::Error::custom(format!("the numbers of `{name}` {what}")))?;
            if entries.contains_key(&name) {
                return Err(A::Error::custom(format!("it has two tensors `{name}`")));
            }
            entries.insert(name, entry);
        }
        Ok(())
    }
}

/// A tensor in the header.
#[derive(Deserialize)]
struct TensorInfo {
    dtype: Dtype,
    shape: Shape,
    data_offsets: (usize, usize),
}

impl TensorInfo {
    /// The byte range, counted from the end of the header.
    fn entry(self) -> Result<TensorEntry, &'static str> {
        let Self { dtype, shape: Shape(shape), data_offsets: (start, end) } = self;
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        let bits = count.and_then(|count| count.checked_mul(dtype.bitsize()));
        if bits.is_none_or(|bits| bits % 8 != 0 || end.checked_sub(start) != Some(bits / 8)) {
            return Err("do not have the bytes that its shape and type take");
        }
        let dtype = match dtype {
            Dtype::F16 => DataType::F16,
            Dtype::BF16 => DataType::Bf16,
            Dtype::F32 => DataType::F32,
            Dtype::F64 => DataType::F64,
            Dtype::U8 => DataType::U8,
            Dtype::I8 => DataType::I8,
            Dtype::I16 => DataType::I16,
            Dtype::I32 => DataType::I32,
            Dtype::I64 => DataType::I64,
            other => DataType::Other(other.to_string().to_lowercase()),
        };
        let strides = row_major(&shape);
        Ok(TensorEntry { shape, dtype, bytes: start..end, strides })
    }
}

struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sizes;
        impl<'de> Visitor<'de> for Sizes {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "at most {MAX_DIMENSIONS} sizes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::new();
                while shape.len() < MAX_DIMENSIONS {
                    match sizes.next_element()? {
                        Some(size) => shape.push(size),
                        None => return Ok(Shape(shape)),
                    }
                }
                match sizes.next_element::<IgnoredAny>()? {
                    Some(_) => Err(A::Error::invalid_length(MAX_DIMENSIONS + 1, &self)),
                    None => Ok(Shape(shape)),
                }
            }
        }
        deserializer.deserialize_seq(Sizes)
    }
}
