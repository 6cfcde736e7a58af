//! Pickled `torch.nn.Module` objects, read as data: their attributes name tensors and further modules.
//!
//! The classes of modules do not matter, so a module of any library can be read: the names are those of PyTorch's
//! `state_dict()`, unless a class changes what that function returns.

use super::CURE;
use super::tensor::{Tensor, kind, tensor};
use crate::error::{Error, Result};
use crate::weights::pickle::{Pickle, PickleValue, ValueId};
use crate::weights::shown;
use crate::weights::weights_file::{MAX_TENSORS, name_error};

/// The maximum number of visited modules and of entries in them. A module may be its own part, or share parts without
/// end.
const MOST_LOOKS: usize = 60_000;
/// The number of modules whose names lead to one that cannot be read; a longer path is no network.
const DEEPEST: usize = 128;

/// The tables of a module.
struct Parts {
    parameters: ValueId,
    buffers: Option<ValueId>,
    modules: ValueId,
    /// Buffers that are not part of the state dict.
    unsaved: Option<ValueId>,
}

/// The three tables in an object's state, by which modules are recognised; all modules have them.
fn parts(pickle: &Pickle, id: ValueId) -> Option<Parts> {
    let attribute = |name| pickle.attribute(id, name);
    Some(Parts {
        parameters: attribute("_parameters")?,
        modules: attribute("_modules")?,
        buffers: attribute("_buffers"),
        unsaved: attribute("_non_persistent_buffers_set"),
    })
}

/// Whether a value is a pickled module.
pub(super) fn is_module(pickle: &Pickle, id: ValueId) -> bool {
    parts(pickle, id).is_some()
}

/// Whether a value is a pickled module with a part or a tensor.
pub(super) fn has_content(pickle: &Pickle, id: ValueId) -> bool {
    let filled = |table: ValueId| pickle.entries(table).is_some_and(|entries| !entries.is_empty());
    let Some(parts) = parts(pickle, id) else { return false };
    filled(parts.parameters) || filled(parts.modules) || parts.buffers.is_some_and(filled)
}

/// The tensors of a module by their names in its `state_dict()`, in that order.
///
/// # Errors
/// A part that is no module, a value that is no tensor, no tensors, or more than any network has.
pub(super) fn tensors<'p>(pickle: &'p Pickle, root: ValueId) -> Result<Vec<(String, Tensor<'p>)>> {
    let refused = |what: String| Error::usage(what).hint(CURE);
    let mut found = Vec::new();
    let mut looks = 0usize;
    // Modules to visit with their prefix and depth; the next one is last.
    let mut open = vec![(String::new(), 0, root)];
    while let Some((prefix, depth, module)) = open.pop() {
        looks = looks.saturating_add(1 + width(pickle, module));
        if looks > MOST_LOOKS {
            return Err(refused(
                "it is a module with too many parts, or one that contains itself".to_owned(),
            ));
        }
        let Some(parts) = parts(pickle, module) else {
            let (kind, name) = (kind(pickle, module), prefix.trim_end_matches('.'));
            return Err(refused(format!(
                "`{}` in it is {kind}, not a module with `_parameters` and `_modules`",
                shown(name)
            )));
        };
        if depth > DEEPEST {
            return Err(refused(format!("it has modules in each other, more than {DEEPEST} deep")));
        }
        let tables = [(Some(parts.parameters), None), (parts.buffers, parts.unsaved)];
        for (table, unsaved) in tables {
            let Some(table) = table else { continue };
            for (name, value) in named(pickle, table, &prefix)? {
                if matches!(pickle.value(value), PickleValue::None)
                    || unsaved.is_some_and(|unsaved| holds(pickle, unsaved, &name))
                {
                    continue;
                }
                let name = joined(&prefix, &name)?;
                let tensor = tensor(pickle, value);
                let tensor = tensor.map_err(|what| refused(format!("`{}` in it {what}", shown(&name))))?;
                if found.len() == MAX_TENSORS {
                    return Err(refused(format!("it holds more than {MAX_TENSORS} tensors")));
                }
                found.push((name, tensor));
            }
        }
        let mut inside = Vec::new();
        for (name, value) in named(pickle, parts.modules, &prefix)? {
            if !matches!(pickle.value(value), PickleValue::None) {
                inside.push((format!("{}.", joined(&prefix, &name)?), depth + 1, value));
            }
        }
        open.extend(inside.into_iter().rev());
    }
    match found.is_empty() {
        true => Err(refused("it is a module without tensors".to_owned())),
        false => Ok(found),
    }
}

