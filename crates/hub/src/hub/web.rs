//! Files behind other addresses, in a cache of defrost: one folder per address.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::cache::{make_parent, write};
use super::download::{Job, Proof, sha256};
use super::explain::{by_hand, offline, refused_by_server};
use super::http::{Failure, Response};
use super::partial::{Partial, locked};
use super::url::{joined, shown};
use super::{Fetching, Hub};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::pipeline::{FetchedWeights, RemoteWeights};

/// What is known of a fetched file, next to it.
#[derive(Serialize, Deserialize)]
struct Record {
    address: String,
    sha256: String,
    size: u64,
}

const RECORD: &str = "record.json";

/// What a server says of a file before it is fetched.
#[derive(Default)]
struct FileState {
    size: Option<u64>,
    /// A value for `If-Range`: a strong ETag, or a date.
    validator: Option<String>,
}

impl Hub {
    pub(super) fn find_address(&self, address: &str) -> Option<FetchedWeights> {
        let folder = self.folder(address);
        let record: Record = serde_json::from_slice(&fs::read(folder.join(RECORD)).ok()?).ok()?;
        let path = folder.join(file_name(address));
        let is_whole = fs::metadata(&path).is_ok_and(|data| data.is_file() && data.len() == record.size);
        (is_whole && record.address == address).then(|| FetchedWeights {
            path,
            pinned: RemoteWeights::Web(address.to_owned()),
            sha256: record.sha256,
        })
    }

    fn folder(&self, address: &str) -> PathBuf {
        self.settings.web_cache.join(&Digest::of(address.as_bytes()).to_string()[..16])
    }

    pub(super) fn fetch_address(&self, address: &str, fetching: &Fetching) -> Result<FetchedWeights> {
        if let Some(found) = self.find_address(address) {
            return Ok(found);
        }
        let folder = self.folder(address);
        let path = folder.join(file_name(address));
        make_parent(&path)?;
        let _lock = locked(&folder.join("lock"), fetching)?;
        if let Some(found) = self.find_address(address) {
            return Ok(found);
        }
        let proof = announced_digest(&file_name(address)).map_or(Proof::None, Proof::Sha256Start);
        let (sha256, size) = match self.of_torch(address, &proof, &path, fetching)? {
            Some(found) => found,
            None => {
                if let Some(variable) = self.settings.offline {
                    return Err(offline(address, variable, address));
                }
                self.download_address(address, proof, fetching).map_err(|error| by_hand(error, address))?
            }
        };
        let record = Record { address: address.to_owned(), sha256, size };
        let text = serde_json::to_vec(&record).map_err(|error| Error::bug(format!("a record: {error}")))?;
        write(&folder.join(RECORD), &text)?;
        self.find_address(address).ok_or_else(|| Error::failed(format!("`{}` was removed", path.display())))
    }

    /// Takes the file from PyTorch's cache, if it is there and has the digest of its name.
    fn of_torch(
        &self,
        address: &str,
        proof: &Proof,
        path: &std::path::Path,
        fetching: &Fetching,
    ) -> Result<Option<(String, u64)>> {
        let source = self.settings.torch_checkpoints.join(file_name(address));
        let Proof::Sha256Start(start) = proof else { return Ok(None) };
        if !source.is_file() {
            return Ok(None);
        }
        let folder = path.parent().unwrap_or(path);
        let mut partial = Partial::new(folder, None)?;
        let found = sha256(&source, |bytes| {
            fetching.interrupt.check()?;
            partial.append(bytes)
        })?;
        if !found.starts_with(start.as_str()) {
            return Ok(None);
        }
        let size = partial.have();
        partial.publish(path)?;
        Ok(Some((found, size)))
    }

