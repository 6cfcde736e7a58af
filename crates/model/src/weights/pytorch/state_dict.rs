//! Finds the state dict in a checkpoint.

use std::collections::BTreeSet;

use super::CURE;
use super::module;
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

/// The key under which Ultralytics keeps a module with averaged weights, which it prefers to the one under `model`.
const AVERAGED_MODULE: &str = "ema";

/// What a checkpoint holds of a network.
pub(super) struct Found<'p> {
    pub tensors: Vec<(String, Tensor<'p>)>,
    /// The class names that a pickled module has.
    pub classes: Option<Vec<String>>,
}

/// The tensors of a state dict or of a pickled module by name. It is the file's value, or inside the dict that training
/// scripts save.
///
/// # Errors
/// Neither, several candidates, no tensors, or other values in it.
pub(super) fn state_dict<'p>(pickle: &'p Pickle) -> Result<Found<'p>> {
    let mut dict = pickle.root();
    let mut path = "checkpoint".to_owned();
    for _ in 0..MOST_LEVELS {
        if module::is_module(pickle, dict) {
            let tensors = module::tensors(pickle, dict)
                .map_err(|error| error.within(format!("it is a pickled {}", class(pickle, dict))))?;
            return Ok(Found { tensors, classes: module::classes(pickle, dict) });
        }
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
            None => return Ok(Found { tensors: tensors(pickle, &entries)?, classes: None }),
        }
    }
    Err(Error::usage(format!("it holds no state dict within {MOST_LEVELS} dicts in each other")).hint(CURE))
}

/// The key under which scripts store the weights. A network's name under such a key does not count.
fn wrapper<'p>(pickle: &'p Pickle, dict: ValueId) -> Option<(&'p str, ValueId)> {
    let found = WRAPPERS.iter().filter_map(|&key| Some((key, pickle.get(dict, key)?)));
    let mut holding = found.filter(|&(_, value)| pickle.is_dict(value) || is_executable(pickle, value));
    let first = holding.next();
    let averaged = pickle.get(dict, AVERAGED_MODULE).filter(|&value| module::has_content(pickle, value));
    match (averaged, first) {
        // Beside a state dict, averaged weights are read only if they are saved alone.
        (Some(averaged), Some((_, value))) if module::is_module(pickle, value) => {
            Some((AVERAGED_MODULE, averaged))
        }
        (Some(averaged), None) => Some((AVERAGED_MODULE, averaged)),
        _ => first,
    }
}

/// The only dict of tensors, or module, in a dict that is no state dict itself.
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
        if module::has_content(pickle, value) {
            found.push((name, value));
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
    let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    let cause = match names.as_slice() {
        [] if keys.is_empty() => "it holds no state dict, and none of its keys is a string".to_owned(),
        [] => format!("it holds no state dict; its keys are {}", list(&keys)),
        several => {
            format!(
                "the weights may be under one of the keys {}; its keys are {}",
                list(several),
                list(&keys)
            )
        }
    };
    let error = Error::usage(cause);
    match names.first() {
        Some(first) => error.hint(format!(
            "save only the right one: `torch.save(checkpoint[\"{}\"], \"weights.pth\")`",
            shown(first)
        )),
        None => error.hint(CURE),
    }
}

/// The tensors of a dict that contains only tensors.
fn tensors<'p>(pickle: &'p Pickle, entries: &[(ValueId, ValueId)]) -> Result<Vec<(String, Tensor<'p>)>> {
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
        tensors.push((name.to_owned(), tensor));
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

/// Such as "`torch.nn.modules.linear.Linear`".
fn class(pickle: &Pickle, id: ValueId) -> String {
    match pickle.class(id) {
        Some((module, name)) => format!("`{}.{}`", shown(module), shown(name)),
        None => "object".to_owned(),
    }
}

fn executable(pickle: &Pickle, id: ValueId, path: &str) -> Error {
    let class = class(pickle, id);
    let error = Error::usage(format!("it is a pickled {class}, which cannot be read without executing code"));
    match path {
        "checkpoint" => error.hint(CURE),
        path => error
            .hint(format!("save only the state dict: `torch.save({path}.state_dict(), \"weights.pth\")`")),
    }
}
