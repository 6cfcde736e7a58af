//! The stack machine: one loop over the instructions of a pickle.

use std::borrow::Cow;
use std::collections::HashMap;

use super::input::Input;
use super::literal;
use super::opcode::*;
use super::pickle_error::{PickleError, Result};
use super::value::{Object, Pickle, PickleValue, ValueId};

/// The object limit, far more than any state dict or module has: a tensor takes some 15 objects. Each takes at
/// most 150 bytes of memory.
const MOST_OBJECTS: usize = 1_000_000;
/// The instruction limit, since an instruction may create no object and still take memory.
const MOST_STEPS: usize = 16_000_000;

/// Values shared by every pickle, so that using them creates no object.
const SHARED: usize = 4;
const NONE_ID: ValueId = ValueId(0);
const TRUE_ID: ValueId = ValueId(1);
const FALSE_ID: ValueId = ValueId(2);
const EMPTY_ID: ValueId = ValueId(3);

/// Reads the pickle at byte `start` of `file`, and returns it with its end position.
///
/// # Errors
/// The pickle is damaged, exceeds a limit, or needs the program that wrote it.
pub(in crate::weights) fn read(file: &[u8], start: usize) -> Result<(Pickle<'_>, usize)> {
    let values = vec![
        PickleValue::None,
        PickleValue::Bool(true),
        PickleValue::Bool(false),
        PickleValue::Tuple(Box::default()),
    ];
    let input = Input::new(file, start);
    let mut machine = Unpickler { input, values, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    for _ in 0..MOST_STEPS {
        if let Some(root) = machine.step()? {
            return Ok((Pickle { values: machine.values, root }, machine.input.position()));
        }
    }
    Err(PickleError::too_large(machine.input.at(), format!("it has more than {MOST_STEPS} instructions")))
}

struct Unpickler<'a> {
    input: Input<'a>,
    values: Vec<PickleValue<'a>>,
    stack: Vec<ValueId>,
    /// Stack heights. Values below the last mark are inaccessible until the mark is popped.
    marks: Vec<usize>,
    memo: HashMap<u32, ValueId>,
}

