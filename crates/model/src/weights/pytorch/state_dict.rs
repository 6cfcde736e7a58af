//! Finds the state dict in a checkpoint.

use std::collections::BTreeSet;

use super::CURE;
use super::tensor::{Tensor, is_tensor, kind, tensor};
use crate::error::{Error, Result};
use crate::sanitize;
use crate::weights::pickle::{Pickle, PickleValue, ValueId};
use crate::weights::shown;
use crate::weights::weights_file::{MAX_TENSORS, name_error};

/// The keys under which training scripts store the state dict; the first that exists is read. Averaged weights
/// (the last two) are read only if there are no others. To use them in any case, save them alone.
const WRAPPERS: [&str; 6] =
    ["state_dict", "model", "model_state_dict", "model_state", "state_dict_ema", "model_ema"];

/// The maximum nesting of dicts. More is not intended, and a dict may contain itself.
const MOST_LEVELS: usize = 8;
/// The maximum number of entries to search. Dicts may share content without end.
const MOST_LOOKS: usize = 4_000_000;
/// The number of keys that an error lists.
const SHOWN: usize = 12;

/// The tensors of a state dict by name. The state dict is the file's value, or inside the dict that training
/// scripts save.
///
/// # Errors
/// No state dict, several candidates, no tensors, or other values in it.
pub(super) fn state_dict<'p>(pickle: &'p Pickle) -> Result<Vec<(&'p str, Tensor<'p>)>> {
    let mut dict = pickle.root();
    let mut path = "checkpoint".to_owned();
    for _ in 0..MOST_LEVELS {
        if is_executable(pickle, dict) {
            return Err(executable(pickle, dict, &path));
        }
        let Some(entries) = pickle.entries(dict) else {
            let kind = kind(pickle, dict);
            return Err(Error::usage(format!("it holds no state dict: it is {kind}")).hint(CURE));
        };
        let inside = match wrapper(pickle, dict) {
            Some(inside) => Some(inside),
            None => unwrapped(pickle, &entries)?,
        };
        match inside {
            Some((key, value)) => {
                path = format!("{path}[\"{}\"]", shown(key));
                dict = value;
            }
            None => return tensors(pickle, &entries),
        }
    }
    Err(Error::usage(format!("it holds no state dict within {MOST_LEVELS} dicts in each other")).hint(CURE))
}

/// The key under which scripts store the weights. A network's name under such a key does not count.
fn wrapper<'p>(pickle: &'p Pickle, dict: ValueId) -> Option<(&'p str, ValueId)> {
    let found = WRAPPERS.iter().filter_map(|&key| Some((key, pickle.get(dict, key)?)));
    let mut holding = found.filter(|&(_, value)| pickle.is_dict(value) || is_executable(pickle, value));
    holding.next()
}

/// The only dict of tensors in a dict that is no state dict itself.
///
/// # Errors
/// There is none, or more than one.
fn unwrapped<'p>(pickle: &'p Pickle, entries: &[(ValueId, ValueId)]) -> Result<Option<(&'p str, ValueId)>> {
    // A best accuracy may be a tensor too; a dict of one scalar is not a state dict.
    let is_number =
        |id: ValueId| tensor(pickle, id).is_ok_and(|tensor| tensor.shape.iter().all(|&size| size == 1));
    let (mut own, mut others) = (false, false);
    for &(key, value) in entries {
        match is_tensor(pickle, value) {
            true if !is_number(value) => own = true,
            true => {}
            false => others |= !is_version_metadata(pickle, key),
        }
    }
    if own || !others {
        return Ok(None);
    }
    let mut looks = 0;
    let mut seen = BTreeSet::new();
    let mut found: Vec<(&str, ValueId)> = Vec::new();
    for &(key, value) in entries {
        let Some(name) = pickle.text(key) else { continue };
        if !seen.insert(value) {
            continue;
        }
        let Some(inside) = pickle.entries(value) else { continue };
        looks += inside.len();
        if looks > MOST_LOOKS {
            return Err(Error::usage("it holds too many nested dicts").hint(CURE));
        }
        let fits = |&(key, value): &(ValueId, ValueId)| {
            pickle.text(key).is_some() && (is_tensor(pickle, value) || is_version_metadata(pickle, key))
        };
        if inside.iter().all(fits) && inside.iter().any(|&(_, value)| is_tensor(pickle, value)) {
            found.push((name, value));
        }
    }
    match found.as_slice() {
        &[one] => Ok(Some(one)),
        _ => Err(nested_elsewhere_error(pickle, entries, &found)),
    }
}

