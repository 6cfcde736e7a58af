//! Weight files: safetensors and PyTorch archives in, safetensors out, and strictness about every name and shape.
//!
//! No code from a file is ever executed. The room knows descriptions of models, never networks or stages.

pub mod code_paths;
mod dialect;
mod initialize;
mod load;
mod pytorch;
mod rules;
mod save;
mod source;
mod timm;
mod unmatched;

pub use dialect::Dialect;
pub use initialize::{initialize, initialize_all};
pub use load::{Origin, load, origins};
pub use rules::LoadRules;
pub use save::{digests, save};
pub use source::{Entry, Source, Type};

#[cfg(test)]
mod tests;
