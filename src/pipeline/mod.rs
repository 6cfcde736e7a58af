//! The language: what a pipeline file may say, checked for shape before anything is loaded.

mod data;
mod stage;
mod training;

pub use data::*;
pub use stage::*;
pub use training::*;
