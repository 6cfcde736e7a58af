//! Reads files written by `torch.save`, of state dicts and of modules: a pickle that names storages, parsed as data and
//! never executed.
//!
//! Since PyTorch 1.6 such a file is a zip archive with one uncompressed file per storage; before, the pickle and
//! the storages follow each other in one stream.

mod module;
mod state_dict;
mod storage;
mod tensor;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use self::state_dict::{Found, state_dict};
use self::tensor::Tensor;
use super::pickle::{self, Pickle, PickleError, PickleErrorKind};
use super::safetensors::FileContents;
use super::weights_file::{TensorEntry, row_major};
use super::{DataType, shown};
use crate::error::{Error, Result};

/// The pickled magic number at the start of files of PyTorch before 1.6.
pub(super) const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

const CURE: &str = "save only the state dict: `torch.save(model.state_dict(), \"weights.pth\")`";
const COMPARE: &str = "compare its size with the original's; it may be truncated";

/// The tensors of a zip archive; `TensorEntry::bytes` are offsets in `file`.
pub(super) fn zip(file: &[u8]) -> Result<FileContents> {
    let damaged = |error: zip::result::ZipError| {
        Error::usage(format!("damaged PyTorch archive: {error}")).hint(COMPARE)
    };
    let mut archive = ZipArchive::new(Cursor::new(file)).map_err(damaged)?;
    let (mut pickle, mut is_script) = (None, false);
    let mut members: BTreeMap<String, Range<usize>> = BTreeMap::new();
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).map_err(damaged)?;
        let name = member.name().map_err(damaged)?.into_owned();
        // Names start with a folder that `torch.save` names after the file.
        let Some((_, inner)) = name.split_once('/') else { continue };
        let start = member.data_start().and_then(|start| usize::try_from(start).ok()).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(member.size()).unwrap_or(usize::MAX));
        if inner == "data.pkl" {
            if member.compression() != CompressionMethod::Stored || file.get(start..end).is_none() {
                return Err(Error::usage("damaged PyTorch archive: its pickle is incomplete").hint(COMPARE));
            }
            // Verifies the checksum; the bytes are used in place.
            std::io::copy(&mut member, &mut std::io::sink()).map_err(|error| damaged(error.into()))?;
            pickle = Some(start..end);
        } else if inner == "byteorder" && file.get(start..end).is_some_and(|order| order == b"big") {
            return Err(Error::usage("its numbers are big-endian").hint("save it on a little-endian machine"));
        } else if let Some(key) = inner.strip_prefix("data/") {
            members.insert(key.to_owned(), start..end);
        } else if inner.starts_with("code/") {
            is_script = true;
        }
    }
    let pickle = pickle.ok_or_else(|| {
        Error::usage("it is a zip archive, but not one of `torch.save`: it holds no `data.pkl`").hint(CURE)
    })?;
    if is_script {
        return Err(Error::usage("it is a TorchScript program, not a state dict")
            .hint("load it with `torch.jit.load` and save its `state_dict()` with `torch.save`"));
    }
    let (pickle, _) = unpickle(&file[..pickle.end], pickle.start)?;
    resolve(state_dict(&pickle)?, file.len(), &members)
}