    fn download_address(&self, address: &str, proof: Proof, fetching: &Fetching) -> Result<(String, u64)> {
        let state = self.state(address, fetching)?;
        let job = Job {
            http: &self.http,
            name: shown(address),
            url: address,
            token: None,
            size: state.size,
            proof,
            if_range: state.validator,
            refused: &|response| refused_by_server(address, response),
        };
        // Bytes from before are of the same file if it has a digest, or the same date or ETag.
        let name = file_name(address);
        let stem = match (&job.proof, &job.if_range) {
            (Proof::None, None) => None,
            (Proof::None, Some(validator)) => {
                Some(format!("{name}.{}", Digest::of(validator.as_bytes()).short()))
            }
            _ => Some(name.clone()),
        };
        let folder = self.folder(address);
        let mut partial = Partial::new(&folder, stem.as_deref())?;
        let received = job.run(&mut partial, fetching)?;
        partial.publish(&folder.join(name))?;
        Ok((received.sha256, received.size))
    }

    /// Asks for size and date. Servers that do not answer such requests still have the file.
    fn state(&self, address: &str, fetching: &Fetching) -> Result<FileState> {
        let (mut url, mut failed) = (address.to_owned(), false);
        for _ in 0..6 {
            let response = match self.http.request("HEAD", &url, &[], fetching.interrupt) {
                Ok(response) => response,
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Broken(cause)) if std::mem::replace(&mut failed, true) => {
                    return Err(Error::failed(format!("cannot fetch `{}`: {cause}", shown(address))));
                }
                Err(Failure::Broken(_)) => continue,
            };
            match response.location() {
                Some(location) => url = joined(&url, location),
                None if response.status == 200 => {
                    let size = response.number("content-length").filter(|size| *size > 0);
                    return Ok(FileState { size, validator: validator(&response) });
                }
                None => break,
            }
        }
        Ok(FileState::default())
    }
}

/// The header for `If-Range`. Weak ETags are not allowed there (RFC 9110, section 13.1.5).
fn validator(response: &Response) -> Option<String> {
    let strong = response.header("etag").filter(|etag| etag.starts_with('"'));
    strong.or(response.header("last-modified")).map(str::to_owned)
}

/// A safe name for the file of an address: the end of its path.
fn file_name(address: &str) -> String {
    let name = shown(address).rsplit('/').next().unwrap_or_default();
    let usable = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = name.chars().map(usable).collect();
    let name = name.trim_start_matches('.');
    // The end has the type.
    let start = name.len().saturating_sub(100);
    if name.is_empty() || name == RECORD { "weights".to_owned() } else { name[start..].to_owned() }
}

/// The digest in torchvision's names, such as `resnet50-11ad3fa6.pth`: the first digits of SHA-256.
fn announced_digest(name: &str) -> Option<String> {
    let stem = name.strip_suffix(".pth").or_else(|| name.strip_suffix(".pt"))?;
    let (_, digits) = stem.rsplit_once('-')?;
    let is_digest = (8..=64).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    is_digest.then(|| digits.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_keep_their_ending() {
        assert_eq!(file_name("https://a.org/b/c%20d.pth?e=/f"), "c_20d.pth");
        assert_eq!(file_name("https://a.org/..%2F..%2Fx.pth"), "_2F.._2Fx.pth");
        assert_eq!(file_name("https://a.org/..."), "weights");
        assert_eq!(file_name(&format!("https://a.org/{}.pth", "x".repeat(500))).len(), 100);
    }

    #[test]
    fn names_of_torchvision_have_a_digest() {
        assert_eq!(announced_digest("resnet50-11ad3fa6.pth").as_deref(), Some("11ad3fa6"));
        assert_eq!(announced_digest("vit_b_16_lc_swag-4e70ced5.pth").as_deref(), Some("4e70ced5"));
        for other in
            ["resnet50.pth", "resnet50-11AD3FA6.pth", "model-large.pth", "a-1234567.pth", "a-11ad3fa6.zip"]
        {
            assert_eq!(announced_digest(other), None, "{other}");
        }
    }
}
