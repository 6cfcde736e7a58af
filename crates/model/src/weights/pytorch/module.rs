//! Pickled `torch.nn.Module` objects, read as data: their attributes name tensors and further modules.
//!
//! The classes of modules do not matter, so a module of any library can be read: the names are those of PyTorch's
//! `state_dict()`, unless a class changes what that function returns.

use std::borrow::Cow;

use super::CURE;
use super::tensor::{Tensor, kind, tensor};
use crate::error::{Error, Result};
use crate::weights::pickle::{Pickle, PickleValue, ValueId};
use crate::weights::shown;
use crate::weights::weights_file::{MAX_TENSORS, name_error};

/// The maximum number of entries of all visited modules. A module may be its own part, or share parts without end.
const MOST_LOOKS: usize = 2_000_000;
/// The maximum depth of modules in each other; networks have some ten.
const DEEPEST: usize = 32;
/// A tensor takes some 15 objects of the pickle. A file may name a shared one again, but only so often that the result is
/// not much larger than the file: at most so many tensors and bytes of names, or a share of the objects if that is more.
const REPEATED_TENSORS: usize = 2048;
const REPEATED_NAMES: usize = 128 << 10;
const OBJECTS_PER_TENSOR: usize = 6;
const NAME_BYTES_PER_OBJECT: usize = 16;

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
    let mut walk = Walk { pickle, looks: 0, name_bytes: 0, found: Vec::new() };
    let mut open = vec![walk.enter(String::new(), root)?];
    while let Some(module) = open.last_mut() {
        let Some(&(key, part)) = module.inside.get(module.next) else {
            open.pop();
            continue;
        };
        module.next += 1;
        let name = named(pickle, &module.prefix, key)?;
        if matches!(pickle.value(part), PickleValue::None) {
            continue;
        }
        if open.len() > DEEPEST {
            return Err(refused(format!("it has modules in each other, more than {DEEPEST} deep")));
        }
        open.push(walk.enter(format!("{name}."), part)?);
    }
    match walk.found.is_empty() {
        true => Err(refused("it is a module without tensors")),
        false => Ok(walk.found),
    }
}

/// A module that is being walked.
struct OpenModule<'p> {
    /// The start of the names of everything in it.
    prefix: String,
    /// The modules in it, and the next one to visit.
    inside: Cow<'p, [(ValueId, ValueId)]>,
    next: usize,
}

struct Walk<'p> {
    pickle: &'p Pickle<'p>,
    looks: usize,
    name_bytes: usize,
    found: Vec<(String, Tensor<'p>)>,
}

impl<'p> Walk<'p> {
    /// Takes the tensors of a module itself.
    fn enter(&mut self, prefix: String, module: ValueId) -> Result<OpenModule<'p>> {
        let pickle = self.pickle;
        self.looks = self.looks.saturating_add(1 + width(pickle, module));
        if self.looks > MOST_LOOKS {
            return Err(refused("it is a module with too many parts, or one that contains itself"));
        }
        let Some(parts) = parts(pickle, module) else {
            let (kind, name) = (kind(pickle, module), shown(prefix.trim_end_matches('.')));
            return Err(refused(format!(
                "`{name}` in it is {kind}, not a module with `_parameters` and `_modules`"
            )));
        };
        for &(key, value) in table(pickle, parts.parameters, &prefix)?.iter() {
            self.take(&prefix, key, value)?;
        }
        if let Some(buffers) = parts.buffers {
            for &(key, value) in table(pickle, buffers, &prefix)?.iter() {
                if !parts.unsaved.is_some_and(|unsaved| holds(pickle, unsaved, key)) {
                    self.take(&prefix, key, value)?;
                }
            }
        }
        let inside = table(pickle, parts.modules, &prefix)?;
        Ok(OpenModule { prefix, inside, next: 0 })
    }

    /// Takes a tensor, if there is one.
    fn take(&mut self, prefix: &str, key: ValueId, value: ValueId) -> Result<()> {
        let pickle = self.pickle;
        if matches!(pickle.value(value), PickleValue::None) {
            return Ok(());
        }
        let name = named(pickle, prefix, key)?;
        let tensor = tensor(pickle, value);
        let tensor = tensor.map_err(|what| refused(format!("`{}` in it {what}", shown(&name))))?;
        self.name_bytes += name.len();
        let objects = pickle.ids().len();
        if self.found.len() >= REPEATED_TENSORS.max(objects / OBJECTS_PER_TENSOR)
            || self.name_bytes > REPEATED_NAMES.max(objects * NAME_BYTES_PER_OBJECT)
        {
            return Err(refused("it is a module that has the same tensors under too many names"));
        }
        if self.found.len() == MAX_TENSORS {
            return Err(refused(format!("it holds more than {MAX_TENSORS} tensors")));
        }
        self.found.push((name, tensor));
        Ok(())
    }
}

fn refused(what: impl Into<String>) -> Error {
    Error::usage(what).hint(CURE)
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

/// The entries of a module's table; of equal names the last wins.
fn table<'p>(pickle: &'p Pickle, table: ValueId, prefix: &str) -> Result<Cow<'p, [(ValueId, ValueId)]>> {
    pickle.entries(table).ok_or_else(|| {
        let (kind, place) = (kind(pickle, table), place(prefix));
        refused(format!("{place} in it keeps its parts in {kind}, not in a dict"))
    })
}

/// The name of a tensor or a module in a module.
fn named(pickle: &Pickle, prefix: &str, key: ValueId) -> Result<String> {
    let name = pickle.text(key);
    let name = name.ok_or_else(|| refused(format!("a part of {} in it has no name", place(prefix))))?;
    let name = format!("{prefix}{name}");
    match name_error(&name) {
        Some(fault) => Err(refused(fault)),
        None => Ok(name),
    }
}

fn place(prefix: &str) -> String {
    match prefix.trim_end_matches('.') {
        "" => "the outermost module".to_owned(),
        name => format!("the module `{}`", shown(name)),
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

fn holds(pickle: &Pickle, set: ValueId, key: ValueId) -> bool {
    let name = pickle.text(key);
    name.is_some() && set_items(pickle, set).iter().any(|&item| pickle.text(item) == name)
}
