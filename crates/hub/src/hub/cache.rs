//! The folders of a repository in the cache of `huggingface_hub`: `blobs` has files by the digest that the hub calls
//! ETag, `snapshots/COMMIT` has links to them under their names, `refs` has the commits of branches and tags, and
//! `.no_exist/COMMIT` has names that are not in the repository.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::pipeline::is_commit;

/// Tells backup programs to skip a cache: <https://bford.info/cachedir/>.
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n";

/// One repository of models in the cache.
pub struct RepositoryCache {
    cache: PathBuf,
    /// `models--OWNER--REPO`.
    name: String,
}

impl RepositoryCache {
    pub fn new(cache: &Path, repository: &str) -> Self {
        Self { cache: cache.to_owned(), name: format!("models--{}", repository.replace('/', "--")) }
    }

    fn folder(&self) -> PathBuf {
        self.cache.join(&self.name)
    }

    /// The commit that a branch or tag had when it was fetched last.
    pub fn commit(&self, revision: &str) -> Option<String> {
        let commit = fs::read_to_string(self.folder().join("refs").join(revision)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    pub fn set_commit(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        write(&self.folder().join("refs").join(revision), commit.as_bytes())
    }

    /// Where the file of a commit is, or would be.
    pub fn pointer(&self, commit: &str, file: &str) -> PathBuf {
        self.folder().join("snapshots").join(commit).join(file)
    }

    /// The names of all files of a commit at the top of the repository that are here.
    pub fn files(&self, commit: &str) -> Vec<String> {
        let entries = fs::read_dir(self.folder().join("snapshots").join(commit)).into_iter().flatten();
        let files = entries.filter_map(|entry| entry.ok().filter(|entry| entry.path().is_file()));
        files.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Whether a commit is known to have no such file.
    pub fn lacks(&self, commit: &str, file: &str) -> bool {
        self.folder().join(".no_exist").join(commit).join(file).is_file()
    }

    pub fn set_lacking(&self, commit: &str, file: &str) -> Result<()> {
        write(&self.folder().join(".no_exist").join(commit).join(file), b"")
    }

    /// The file of that digest.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.folder().join("blobs").join(etag)
    }

    /// The lock of the processes that fetch it. Python uses the same.
    pub fn lock(&self, etag: &str) -> PathBuf {
        self.cache.join(".locks").join(&self.name).join(format!("{etag}.lock"))
    }

    /// Names a blob as the file of a commit.
    pub fn link(&self, etag: &str, commit: &str, file: &str) -> Result<PathBuf> {
        let (blob, pointer) = (self.blob(etag), self.pointer(commit, file));
        if pointer.is_file() {
            return Ok(pointer);
        }
        make_parent(&pointer)?;
        // A link to a blob that was removed.
        let _ = fs::remove_file(&pointer);
        let up = "../".repeat(file.split('/').count() + 1);
        link(&format!("{up}blobs/{etag}"), &blob, &pointer)?;
        Ok(pointer)
    }

    pub fn tag(&self) {
        let tag = self.cache.join("CACHEDIR.TAG");
        if !tag.exists() {
            // For backup programs only.
            let _ = fs::write(tag, CACHEDIR_TAG);
        }
    }
}

/// Makes `pointer` a link with the relative `target`, or a copy of `blob` where there are no links. Another process may
/// have made it.
fn link(target: &str, blob: &Path, pointer: &Path) -> Result<()> {
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(target, pointer).is_ok();
    #[cfg(not(unix))]
    let linked = {
        let _ = target;
        false
    };
    if !linked && !pointer.is_file() {
        fs::copy(blob, pointer).map_err(|error| Error::io("write", pointer, error))?;
    }
    Ok(())
}

pub fn make_parent(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|error| {
        Error::io("make the folder", folder, error).hint(
            "set `HF_HUB_CACHE` (hub) or `DEFROST_CACHE` (other addresses) to a folder that you may write to",
        )
    })
}

/// Writes a small file under a temporary name, then renames it.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    make_parent(path)?;
    let failed = |error| Error::io("write", path, error);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = super::partial::new_file(folder, "", ".tmp").map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error)).map(drop)
}
