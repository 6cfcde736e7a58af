//! Reads Python pickles as data: the objects, and how they refer to each other.
//!
//! A pickle is a program for a small stack machine. This interpreter runs it into an arena of values that refer
//! to each other by [`Id`]. Classes and functions remain names: nothing is looked up, called or copied, and
//! nothing recurses. A pickle of n bytes therefore takes memory proportional to n, up to a fixed number of
//! objects, whatever it refers to.

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
