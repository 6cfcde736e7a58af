//! Python's pickles, read as data: which objects there are, and how they refer to each other.
//!
//! A pickle is a program for a small stack machine. The machine here runs it into an arena of values that name each other
//! by [`Id`]. Classes and functions stay names: nothing is looked up, called or copied, and nothing recurses. So a pickle
//! of n bytes takes memory proportional to n, up to a fixed number of objects, whatever it refers to how often.

mod fault;
mod input;
mod literal;
mod machine;
mod opcode;
mod text;
mod value;

pub(super) use fault::{Fault, FaultKind};
pub(super) use machine::read;
pub(super) use value::{Id, Pickle, Value};

#[cfg(test)]
mod tests;