impl<'a> Unpickler<'a> {
    /// Executes one instruction. The last one returns the value of the pickle.
    fn step(&mut self) -> Result<Option<ValueId>> {
        let opcode = self.input.opcode()?;
        match opcode {
            STOP => return self.pop().map(Some),
            PROTO => self.protocol()?,
            FRAME => self.input.frame()?,
            MARK => self.marks.push(self.stack.len()),
            POP if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            POP => drop(self.pop()?),
            POP_MARK => drop(self.pop_mark()?),
            DUP => self.stack.push(self.top()?),

            NONE => self.stack.push(NONE_ID),
            NEWTRUE => self.stack.push(TRUE_ID),
            NEWFALSE => self.stack.push(FALSE_ID),
            EMPTY_TUPLE => self.stack.push(EMPTY_ID),
            INT | LONG | BININT | BININT1 | BININT2 | LONG1 | LONG4 | FLOAT | BINFLOAT => {
                let number = self.input.number(opcode)?;
                self.push(number)?;
            }
            STRING | BINSTRING | SHORT_BINSTRING => {
                let bytes = self.input.old_string(opcode)?;
                self.push(literal::text_or_bytes(bytes))?;
            }
            UNICODE | BINUNICODE | SHORT_BINUNICODE | BINUNICODE8 => {
                let text = self.input.unicode(opcode)?;
                self.push(PickleValue::Text(text))?;
            }
            BINBYTES | SHORT_BINBYTES | BINBYTES8 | BYTEARRAY8 => {
                let length = self.input.length(opcode)?;
                let bytes = self.input.take(length)?;
                self.push(PickleValue::Bytes(Cow::Borrowed(bytes)))?;
            }

            TUPLE => {
                let items = self.pop_mark()?;
                self.push_tuple(items)?;
            }
            TUPLE1 | TUPLE2 | TUPLE3 => {
                let items = self.pop_many(usize::from(opcode - TUPLE1) + 1)?;
                self.push_tuple(items)?;
            }
            EMPTY_LIST => self.push(PickleValue::List(Vec::new()))?,
            EMPTY_DICT => self.push(PickleValue::Dict(Vec::new()))?,
            EMPTY_SET => self.push(PickleValue::Set(Vec::new()))?,
            LIST => {
                let items = self.pop_mark()?;
                self.push(PickleValue::List(items))?;
            }
            FROZENSET => {
                let items = self.pop_mark()?;
                self.push(PickleValue::Set(items))?;
            }
            DICT => {
                let flat = self.pop_mark()?;
                let entries = self.pairs(&flat)?;
                self.push(PickleValue::Dict(entries))?;
            }
            APPEND => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            APPENDS | ADDITEMS => {
                let items = self.pop_mark()?;
                self.append(&items)?;
            }
            SETITEM => {
                let entry = self.pop_many(2)?;
                self.set(&entry)?;
            }
            SETITEMS => {
                let flat = self.pop_mark()?;
                self.set(&flat)?;
            }

            GET | BINGET | LONG_BINGET => {
                let key = self.input.memo_key(opcode)?;
                let known = self.memo.get(&key).copied();
                let id =
                    known.ok_or_else(|| self.input.damaged(format!("nothing was kept as number {key}")))?;
                self.stack.push(id);
            }
            PUT | BINPUT | LONG_BINPUT => {
                let key = self.input.memo_key(opcode)?;
                self.memoize(key)?;
            }
            MEMOIZE => {
                let key = u32::try_from(self.memo.len()).unwrap_or(u32::MAX);
                self.memoize(key)?;
            }

            GLOBAL => {
                let class = self.class_in_lines()?;
                self.push(class)?;
            }
            STACK_GLOBAL => {
                let names = self.pop_many(2)?;
                if !names.iter().all(|name| matches!(self.value(*name), PickleValue::Text(_))) {
                    return Err(self.input.damaged("the name of a class is not text"));
                }
                self.push(PickleValue::Class { module: names[0], name: names[1] })?;
            }
            REDUCE | NEWOBJ => {
                let parts = self.pop_many(2)?;
                self.push_object(parts[0], parts[1], None)?;
            }
            NEWOBJ_EX => {
                let parts = self.pop_many(3)?;
                self.push_object(parts[0], parts[1], Some(parts[2]))?;
            }
            INST => {
                let class = self.class_in_lines()?;
                let class = self.make(class)?;
                let arguments = self.pop_mark()?;
                let arguments = self.make(PickleValue::Tuple(arguments.into()))?;
                self.push_object(class, arguments, None)?;
            }
            OBJ => {
                let mut parts = self.pop_mark()?.into_iter();
                let class = parts.next().ok_or_else(|| self.input.damaged("an object has no class"))?;
                let arguments = self.make(PickleValue::Tuple(parts.collect()))?;
                self.push_object(class, arguments, None)?;
            }
            BUILD => self.build()?,
            PERSID => {
                let line = self.input.line()?;
                let name = self.make(literal::text_or_bytes(Cow::Borrowed(line)))?;
                self.push(PickleValue::Persistent(name))?;
            }
            BINPERSID => {
                let name = self.pop()?;
                self.push(PickleValue::Persistent(name))?;
            }

            EXT1 | EXT2 | EXT4 => {
                return Err(self.unsupported("it names a class by a number of Python's `copyreg` registry"));
            }
            NEXT_BUFFER | READONLY_BUFFER => {
                return Err(self.unsupported("it keeps some of its bytes outside (buffers of protocol 5)"));
            }
            other => {
                return Err(self.input.damaged(format!("{other:#04x} is not an instruction of a pickle")));
            }
        }
        Ok(None)
    }

    fn protocol(&mut self) -> Result<()> {
        let [protocol] = self.input.array()?;
        if protocol > 5 {
            return Err(self.unsupported(format!("it has protocol {protocol}, and 0 to 5 are read")));
        }
        Ok(())
    }

