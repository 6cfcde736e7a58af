//! The content of a pickle: values in one arena that refer to each other by index.

use std::borrow::Cow;

/// A value of one pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::weights) struct ValueId(pub(super) u32);

#[derive(Debug, PartialEq)]
pub(in crate::weights) enum PickleValue<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than 64 bits.
    LongInt,
    Float(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    Tuple(Box<[ValueId]>),
    List(Vec<ValueId>),
    /// Frozen or not.
    Set(Vec<ValueId>),
    /// In file order; of equal keys the last wins.
    Dict(Vec<(ValueId, ValueId)>),
    /// A class or function, by module and name.
    Class {
        module: ValueId,
        name: ValueId,
    },
    /// A reference to data outside the pickle, by persistent id: in PyTorch's files, a storage.
    Persistent(ValueId),
    Object(Box<Object>),
}

/// The object that Python would create by calling a class or function.
#[derive(Debug, PartialEq)]
pub(in crate::weights) struct Object {
    pub class: ValueId,
    /// A tuple.
    pub arguments: ValueId,
    /// A dict of the keyword arguments.
    pub keywords: Option<ValueId>,
    /// The argument of `__setstate__`, usually a dict of attributes.
    pub state: Option<ValueId>,
    /// The items of a subclass of `list`, and similar.
    pub items: Vec<ValueId>,
    /// The entries of a subclass of `dict`.
    pub entries: Vec<(ValueId, ValueId)>,
}

/// A parsed pickle.
#[derive(Debug)]
pub(in crate::weights) struct Pickle<'a> {
    pub(super) values: Vec<PickleValue<'a>>,
    pub(super) root: ValueId,
}

impl<'a> Pickle<'a> {
    /// The value that Python's `load` would return.
    pub fn root(&self) -> ValueId {
        self.root
    }

    pub fn value(&self, id: ValueId) -> &PickleValue<'a> {
        &self.values[id.0 as usize]
    }

    /// All values in creation order, including unreferenced ones.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = ValueId> {
        // The conversion cannot fail, because each index was made from an `ValueId`.
        (0..self.values.len() as u32).map(ValueId)
    }

    pub fn text(&self, id: ValueId) -> Option<&str> {
        match self.value(id) {
            PickleValue::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn integer(&self, id: ValueId) -> Option<i64> {
        match *self.value(id) {
            PickleValue::Int(number) => Some(number),
            PickleValue::Bool(truth) => Some(i64::from(truth)),
            _ => None,
        }
    }

    /// The items of a tuple or a list, or of an object of a subclass.
    pub fn items(&self, id: ValueId) -> Option<&[ValueId]> {
        match self.value(id) {
            PickleValue::Tuple(items) => Some(items),
            PickleValue::List(items) => Some(items),
            PickleValue::Object(object) if !object.items.is_empty() => Some(&object.items),
            _ => None,
        }
    }

    /// Whether a value is a dict, or an object of a subclass.
    pub fn is_dict(&self, id: ValueId) -> bool {
        match self.value(id) {
            PickleValue::Dict(_) => true,
            PickleValue::Object(object) => {
                let known = matches!(
                    self.named(object.class),
                    Some(("collections", "OrderedDict" | "defaultdict" | "Counter"))
                );
                known || !object.entries.is_empty() || self.rebuilt_dict(object).is_some()
            }
            _ => false,
        }
    }

    /// The entries of a dict, or of an object of a subclass; of equal keys the last wins.
    pub fn entries(&self, id: ValueId) -> Option<Cow<'_, [(ValueId, ValueId)]>> {
        let object = match self.value(id) {
            PickleValue::Dict(entries) => return Some(Cow::Borrowed(entries)),
            PickleValue::Object(object) if self.is_dict(id) => object,
            _ => return None,
        };
        let given = match (self.named(object.class), self.items(object.arguments)) {
            // The form of Python 2 pickles: a list of pairs.
            (Some(("collections", "OrderedDict")), Some(&[pairs])) => self.pairs(pairs),
            _ => self.rebuilt_dict(object).map(<[_]>::to_vec),
        };
        Some(match given {
            Some(given) => Cow::Owned([given.as_slice(), &object.entries].concat()),
            None => Cow::Borrowed(object.entries.as_slice()),
        })
    }

    /// The entries of a subclass in protocols 0 and 1, which store its class, its base, and the base's
    /// arguments.
    fn rebuilt_dict(&self, object: &Object) -> Option<&[(ValueId, ValueId)]> {
        let ("copy_reg" | "copyreg", "_reconstructor") = self.named(object.class)? else { return None };
        let &[_, base, dict] = self.items(object.arguments)? else { return None };
        match (self.named(base)?, self.value(dict)) {
            ((_, "dict"), PickleValue::Dict(entries)) => Some(entries),
            _ => None,
        }
    }

    fn pairs(&self, id: ValueId) -> Option<Vec<(ValueId, ValueId)>> {
        let pair = |&pair: &ValueId| match self.items(pair)? {
            &[key, value] => Some((key, value)),
            _ => None,
        };
        self.items(id)?.iter().map(pair).collect()
    }

    /// The value of a key in a dict.
    pub fn get(&self, id: ValueId, key: &str) -> Option<ValueId> {
        let entries = self.entries(id)?;
        entries.iter().rev().find(|(name, _)| self.text(*name) == Some(key)).map(|(_, value)| *value)
    }

    /// An attribute of an object. Its state is a dict, or a pair of dicts for a class with slots.
    pub fn attribute(&self, id: ValueId, name: &str) -> Option<ValueId> {
        let PickleValue::Object(object) = self.value(id) else { return None };
        let state = object.state?;
        match self.value(state) {
            PickleValue::Tuple(parts) if parts.len() == 2 => {
                parts.iter().find_map(|&part| self.get(part, name))
            }
            _ => self.get(state, name),
        }
    }

    /// Module and name of a class or a function, or of the class of an object.
    pub fn class(&self, id: ValueId) -> Option<(&str, &str)> {
        match self.value(id) {
            PickleValue::Class { module, name } => Some((self.text(*module)?, self.text(*name)?)),
            PickleValue::Object(object) => {
                let class = self.named(object.class)?;
                let first = self.items(object.arguments).and_then(|arguments| arguments.first());
                match (class, first) {
                    (("copy_reg" | "copyreg", "_reconstructor" | "__newobj__"), Some(&first)) => {
                        self.named(first)
                    }
                    _ => Some(class),
                }
            }
            _ => None,
        }
    }

    /// A class reference: by name, or with its source, as PyTorch before 1.6 stored it for modules.
    fn named(&self, id: ValueId) -> Option<(&str, &str)> {
        match self.value(id) {
            PickleValue::Class { module, name } => Some((self.text(*module)?, self.text(*name)?)),
            PickleValue::Persistent(key) => match self.items(*key)? {
                &[kind, class, ..] if self.text(kind) == Some("module") => match self.value(class) {
                    PickleValue::Class { module, name } => Some((self.text(*module)?, self.text(*name)?)),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        }
    }
}
