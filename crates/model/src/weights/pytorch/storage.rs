//! The storages that a pickle refers to: blocks of elements of one type, stored outside the pickle.

use crate::weights::pickle::{Id, Pickle, Value};
use crate::weights::{Type, shown};

/// A storage as a persistent id describes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage<'p> {
    pub key: &'p str,
    pub dtype: Type,
    /// The bytes of an element; `None` if the type is unknown.
    pub size: Option<usize>,
    /// In files of PyTorch before 0.4, a storage may be a view of another one: the first element, and the count.
    pub part: Option<(usize, usize)>,
}

/// Reads `("storage", type, key, device, elements)` and, in old files, the view of the storage.
pub(super) fn storage<'p>(pickle: &'p Pickle, id: Id) -> Option<Storage<'p>> {
    let Value::Persistent(description) = pickle.value(id) else { return None };
    let (class, key, rest) = match pickle.items(*description)? {
        &[kind, class, key, _device, _elements, ref rest @ ..] if pickle.text(kind) == Some("storage") => {
            (class, key, rest)
        }
        _ => return None,
    };
    let (_, class) = pickle.class(class)?;
    let (dtype, size) = type_of_storage(class);
    let part = match rest.first().and_then(|&part| pickle.items(part)) {
        Some(&[_key, first, elements]) => Some((natural(pickle, first)?, natural(pickle, elements)?)),
        _ => None,
    };
    Some(Storage { key: pickle.text(key)?, dtype, size, part })
}

/// The element size of each storage, by key, from every reference in the pickle.
pub(super) fn sizes<'p>(pickle: &'p Pickle) -> impl Iterator<Item = (&'p str, usize)> {
    let persistent = pickle.ids().filter(|&id| matches!(pickle.value(id), Value::Persistent(_)));
    persistent.filter_map(|id| storage(pickle, id)).filter_map(|storage| Some((storage.key, storage.size?)))
}

fn type_of_storage(class: &str) -> (Type, Option<usize>) {
    let (name, size) = match class {
        "HalfStorage" => return known(Type::F16),
        "BFloat16Storage" => return known(Type::Bf16),
        "FloatStorage" => return known(Type::F32),
        "DoubleStorage" => return known(Type::F64),
        "ByteStorage" => return known(Type::U8),
        "CharStorage" => return known(Type::I8),
        "ShortStorage" => return known(Type::I16),
        "IntStorage" => return known(Type::I32),
        "LongStorage" => return known(Type::I64),
        "BoolStorage" => ("bool", 1),
        "ComplexFloatStorage" => ("complex64", 8),
        "ComplexDoubleStorage" => ("complex128", 16),
        "QInt8Storage" => ("qint8", 1),
        "QUInt8Storage" => ("quint8", 1),
        "QInt32Storage" => ("qint32", 4),
        "QUInt4x2Storage" => ("quint4x2", 1),
        "QUInt2x4Storage" => ("quint2x4", 1),
        "UntypedStorage" | "_UntypedStorage" => ("untyped", 1),
        other => return (Type::Other(shown(other)), None),
    };
    (Type::Other(name.to_owned()), Some(size))
}

/// The type that a tensor names itself if its storage is untyped, such as `torch.float8_e4m3fn`.
pub(super) fn named_type(pickle: &Pickle, id: Id) -> Option<Type> {
    let ("torch", name) = pickle.class(id)? else { return None };
    Some(match name {
        "float16" | "half" => Type::F16,
        "bfloat16" => Type::Bf16,
        "float32" | "float" => Type::F32,
        "float64" | "double" => Type::F64,
        "uint8" => Type::U8,
        "int8" => Type::I8,
        "int16" | "short" => Type::I16,
        "int32" | "int" => Type::I32,
        "int64" | "long" => Type::I64,
        other => Type::Other(shown(other)),
    })
}

fn known(dtype: Type) -> (Type, Option<usize>) {
    let size = dtype.size();
    (dtype, Some(size))
}

/// A non-negative integer: a size, a stride or an offset.
pub(super) fn natural(pickle: &Pickle, id: Id) -> Option<usize> {
    usize::try_from(pickle.integer(id)?).ok()
}