    fn class_in_lines(&mut self) -> Result<PickleValue<'a>> {
        let mut name = || {
            let line = self.input.line()?;
            let text = std::str::from_utf8(line);
            let text = text.map_err(|_| self.input.damaged("the name of a class is not text"))?;
            self.make(PickleValue::Text(Cow::Borrowed(text)))
        };
        Ok(PickleValue::Class { module: name()?, name: name()? })
    }

    fn memoize(&mut self, key: u32) -> Result<()> {
        let top = self.top()?;
        if self.memo.len() >= MOST_OBJECTS {
            return Err(self.too_many());
        }
        self.memo.insert(key, top);
        Ok(())
    }

    /// Sets attributes of an object.
    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let id = self.top()?;
        match self.value_mut(id) {
            PickleValue::Object(object) if object.state.is_none() => object.state = Some(state),
            PickleValue::Object(_) => return Err(self.input.damaged("an object is given its state twice")),
            _ => return Err(self.input.damaged("a state is given to what is no object")),
        }
        Ok(())
    }

    /// Adds items to the list, set or object on top of the stack.
    fn append(&mut self, items: &[ValueId]) -> Result<()> {
        let id = self.top()?;
        match self.value_mut(id) {
            PickleValue::List(list) | PickleValue::Set(list) => list.extend_from_slice(items),
            PickleValue::Object(object) => object.items.extend_from_slice(items),
            _ => return Err(self.input.damaged("items are added to what is no list")),
        }
        Ok(())
    }

    /// Adds alternating keys and values to the dict or object on top of the stack.
    fn set(&mut self, flat: &[ValueId]) -> Result<()> {
        let entries = self.pairs(flat)?;
        let id = self.top()?;
        match self.value_mut(id) {
            PickleValue::Dict(dict) => dict.extend(entries),
            PickleValue::Object(object) => object.entries.extend(entries),
            _ => return Err(self.input.damaged("entries are added to what is no dict")),
        }
        Ok(())
    }

    fn pairs(&self, flat: &[ValueId]) -> Result<Vec<(ValueId, ValueId)>> {
        let (pairs, rest) = flat.as_chunks();
        if !rest.is_empty() {
            return Err(self.input.damaged("a key has no value"));
        }
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    }

    fn push_object(&mut self, class: ValueId, arguments: ValueId, keywords: Option<ValueId>) -> Result<()> {
        let (items, entries) = Default::default();
        let object = Object { class, arguments, keywords, state: None, items, entries };
        self.push(PickleValue::Object(Box::new(object)))
    }

    fn push_tuple(&mut self, items: Vec<ValueId>) -> Result<()> {
        if items.is_empty() {
            self.stack.push(EMPTY_ID);
            return Ok(());
        }
        self.push(PickleValue::Tuple(items.into()))
    }

    fn push(&mut self, value: PickleValue<'a>) -> Result<()> {
        let id = self.make(value)?;
        self.stack.push(id);
        Ok(())
    }

    fn make(&mut self, value: PickleValue<'a>) -> Result<ValueId> {
        let place = self.values.len();
        if place >= MOST_OBJECTS + SHARED {
            return Err(self.too_many());
        }
        self.values.push(value);
        Ok(ValueId(u32::try_from(place).expect("fewer objects than 32 bits count")))
    }

    fn top(&self) -> Result<ValueId> {
        match self.stack.last() {
            Some(&top) if self.stack.len() > self.floor() => Ok(top),
            _ => Err(self.empty()),
        }
    }

    fn pop(&mut self) -> Result<ValueId> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<ValueId>> {
        let start = self.stack.len().checked_sub(count).filter(|&start| start >= self.floor());
        start.map(|start| self.stack.split_off(start)).ok_or_else(|| self.empty())
    }

    /// Pops the values since the last mark, and the mark.
    fn pop_mark(&mut self) -> Result<Vec<ValueId>> {
        let mark = self.marks.pop().ok_or_else(|| self.empty())?;
        Ok(self.stack.split_off(mark))
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn value(&self, id: ValueId) -> &PickleValue<'a> {
        &self.values[id.0 as usize]
    }

    fn value_mut(&mut self, id: ValueId) -> &mut PickleValue<'a> {
        &mut self.values[id.0 as usize]
    }

    fn empty(&self) -> PickleError {
        self.input.damaged("an instruction wants more than there is on the stack")
    }

    fn too_many(&self) -> PickleError {
        PickleError::too_large(self.input.at(), format!("it has more than {MOST_OBJECTS} objects"))
    }

    fn unsupported(&self, what: impl Into<String>) -> PickleError {
        PickleError::unsupported(self.input.at(), what)
    }
}
