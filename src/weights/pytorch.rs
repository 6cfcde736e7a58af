//! What `torch.save` writes: a pickle that names storages, read as data by candle's reader, never executed.
//!
//! Since PyTorch 1.6 a zip archive with one uncompressed file for each storage; before, the pickle and the storages in
//! one stream.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::ops::Range;

use candle_core::pickle::{Object, Stack};
use zip::ZipArchive;

use super::source::{Entry, Type, row_major};
use crate::error::{Error, Result};

/// The pickled number that files of PyTorch before 1.6 begin with.
pub(super) const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Where checkpoints of training scripts keep the state dict: the first of these that is there is read. Averaged weights
/// (the last two) are read where there are no others; to have them in any case, they are saved alone.
const WRAPPERS: [&str; 6] =
    ["state_dict", "model", "model_state_dict", "model_state", "state_dict_ema", "model_ema"];

const CURE: &str = "save the state dict alone: `torch.save(model.state_dict(), \"weights.pth\")`";

type Entries = BTreeMap<String, Entry>;

/// The tensors of a zip archive; `Entry::bytes` count from the beginning of `file`.
pub(super) fn zip(file: &[u8]) -> Result<Entries> {
    let damaged = |error: zip::result::ZipError| {
        Error::usage(format!("damaged PyTorch archive: {error}"))
            .hint("compare its size with the original's; it may be truncated")
    };
    let mut archive = ZipArchive::new(Cursor::new(file)).map_err(damaged)?;
    let mut pickle = None;
    let mut members: BTreeMap<String, Range<usize>> = BTreeMap::new();
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).map_err(damaged)?;
        let name = member.name().map_err(damaged)?.into_owned();
        // Names start with a folder that `torch.save` calls after the file.
        let Some((_, inner)) = name.split_once('/') else { continue };
        let start = member.data_start().and_then(|start| usize::try_from(start).ok()).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(member.size()).unwrap_or(usize::MAX));
        if inner == "data.pkl" {
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).map_err(|error| damaged(error.into()))?;
            pickle = Some(bytes);
        } else if inner == "byteorder" && file.get(start..end).is_some_and(|order| order == b"big") {
            return Err(Error::usage("its numbers are big-endian").hint("save it on a little-endian machine"));
        } else if let Some(key) = inner.strip_prefix("data/") {
            members.insert(key.to_owned(), start..end);
        }
    }
    let pickle = pickle.ok_or_else(|| {
        Error::usage("it is a zip archive, but not one of `torch.save`: it holds no `data.pkl`")
    })?;
    let object = unpickle(&mut pickle.as_slice())?;
    resolve(state_dict(object)?, file.len(), &members)
}

/// The tensors of a file of PyTorch before 1.6; `Entry::bytes` count from the beginning of `file`.
pub(super) fn legacy(file: &[u8]) -> Result<Entries> {
    let mut rest = &file[LEGACY_MAGIC.len()..];
    let _protocol = unpickle(&mut rest)?;
    let _system = unpickle(&mut rest)?;
    let object = unpickle(&mut rest)?;
    let tensors = state_dict(object)?;
    let Object::List(keys) = unpickle(&mut rest)? else {
        return Err(Error::usage("its list of storages is damaged"));
    };
    let sizes: BTreeMap<&str, usize> =
        tensors.iter().map(|tensor| (tensor.storage.as_str(), tensor.dtype.size())).collect();
    let mut members = BTreeMap::new();
    let mut position = file.len() - rest.len();
    for key in keys {
        let truncated = || Error::usage("it is truncated: storages are missing");
        let key = key.unicode().map_err(|_| Error::usage("its list of storages is damaged"))?;
        // Each storage is its number of elements as an i64, then the elements.
        let count = file.get(position..position + 8).ok_or_else(truncated)?;
        let count = i64::from_le_bytes(count.try_into().expect("cut to eight bytes"));
        let size = sizes.get(key.as_str()).copied().filter(|&size| size > 0).ok_or_else(|| {
            Error::usage(format!("its storage `{key}` has numbers of an unknown type")).hint(CURE)
        })?;
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(size));
        let start = position + 8;
        let end = length.and_then(|length| start.checked_add(length)).filter(|&end| end <= file.len());
        position = end.ok_or_else(truncated)?;
        members.insert(key, start..position);
    }
    resolve(tensors, file.len(), &members)
}

