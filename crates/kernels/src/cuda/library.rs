//! NVIDIA's libraries, loaded by name at run time.

use libloading::Library as Opened;

use crate::error::{Error, Result};

/// The libraries that GPU computation needs; the driver's library is first.
const NAMES: [&str; 5] =
    ["libcuda.so.1", "libcublas.so.13", "libcublasLt.so.13", "libcurand.so.10", "libcudnn.so.9"];

/// A required library, and why it does not open; `None` if it opens.
#[derive(Clone, Debug)]
pub struct Library {
    pub name: &'static str,
    pub error: Option<String>,
}

/// Tries to open every required library.
pub fn libraries() -> Vec<Library> {
    // SAFETY: opening a library runs its initialisers. These are NVIDIA's, which every CUDA program runs.
    let open = |name: &'static str| unsafe { Opened::new(name) };
    NAMES.map(|name| Library { name, error: open(name).err().map(reason) }).to_vec()
}

/// The loader's message, if it gives one.
fn reason(error: libloading::Error) -> String {
    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Fails unless all libraries open. Without this check, cudarc panics at the first call into a missing one.
pub fn require_libraries() -> Result<()> {
    let Some(Library { name, error: Some(error) }) =
        libraries().into_iter().find(|library| library.error.is_some())
    else {
        return Ok(());
    };
    let hint = match name {
        "libcuda.so.1" => "install NVIDIA's driver; `defrost doctor` shows what else is missing",
        _ => "add the folders of CUDA's libraries and of cuDNN to LD_LIBRARY_PATH (docs/cuda.md)",
    };
    Err(Error::usage(format!("cannot open `{name}`: {}", cause(name, &error))).hint(hint))
}

/// The loader's message without the repeated library name.
fn cause<'a>(name: &str, error: &'a str) -> &'a str {
    error.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaders_words_stand_without_the_name() {
        assert_eq!(
            cause("liba.so", "liba.so: cannot open shared object file"),
            "cannot open shared object file"
        );
        assert_eq!(cause("liba.so", "another fault"), "another fault");
    }
}