fn nested_elsewhere_error(
    pickle: &Pickle,
    entries: &[(ValueId, ValueId)],
    found: &[(&str, ValueId)],
) -> Error {
    let keys: Vec<&str> = entries.iter().filter_map(|&(key, _)| pickle.text(key)).collect();
    let list = |names: &[&str]| sanitize::list(names.iter().map(|name| shown(name)), SHOWN);
    let module = entries.iter().find(|(_, value)| is_module(pickle, *value));
    let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    let cause = match (names.as_slice(), module) {
        ([], _) if keys.is_empty() => "it holds no state dict, and none of its keys is a string".to_owned(),
        ([], Some((_, value))) => {
            format!("it holds no state dict, but {}; its keys are {}", kind(pickle, *value), list(&keys))
        }
        ([], None) => format!("it holds no state dict; its keys are {}", list(&keys)),
        (several, _) => {
            format!(
                "the weights may be under one of the keys {}; its keys are {}",
                list(several),
                list(&keys)
            )
        }
    };
    let error = Error::usage(cause);
    match (names.first(), module.and_then(|(key, _)| pickle.text(*key))) {
        (Some(first), _) => error.hint(format!(
            "save only the right one: `torch.save(checkpoint[\"{}\"], \"weights.pth\")`",
            shown(first)
        )),
        (None, Some(key)) => error.hint(format!(
            "save only the state dict: `torch.save(checkpoint[\"{}\"].state_dict(), \"weights.pth\")`",
            shown(key)
        )),
        (None, None) => error.hint(CURE),
    }
}

/// The tensors of a dict that contains only tensors.
fn tensors<'p>(pickle: &'p Pickle, entries: &[(ValueId, ValueId)]) -> Result<Vec<(&'p str, Tensor<'p>)>> {
    if entries.len() > MAX_TENSORS {
        return Err(Error::usage(format!("it holds more than {MAX_TENSORS} tensors")).hint(CURE));
    }
    let mut tensors = Vec::with_capacity(entries.len());
    for &(key, value) in entries {
        if is_version_metadata(pickle, key) {
            continue;
        }
        let name = pickle.text(key).ok_or_else(|| Error::usage("its keys are not all names").hint(CURE))?;
        if let Some(fault) = name_error(name) {
            return Err(Error::usage(fault).hint(CURE));
        }
        let tensor = tensor(pickle, value);
        let tensor = tensor.map_err(|what| Error::usage(format!("`{name}` in it {what}")).hint(CURE))?;
        tensors.push((name, tensor));
    }
    if tensors.is_empty() {
        return Err(Error::usage("it is a state dict without tensors").hint(CURE));
    }
    Ok(tensors)
}

/// Module versions, which PyTorch stores as an attribute of the dict and some tools as an entry.
fn is_version_metadata(pickle: &Pickle, key: ValueId) -> bool {
    pickle.text(key) == Some("_metadata")
}

/// An object that only its own code could restore.
fn is_executable(pickle: &Pickle, id: ValueId) -> bool {
    matches!(pickle.value(id), PickleValue::Object(_)) && !pickle.is_dict(id) && !is_tensor(pickle, id)
}

/// A pickled `torch.nn.Module`, recognised by attributes that all modules have.
fn is_module(pickle: &Pickle, id: ValueId) -> bool {
    pickle.attribute(id, "_parameters").is_some() && pickle.attribute(id, "_modules").is_some()
}

fn executable(pickle: &Pickle, id: ValueId, path: &str) -> Error {
    let what = match pickle.class(id) {
        Some((module, name)) => format!("a pickled `{}.{}`", shown(module), shown(name)),
        None => "a pickled object".to_owned(),
    };
    let error = Error::usage(format!("it is {what}, which cannot be read without executing code"));
    match path {
        "checkpoint" => error.hint(CURE),
        path => error
            .hint(format!("save only the state dict: `torch.save({path}.state_dict(), \"weights.pth\")`")),
    }
}