/// The tensors of a file of PyTorch before 1.6; `TensorEntry::bytes` are offsets in `file`.
pub(super) fn legacy(file: &[u8]) -> Result<FileContents> {
    let (_protocol, end) = unpickle(file, LEGACY_MAGIC.len())?;
    let (_system, end) = unpickle(file, end)?;
    let (pickle, end) = unpickle(file, end)?;
    let found = state_dict(&pickle)?;
    let (keys, mut position) = unpickle(file, end)?;
    let damaged = || Error::usage("its list of storages is damaged").hint(COMPARE);
    let sizes: BTreeMap<&str, usize> = storage::sizes(&pickle).collect();
    let mut members = BTreeMap::new();
    for &key in keys.items(keys.root()).ok_or_else(damaged)? {
        let truncated = || Error::usage("it is truncated: storages are missing").hint(COMPARE);
        let key = keys.text(key).ok_or_else(damaged)?;
        // Each storage is its element count as an i64, then the elements.
        let count = file.get(position..).and_then(|rest| rest.first_chunk()).ok_or_else(truncated)?;
        let count = i64::from_le_bytes(*count);
        let size = sizes.get(key).copied().ok_or_else(|| {
            Error::usage(format!("its storage `{}` has numbers of an unknown type", shown(key))).hint(CURE)
        })?;
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(size));
        let start = position + 8;
        let end = length.and_then(|length| start.checked_add(length)).filter(|&end| end <= file.len());
        position = end.ok_or_else(truncated)?;
        members.insert(key.to_owned(), start..position);
    }
    resolve(found, file.len(), &members)
}

/// The pickle at a byte of the file, and its end.
fn unpickle(file: &[u8], start: usize) -> Result<(Pickle<'_>, usize)> {
    pickle::read(file, start).map_err(|PickleError { kind, at, what }| match kind {
        PickleErrorKind::Damaged => {
            Error::usage(format!("damaged pickle at byte {at}: {what}")).hint(COMPARE)
        }
        PickleErrorKind::TooLarge => {
            Error::usage(format!("its pickle is not a state dict: at byte {at}, {what}")).hint(CURE)
        }
        PickleErrorKind::Unsupported => {
            Error::usage(format!("its pickle cannot be read at byte {at}: {what}")).hint(CURE)
        }
    })
}

/// Finds each tensor's bytes in its storage, and checks the bounds.
fn resolve(found: Found, length: usize, members: &BTreeMap<String, Range<usize>>) -> Result<FileContents> {
    let mut entries = BTreeMap::new();
    for (name, Tensor { storage, dtype, offset, shape, strides }) in found.tensors {
        let elements = match extent(&shape, &strides) {
            Some(elements) => elements,
            None => {
                return Err(Error::usage(format!("`{name}` has more values than its storage holds"))
                    .hint("save a contiguous copy, with `.contiguous()`"));
            }
        };
        let bytes = match &dtype {
            DataType::Other(_) => Some(0..0),
            _ => members.get(storage.key).filter(|member| member.end <= length).and_then(|member| {
                let size = dtype.size();
                let (first, end) = match storage.part {
                    Some((first, elements)) => {
                        let first = first.checked_mul(size)?.checked_add(member.start)?;
                        (first, elements.checked_mul(size)?.checked_add(first)?.min(member.end))
                    }
                    None => (member.start, member.end),
                };
                let start = offset.checked_mul(size)?.checked_add(first)?;
                let stop = elements.checked_mul(size)?.checked_add(start)?;
                (stop <= end).then_some(start..stop)
            }),
        };
        let bytes = bytes.ok_or_else(|| {
            Error::usage(format!("damaged: the values of `{name}` are incomplete")).hint(COMPARE)
        })?;
        // The stride of a dimension of size 0 or 1 is irrelevant.
        let plain = row_major(&shape);
        let trivial = |axis: usize| shape[axis] <= 1;
        let same = (0..shape.len()).all(|axis| trivial(axis) || strides[axis] == plain[axis]);
        let strides = if same { plain } else { strides };
        entries.insert(name, TensorEntry { shape, dtype, bytes, strides });
    }
    Ok(FileContents { entries, classes: found.classes, ..FileContents::default() })
}

/// The number of elements from the first to the last, inclusive.
fn extent(shape: &[usize], strides: &[usize]) -> Option<usize> {
    let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size))?;
    if count == 0 {
        return Some(0);
    }
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(0usize, |last, (size, stride)| last.checked_add((size - 1).checked_mul(*stride)?))?;
    // The elements of a state dict's tensor do not overlap: it has at most as many as the storage.
    (count <= last.checked_add(1)?).then_some(last + 1)
}
