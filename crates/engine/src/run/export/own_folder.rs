//! Whether a folder may be written: exports never overwrite files that no export wrote.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};
use crate::store::disk;

/// Refuses a folder with other files than `own`.
pub(super) fn require_own_folder(folder: &Path, own: &[&str]) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("read", folder, error)),
    };
    for entry in entries {
        let name = entry.map_err(|error| Error::io("read", folder, error))?.file_name();
        let is_own = own.iter().any(|own| name == **own);
        // An export that was killed leaves a file.
        if !is_own && !name.to_string_lossy().starts_with(disk::UNFINISHED) {
            let other = folder.join(name);
            return Err(Error::usage(format!("`{}` is not of an earlier export", other.display()))
                .hint("name a new or empty folder, so that no file of yours is overwritten"));
        }
    }
    Ok(())
}