/// A tensor as the pickle names it.
struct Pickled {
    name: String,
    dtype: Type,
    storage: String,
    /// In elements of the storage.
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

fn unpickle(bytes: &mut &[u8]) -> Result<Object> {
    let mut stack = Stack::empty();
    let object = stack.read_loop(bytes).and_then(|()| stack.finalize());
    object.map_err(|error| {
        let cause = error.to_string();
        let cause = cause.lines().next().unwrap_or_default().to_owned();
        Error::usage(format!("its pickle holds more than a state dict, or is damaged: {cause}")).hint(CURE)
    })
}

/// The tensors of a state dict, as it is or inside the wrapper that training scripts save.
fn state_dict(object: Object) -> Result<Vec<Pickled>> {
    if let Some(class) = module_class(&object) {
        return Err(
            Error::usage(format!("it is a pickled `{class}`, which would have to be executed")).hint(CURE)
        );
    }
    let Object::Dict(items) = object else {
        return Err(Error::usage("it holds no state dict").hint(CURE));
    };
    let under = |wrapper: &&str| {
        items.iter().find_map(|(key, value)| match key {
            Object::Unicode(key) if key == wrapper => Some((key, value)),
            _ => None,
        })
    };
    let wrapper = WRAPPERS.iter().find_map(under);
    if let Some((key, value)) = wrapper {
        return match module_class(value) {
            Some(class) => Err(executable(&class).hint(format!(
                "save the state dict alone: `torch.save(checkpoint[\"{key}\"].state_dict(), \"weights.pth\")`"
            ))),
            None => state_dict(value.clone()),
        };
    }
    let mut tensors = Vec::with_capacity(items.len());
    for (key, value) in items {
        let Object::Unicode(name) = key else {
            return Err(Error::usage("its keys are not all names").hint(CURE));
        };
        // Versions of modules, which PyTorch keeps as an attribute of the dict.
        if name == "_metadata" {
            continue;
        }
        let tensor = tensor(&name, value);
        tensors.push(tensor.ok_or_else(|| {
            Error::usage(format!("`{name}` in it is not a tensor in dense storage")).hint(CURE)
        })?);
    }
    Ok(tensors)
}

fn executable(class: &str) -> Error {
    Error::usage(format!("it is a pickled `{class}`, which would have to be executed"))
}

/// The class of an object that only its own code could rebuild.
fn module_class(object: &Object) -> Option<String> {
    match object {
        Object::Build { callable, .. } => module_class(callable),
        Object::Reduce { callable, .. } => match &**callable {
            Object::Class { module_name, class_name } if !module_name.starts_with("torch._") => {
                Some(format!("{module_name}.{class_name}"))
            }
            _ => None,
        },
        _ => None,
    }
}

fn tensor(name: &str, value: Object) -> Option<Pickled> {
    let (callable, arguments) = value.reduce().ok()?;
    let (module, function) = callable.class().ok()?;
    let mut arguments = arguments.tuple().ok()?.into_iter();
    match (module.as_str(), function.as_str()) {
        ("torch._utils", "_rebuild_parameter") => tensor(name, arguments.next()?),
        ("torch._utils", "_rebuild_tensor_v2") => {
            let storage = arguments.next()?.persistent_load().ok()?.tuple().ok()?;
            let offset = number(arguments.next()?)?;
            let shape = numbers(arguments.next()?)?;
            let strides = numbers(arguments.next()?)?;
            let mut storage = storage.into_iter().skip(1);
            let (_, class) = storage.next()?.class().ok()?;
            let dtype = match class.as_str() {
                "HalfStorage" => Type::F16,
                "BFloat16Storage" => Type::Bf16,
                "FloatStorage" => Type::F32,
                "DoubleStorage" => Type::F64,
                "LongStorage" => Type::I64,
                other => Type::Other(other.to_owned()),
            };
            let storage = storage.next()?.unicode().ok()?;
            let same_rank = shape.len() == strides.len();
            same_rank.then(|| Pickled { name: name.to_owned(), dtype, storage, offset, shape, strides })
        }
        _ => None,
    }
}

fn number(object: Object) -> Option<usize> {
    usize::try_from(object.int_or_long().ok()?).ok()
}

fn numbers(object: Object) -> Option<Vec<usize>> {
    object.tuple().ok()?.into_iter().map(number).collect()
}

/// Finds each tensor's bytes in its storage, within bounds.
fn resolve(
    tensors: Vec<Pickled>,
    length: usize,
    members: &BTreeMap<String, Range<usize>>,
) -> Result<Entries> {
    let mut entries = Entries::new();
    for Pickled { name, dtype, storage, offset, shape, strides } in tensors {
        let bytes = match &dtype {
            Type::Other(_) => Some(0..0),
            _ => members.get(&storage).filter(|member| member.end <= length).and_then(|member| {
                let elements = extent(&shape, &strides)?;
                let start = offset.checked_mul(dtype.size())?.checked_add(member.start)?;
                let end = elements.checked_mul(dtype.size())?.checked_add(start)?;
                (end <= member.end).then_some(start..end)
            }),
        };
        let bytes = bytes
            .ok_or_else(|| Error::usage(format!("damaged: the numbers of `{name}` are not all there")))?;
        // A stride along a dimension of one or no element says nothing.
        let plain = row_major(&shape);
        let trivial = |axis: usize| shape[axis] <= 1;
        let same = (0..shape.len()).all(|axis| trivial(axis) || strides[axis] == plain[axis]);
        entries.insert(name, Entry { shape, dtype, bytes, strides: if same { plain } else { strides } });
    }
    Ok(entries)
}

/// The elements from the first to the last, both included.
fn extent(shape: &[usize], strides: &[usize]) -> Option<usize> {
    let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size))?;
    if count == 0 {
        return Some(0);
    }
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(0usize, |last, (size, stride)| last.checked_add((size - 1).checked_mul(*stride)?))?;
    // Every element of a state dict's tensor has a place of its own: no more of them than places.
    (count <= last.checked_add(1)?).then_some(last + 1)
}