/// The class names that detectors and classifiers keep in `names`: a list, or a dict by number. `None` if there are
/// none, or only the numbers themselves.
pub(super) fn classes(pickle: &Pickle, module: ValueId) -> Option<Vec<String>> {
    let names = pickle.attribute(module, "names")?;
    let mut numbered: Vec<(i64, &str)> = match (pickle.entries(names), pickle.items(names)) {
        (Some(entries), _) => {
            let entry =
                |&(key, value): &(ValueId, ValueId)| Some((number(pickle, key)?, pickle.text(value)?));
            entries.iter().map(entry).collect::<Option<_>>()?
        }
        (None, Some(items)) => {
            let item = |(place, &value): (usize, &ValueId)| Some((place as i64, pickle.text(value)?));
            items.iter().enumerate().map(item).collect::<Option<_>>()?
        }
        (None, None) => return None,
    };
    // Of equal keys the last wins.
    numbered.reverse();
    numbered.sort_by_key(|(number, _)| *number);
    numbered.dedup_by_key(|(number, _)| *number);
    let complete = numbered.iter().enumerate().all(|(place, (number, _))| place as i64 == *number);
    let named = numbered.iter().any(|(number, name)| number.to_string() != *name);
    (complete && named).then(|| numbered.into_iter().map(|(_, name)| name.to_owned()).collect())
}

/// A number that is no bool.
fn number(pickle: &Pickle, id: ValueId) -> Option<i64> {
    match pickle.value(id) {
        PickleValue::Int(number) => Some(*number),
        _ => None,
    }
}

/// How many entries a module's attributes and tables have.
fn width(pickle: &Pickle, module: ValueId) -> usize {
    let PickleValue::Object(object) = pickle.value(module) else { return 0 };
    let length = |id: ValueId| pickle.entries(id).map_or(0, |entries| entries.len());
    let attributes = object.state.map_or(0, |state| {
        let halves = pickle.items(state).unwrap_or_default();
        length(state) + halves.iter().take(2).map(|&half| length(half)).sum::<usize>()
    });
    let Some(parts) = parts(pickle, module) else { return attributes };
    let unsaved = parts.unsaved.map_or(0, |unsaved| set_items(pickle, unsaved).len());
    let buffers = parts.buffers.map_or(0, length);
    attributes + length(parts.parameters) + length(parts.modules) + buffers.saturating_mul(1 + unsaved)
}

/// The entries of a table with their names, in order; of equal names the last wins.
fn named(pickle: &Pickle, table: ValueId, prefix: &str) -> Result<Vec<(String, ValueId)>> {
    let place = || shown(prefix.trim_end_matches('.'));
    let entries = pickle.entries(table).ok_or_else(|| {
        Error::usage(format!("the module `{}` in it keeps {}, not a dict", place(), kind(pickle, table)))
            .hint(CURE)
    })?;
    let entry = |&(key, value): &(ValueId, ValueId)| match pickle.text(key) {
        Some(name) => Ok((name.to_owned(), value)),
        None => Err(Error::usage(format!("a part of the module `{}` in it has no name", place())).hint(CURE)),
    };
    entries.iter().map(entry).collect()
}

fn joined(prefix: &str, name: &str) -> Result<String> {
    let name = format!("{prefix}{name}");
    match name_error(&name) {
        Some(fault) => Err(Error::usage(fault).hint(CURE)),
        None => Ok(name),
    }
}

/// The items of a set; protocols before 4 store a call of `set` with a list.
fn set_items<'p>(pickle: &'p Pickle, id: ValueId) -> &'p [ValueId] {
    match pickle.value(id) {
        PickleValue::Set(items) => items,
        PickleValue::Object(object) => match pickle.items(object.arguments) {
            Some(&[list, ..]) => pickle.items(list).unwrap_or_default(),
            _ => &[],
        },
        _ => &[],
    }
}

fn holds(pickle: &Pickle, set: ValueId, name: &str) -> bool {
    set_items(pickle, set).iter().any(|&item| pickle.text(item) == Some(name))
}
