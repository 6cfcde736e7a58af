//! Options of `sbatch` that `defrost submit` sets itself.

use defrost::pipeline::refused_option;
use defrost::{Error, Result};

/// Refuses them among the options after `--`.
pub fn check(options: &[String]) -> Result<()> {
    for option in options {
        if let Some((name, instead)) = refused_option(option) {
            return Err(Error::usage(format!("`{name}` cannot be passed on to `sbatch`")).hint(instead));
        }
    }
    match options.first() {
        Some(first) if !first.starts_with('-') => {
            Err(Error::usage(format!("`{first}` is not an option of `sbatch`"))
                .hint("after `--` come options of `sbatch`, such as `--account=vision`"))
        }
        _ => Ok(()),
    }
}
