//! The storages that a pickle refers to: blocks of elements of one type, stored outside the pickle.

use crate::weights::pickle::{Pickle, PickleValue, ValueId};
use crate::weights::{DataType, shown};

/// A storage as a persistent id describes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage<'p> {
    pub key: &'p str,
    pub dtype: DataType,
    /// The bytes of an element; `None` if the type is unknown.
    pub size: Option<usize>,
    /// In files of PyTorch before 0.4, a storage may be a view of another one: the first element, and the count.
    pub part: Option<(usize, usize)>,
}

/// Reads `("storage", type, key, device, elements)` and, in old files, the view of the storage.
pub(super) fn storage<'p>(pickle: &'p Pickle, id: ValueId) -> Option<Storage<'p>> {
    let PickleValue::Persistent(description) = pickle.value(id) else { return None };
    let (class, key, rest) = match pickle.items(*description)? {
        &[kind, class, key, _device, _elements, ref rest @ ..] if pickle.text(kind) == Some("storage") => {
            (class, key, rest)
        }
        _ => return None,
    };
    let (_, class) = pickle.class(class)?;
    let (dtype, size) = type_of_storage(class);
    let part = match rest.first().and_then(|&part| pickle.items(part)) {
        Some(&[_key, first, elements]) => Some((size_value(pickle, first)?, size_value(pickle, elements)?)),
        _ => None,
    };
    Some(Storage { key: pickle.text(key)?, dtype, size, part })
}

/// The element size of each storage, by key, from every reference in the pickle.
pub(super) fn sizes<'p>(pickle: &'p Pickle) -> impl Iterator<Item = (&'p str, usize)> {
    let persistent = pickle.ids().filter(|&id| matches!(pickle.value(id), PickleValue::Persistent(_)));
    persistent.filter_map(|id| storage(pickle, id)).filter_map(|storage| Some((storage.key, storage.size?)))
}

fn type_of_storage(class: &str) -> (DataType, Option<usize>) {
    let (name, size) = match class {
        "HalfStorage" => return of_dtype(DataType::F16),
        "BFloat16Storage" => return of_dtype(DataType::Bf16),
        "FloatStorage" => return of_dtype(DataType::F32),
        "DoubleStorage" => return of_dtype(DataType::F64),
        "ByteStorage" => return of_dtype(DataType::U8),
        "CharStorage" => return of_dtype(DataType::I8),
        "ShortStorage" => return of_dtype(DataType::I16),
        "IntStorage" => return of_dtype(DataType::I32),
        "LongStorage" => return of_dtype(DataType::I64),
        "BoolStorage" => ("bool", 1),
        "ComplexFloatStorage" => ("complex64", 8),
        "ComplexDoubleStorage" => ("complex128", 16),
        "QInt8Storage" => ("qint8", 1),
        "QUInt8Storage" => ("quint8", 1),
        "QInt32Storage" => ("qint32", 4),
        "QUInt4x2Storage" => ("quint4x2", 1),
        "QUInt2x4Storage" => ("quint2x4", 1),
        "UntypedStorage" | "_UntypedStorage" => ("untyped", 1),
        other => return (DataType::Other(shown(other)), None),
    };
    (DataType::Other(name.to_owned()), Some(size))
}

/// The type that a tensor names itself if its storage is untyped, such as `torch.float8_e4m3fn`.
pub(super) fn named_type(pickle: &Pickle, id: ValueId) -> Option<DataType> {
    let ("torch", name) = pickle.class(id)? else { return None };
    Some(match name {
        "float16" | "half" => DataType::F16,
        "bfloat16" => DataType::Bf16,
        "float32" | "float" => DataType::F32,
        "float64" | "double" => DataType::F64,
        "uint8" => DataType::U8,
        "int8" => DataType::I8,
        "int16" | "short" => DataType::I16,
        "int32" | "int" => DataType::I32,
        "int64" | "long" => DataType::I64,
        other => DataType::Other(shown(other)),
    })
}

fn of_dtype(dtype: DataType) -> (DataType, Option<usize>) {
    let size = dtype.size();
    (dtype, Some(size))
}

/// A non-negative integer: a size, a stride or an offset.
pub(super) fn size_value(pickle: &Pickle, id: ValueId) -> Option<usize> {
    usize::try_from(pickle.integer(id)?).ok()
}
