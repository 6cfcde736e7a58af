//! The language: what a pipeline file may say, checked for shape before anything is loaded.
//!
//! Readable by every room; imports none but `error`. What needs the names of parameters or classes is `plan`'s.

mod data;
mod normalize;
mod stage;
mod training;

pub use data::*;
pub use normalize::Normalize;
pub use stage::*;
pub use training::*;
