//! Weight files: reads safetensors and PyTorch files, writes safetensors, and checks every name and shape.
//!
//! It never executes code from a file. It uses descriptions of models, never networks or stages.

mod adapted_file;
mod adapter_file;
mod average;
mod class_rows;
pub mod code_paths;
mod data_type;
mod dialect;
mod first_conv;
mod fused;
mod initialize;
mod load;
mod pickle;
mod pytorch;
mod rules;
mod safetensors;
mod save;
mod save_pytorch;
mod timm;
mod unmatched;
mod weights_file;

pub use adapted_file::{ADAPTER, save_adapter};
pub use adapter_file::AdapterFile;
pub use average::average;
pub use class_rows::{ClassMapping, class_tensors};
pub use data_type::DataType;
pub use dialect::Dialect;
pub use fused::norms_to_restore;
pub use initialize::{initialize, initialize_all};
pub use load::{Origin, load, origins};
pub use rules::LoadRules;
pub use save::{digests, save};
pub use save_pytorch::save_pytorch;
pub use timm::{TimmNetwork, network as timm_network, network_named as timm_network_named};
pub use weights_file::{TensorEntry, WeightsFile};

#[cfg(test)]
mod adapted_tests;
#[cfg(test)]
mod module_tests;
#[cfg(test)]
mod tests;

/// A name from a file for an error message. In a file it may have any length, and characters that manipulate the
/// terminal.
fn shown(name: &str) -> String {
    const LONGEST: usize = 100;
    let escaped = name.chars().take(LONGEST).flat_map(|character| {
        let escape = is_unprintable(character).then(|| character.escape_unicode());
        let plain = escape.is_none().then_some(character);
        plain.into_iter().chain(escape.into_iter().flatten())
    });
    escaped.collect()
}

/// Control characters, and characters that change the text direction.
fn is_unprintable(character: char) -> bool {
    let turns =
        matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || turns
}
