//! The ground that every crate is built on: errors, digests, random draws, safe text, files and memory.

pub mod code_path;
pub mod csv_cells;
pub mod digest;
pub mod error;
pub mod events;
pub mod memory;
pub mod random;
pub mod regular_file;
pub mod sanitize;

pub use error::{Error, Result};
