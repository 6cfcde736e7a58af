//! Reads Python pickles as data: the objects, and how they refer to each other.
//!
//! A pickle is a program for a small stack machine. This interpreter runs it into an arena of values that refer
//! to each other by [`ValueId`]. Classes and functions remain names: nothing is looked up, called or copied, and
//! nothing recurses. A pickle of n bytes therefore takes memory proportional to n, up to a fixed number of
//! objects, whatever it refers to.

mod input;
mod literal;
mod opcode;
mod pickle_error;
mod text;
mod unpickler;
mod value;

pub(super) use pickle_error::{PickleError, PickleErrorKind};
pub(super) use unpickler::read;
pub(super) use value::{Pickle, PickleValue, ValueId};

#[cfg(test)]
mod tests;
