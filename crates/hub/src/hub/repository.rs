//! Files of the Hugging Face hub, in the cache that Python uses too.

use super::cache::{RepositoryCache, make_parent};
use super::download::{Job, Proof, sha256};
use super::explain::{by_hand, hub_url, offline, refused_by_hub};
use super::hub_api::{FileState, USUAL, is_sharded, is_weights, sharded};
use super::partial::{Partial, locked};
use super::url::Origin;
use super::{Fetching, Hub};
use crate::error::Result;
use crate::pipeline::{FetchedWeights, HubWeights, RemoteWeights};

impl Hub {
    pub(super) fn find_in_repository(&self, hub: &HubWeights) -> Option<FetchedWeights> {
        let cache = self.repository_cache(hub);
        let commit = match hub.commit() {
            Some(commit) => commit.to_owned(),
            None => cache.commit(hub.revision())?,
        };
        let file = match &hub.file {
            Some(file) => file.clone(),
            None => usual_file(&cache, &commit)?,
        };
        fetched(&cache, hub, &commit, &file).ok()
    }

    fn repository_cache(&self, hub: &HubWeights) -> RepositoryCache {
        RepositoryCache::new(&self.settings.hub_cache, &hub.repository)
    }

    pub(super) fn fetch_from_repository(
        &self,
        hub: &HubWeights,
        fetching: &Fetching,
    ) -> Result<FetchedWeights> {
        let name = hub.to_string();
        let url = hub_url(&self.settings.endpoint, hub, hub.file.as_deref().unwrap_or(USUAL[0]));
        if let (Some(found), false) = (self.find_in_repository(hub), fetching.update) {
            return Ok(found);
        }
        if let Some(variable) = self.settings.offline {
            return Err(offline(&name, variable, &url));
        }
        if let Some(file) = hub.file.as_deref().filter(|file| is_sharded(file)) {
            return Err(sharded(&hub.repository, &[file.to_owned()]));
        }
        let cache = self.repository_cache(hub);
        let (file, state) = self.choose(hub, &cache, fetching)?;
        let url = hub_url(&self.settings.endpoint, hub, &file);
        self.fetch_blob(&cache, &url, &file, hub, &state, fetching).map_err(|error| by_hand(error, &url))?;
        cache.link(&state.etag, &state.commit, &file)?;
        cache.set_commit(hub.revision(), &state.commit)?;
        fetched(&cache, hub, &state.commit, &file)
    }

    fn fetch_blob(
        &self,
        cache: &RepositoryCache,
        url: &str,
        file: &str,
        hub: &HubWeights,
        state: &FileState,
        fetching: &Fetching,
    ) -> Result<()> {
        let blob = cache.blob(&state.etag);
        make_parent(&blob)?;
        cache.tag();
        let _lock = locked(&cache.lock(&state.etag), fetching)?;
        if blob.is_file() {
            return Ok(());
        }
        let named = HubWeights { file: Some(file.to_owned()), ..hub.clone() }.to_string();
        let has_token = self.settings.token.is_some();
        let job = Job {
            http: &self.http,
            name: &named,
            url,
            token: self.settings.token.as_deref().zip(Origin::of(&self.settings.endpoint)),
            size: state.size,
            proof: proof(&state.etag),
            if_range: None,
            refused: &|response| refused_by_hub(&self.settings.endpoint, hub, file, has_token, response),
        };
        let stem = Some(state.etag.as_str()).filter(|_| job.proof != Proof::None);
        let mut partial = Partial::new(blob.parent().unwrap_or(&blob), stem)?;
        job.run(&mut partial, fetching)?;
        partial.publish(&blob)
    }
}

/// The file of weights of a commit in the cache, if it is certain which one the hub has.
fn usual_file(cache: &RepositoryCache, commit: &str) -> Option<String> {
    for file in USUAL {
        if cache.pointer(commit, file).is_file() {
            return Some(file.to_owned());
        }
        if !cache.lacks(commit, file) {
            return None;
        }
    }
    let mut weights = cache.files(commit).into_iter().filter(|file| is_weights(file));
    weights.next().filter(|_| weights.next().is_none())
}

/// A file of the cache, with its commit and digest.
fn fetched(cache: &RepositoryCache, hub: &HubWeights, commit: &str, file: &str) -> Result<FetchedWeights> {
    let path = cache.pointer(commit, file);
    // The name of the blob is its digest, unless the cache has copies, or the file is small.
    let target = std::fs::read_link(&path).ok();
    let blob = target.as_ref().and_then(|target| target.file_name()?.to_str());
    let sha256 = match blob.map(proof) {
        Some(Proof::Sha256(digest)) if path.is_file() => digest,
        _ => sha256(&path, |_| Ok(()))?,
    };
    let pinned = HubWeights {
        repository: hub.repository.clone(),
        revision: Some(commit.to_owned()),
        file: Some(file.to_owned()),
    };
    Ok(FetchedWeights { path, pinned: RemoteWeights::Hub(pinned), sha256 })
}

/// What an ETag says of the file.
fn proof(etag: &str) -> Proof {
    let is_hexadecimal = etag.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    match etag.len() {
        64 if is_hexadecimal => Proof::Sha256(etag.to_owned()),
        40 if is_hexadecimal => Proof::GitBlob(etag.to_owned()),
        _ => Proof::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_an_etag_says_which_digest_it_is() {
        assert_eq!(proof(&"a".repeat(64)), Proof::Sha256("a".repeat(64)));
        assert_eq!(proof(&"0".repeat(40)), Proof::GitBlob("0".repeat(40)));
        assert_eq!(proof("5f-2"), Proof::None);
    }
}
