//! A tensor in a pickle: a call of one of PyTorch's functions that rebuild it from a storage.

use super::storage::{Storage, named_type, size_value, storage};
use crate::weights::pickle::{Pickle, PickleValue, ValueId};
use crate::weights::weights_file::MAX_DIMENSIONS;
use crate::weights::{DataType, shown};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor<'p> {
    pub storage: Storage<'p>,
    pub dtype: DataType,
    /// In elements of the storage.
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// The maximum nesting: a parameter around a tensor of a subclass around a tensor.
const MOST_WRAPPERS: usize = 4;

/// The call that rebuilds a tensor, without PyTorch's wrapper calls.
struct RebuildCall<'p> {
    module: &'p str,
    function: &'p str,
    arguments: &'p [ValueId],
}

fn call<'p>(pickle: &'p Pickle, id: ValueId) -> Option<RebuildCall<'p>> {
    let PickleValue::Object(object) = pickle.value(id) else { return None };
    let (mut class, mut arguments) = (object.class, pickle.items(object.arguments)?);
    for _ in 0..MOST_WRAPPERS {
        let PickleValue::Class { .. } = pickle.value(class) else { return None };
        let (module, function) = pickle.class(class)?;
        match (module, function, arguments) {
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state", &[inside, ..]) => {
                let PickleValue::Object(object) = pickle.value(inside) else { return None };
                (class, arguments) = (object.class, pickle.items(object.arguments)?);
            }
            // A tensor with attributes or of a subclass: the function, the subclass, its arguments, the
            // attributes.
            ("torch._tensor", "_rebuild_from_type" | "_rebuild_from_type_v2", &[function, _, inside, ..]) => {
                (class, arguments) = (function, pickle.items(inside)?);
            }
            _ => return Some(RebuildCall { module, function, arguments }),
        }
    }
    None
}

/// Whether a value is a tensor, of a supported kind or not.
pub(super) fn is_tensor(pickle: &Pickle, id: ValueId) -> bool {
    call(pickle, id).is_some_and(|call| is_rebuild(&call))
}

fn is_rebuild(call: &RebuildCall) -> bool {
    matches!(call.module, "torch._utils" | "torch._tensor") && call.function.starts_with("_rebuild_")
}

/// Reads a dense tensor.
///
/// # Errors
/// A description of the value, to follow "`x` in it".
pub(super) fn tensor<'p>(pickle: &'p Pickle, id: ValueId) -> Result<Tensor<'p>, String> {
    let Some(call) = call(pickle, id).filter(is_rebuild) else {
        return Err(format!("is {}, not a tensor", kind(pickle, id)));
    };
    if call.module != "torch._utils" {
        return Err(unread(&call));
    }
    let damaged = || "is a damaged tensor".to_owned();
    let [found, offset, shape, strides, rest @ ..] = call.arguments else {
        return Err(unread(&call));
    };
    let dtype = match call.function {
        "_rebuild_tensor" | "_rebuild_tensor_v2" => None,
        // Whether it needs a gradient, hooks, then the type, which an untyped storage lacks.
        "_rebuild_tensor_v3" => {
            Some(rest.get(2).and_then(|&dtype| named_type(pickle, dtype)).ok_or_else(damaged)?)
        }
        _ => return Err(unread(&call)),
    };
    let storage = storage(pickle, *found).ok_or_else(damaged)?;
    let offset = size_value(pickle, *offset).ok_or_else(damaged)?;
    let shape = size_values(pickle, *shape).ok_or_else(damaged)?;
    let strides = size_values(pickle, *strides).ok_or_else(damaged)?;
    if shape.len() != strides.len() {
        return Err(damaged());
    }
    if shape.len() > MAX_DIMENSIONS {
        return Err(format!(
            "is a tensor of {} dimensions, but at most {MAX_DIMENSIONS} are supported",
            shape.len()
        ));
    }
    let dtype = dtype.unwrap_or_else(|| storage.dtype.clone());
    Ok(Tensor { storage, dtype, offset, shape, strides })
}

fn size_values(pickle: &Pickle, id: ValueId) -> Option<Vec<usize>> {
    // The caller checks the length; a longer list is not worth its memory.
    pickle.items(id)?.iter().take(MAX_DIMENSIONS + 1).map(|&item| size_value(pickle, item)).collect()
}

fn unread(call: &RebuildCall) -> String {
    let what = match call.function {
        "_rebuild_qtensor" => "a quantized tensor",
        "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor" => "a sparse tensor",
        "_rebuild_nested_tensor" => "a nested tensor",
        "_rebuild_meta_tensor_no_storage" => "a tensor without numbers (device `meta`)",
        _ => "a tensor of a special kind",
    };
    format!("is {what} (`{}`), but only dense tensors are supported", shown(call.function))
}

/// A short description of a value.
pub(super) fn kind(pickle: &Pickle, id: ValueId) -> String {
    match pickle.value(id) {
        PickleValue::None => "`None`".to_owned(),
        PickleValue::Bool(_) => "a bool".to_owned(),
        PickleValue::Int(_) | PickleValue::LongInt => "an int".to_owned(),
        PickleValue::Float(_) => "a float".to_owned(),
        PickleValue::Text(_) => "a string".to_owned(),
        PickleValue::Bytes(_) => "bytes".to_owned(),
        PickleValue::Tuple(_) => "a tuple".to_owned(),
        PickleValue::List(_) => "a list".to_owned(),
        PickleValue::Set(_) => "a set".to_owned(),
        PickleValue::Dict(_) => "a dict".to_owned(),
        PickleValue::Persistent(_) => "a storage".to_owned(),
        PickleValue::Class { .. } => match pickle.class(id) {
            Some((module, name)) => format!("the class `{}.{}`", shown(module), shown(name)),
            None => "a class".to_owned(),
        },
        PickleValue::Object(_) if is_tensor(pickle, id) => "a tensor".to_owned(),
        PickleValue::Object(_) => match pickle.class(id) {
            Some((module, name)) => format!("a `{}.{}`", shown(module), shown(name)),
            None => "an object".to_owned(),
        },
    }
}
