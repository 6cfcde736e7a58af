//! What the hub answers about a repository.
//!
//! A `HEAD` request for a file answers with the commit (`X-Repo-Commit`), the digest and the size. Large files are
//! redirected to other hosts with signed addresses; the first answer then has `X-Linked-Etag`, a SHA-256 digest, and
//! `X-Linked-Size`. The ETag of a small file is its name in git.

use serde_json::Value;

use super::cache::RepositoryCache;
use super::explain::{by_hand, hub_url, refused_by_hub};
use super::http::{Failure, Response};
use super::url::{Origin, escaped, joined};
use super::{Fetching, Hub};
use crate::error::{Error, Result};
use crate::pipeline::{HubWeights, is_commit};
use crate::sanitize;

/// The usual names of a file of weights, in the order of preference.
pub const USUAL: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
/// Endings of files of weights, except of those that belong to training.
const ENDINGS: [&str; 4] = [".safetensors", ".bin", ".pth", ".pt"];
const OF_TRAINING: [&str; 5] = ["training_args", "optimizer", "scheduler", "rng_state", "random_states"];
/// The number of names that an error lists.
const LISTED: usize = 12;

/// What the hub says of a file.
pub struct FileState {
    pub commit: String,
    pub etag: String,
    pub size: Option<u64>,
}

enum Answer {
    Found(FileState),
    /// The commit has no such file. Unknown if the answer does not say which commit.
    Missing(Option<String>),
}

impl Hub {
    /// The file that a name means, and its state.
    pub(super) fn choose(
        &self,
        hub: &HubWeights,
        cache: &RepositoryCache,
        fetching: &Fetching,
    ) -> Result<(String, FileState)> {
        let candidates = match &hub.file {
            Some(file) => vec![file.as_str()],
            None => USUAL.to_vec(),
        };
        for file in candidates {
            match self.head(hub, file, fetching)? {
                Answer::Found(state) => return Ok((file.to_owned(), state)),
                Answer::Missing(Some(commit)) => {
                    cache.set_lacking(&commit, file)?;
                    cache.set_commit(hub.revision(), &commit)?;
                }
                Answer::Missing(None) => {}
            }
        }
        let files = self.list(hub, fetching)?;
        let weights: Vec<String> = files.iter().filter(|file| is_weights(file)).cloned().collect();
        let (repository, list) = (&hub.repository, sanitize::list(&weights, LISTED));
        let at_revision = HubWeights { file: None, ..hub.clone() };
        if let Some(file) = &hub.file {
            let message = format!("`{repository}` has no file `{file}` at `{}`", hub.revision());
            let hint = if weights.is_empty() {
                "it has no weights".into()
            } else {
                format!("its weights are {list}")
            };
            return Err(Error::usage(message).hint(hint));
        }
        if files.iter().any(|file| file.ends_with(".index.json")) {
            return Err(sharded(repository, &weights));
        }
        match &weights[..] {
            [] => Err(Error::usage(format!("`{repository}` has no weights that can be read"))
                .hint("weights are `.safetensors` files or PyTorch files (`.bin`, `.pth`, `.pt`)")),
            [only] => match self.head(hub, only, fetching)? {
                Answer::Found(state) => Ok((only.clone(), state)),
                Answer::Missing(_) => {
                    Err(Error::failed(format!("`{repository}` lists `{only}`, but has no such file")))
                }
            },
            [first, ..] => Err(Error::usage(format!("`{repository}` has several files of weights: {list}"))
                .hint(format!("name one, such as `{at_revision}/{first}`"))),
        }
    }

    /// Asks for the state of a file. A redirect to another host is not followed: it belongs to the answer.
    fn head(&self, hub: &HubWeights, file: &str, fetching: &Fetching) -> Result<Answer> {
        let endpoint = &self.settings.endpoint;
        let mut url = hub_url(endpoint, hub, file);
        let first = url.clone();
        for _ in 0..5 {
            let response = self.ask("HEAD", &url, &hub.to_string(), &first, fetching)?;
            let next = response.location().map(|location| joined(&url, location));
            if let Some(next) = next.filter(|next| Origin::of(next) == Origin::of(&url)) {
                url = next;
                continue;
            }
            let commit =
                response.header("x-repo-commit").map(str::to_owned).filter(|commit| is_commit(commit));
            if response.status == 404 && response.header("x-error-code") == Some("EntryNotFound") {
                return Ok(Answer::Missing(commit));
            }
            if response.status >= 400 {
                let has_token = self.settings.token.is_some();
                return Err(by_hand(refused_by_hub(endpoint, hub, file, has_token, &response), &first));
            }
            let etag = response.header("x-linked-etag").or(response.header("etag")).and_then(normal);
            let (Some(commit), Some(etag)) = (commit, etag) else {
                let message = format!(
                    "`{endpoint}` does not answer as a hub: it says no commit and digest of `{file}`"
                );
                return Err(by_hand(Error::failed(message).hint("check `HF_ENDPOINT` and proxies"), &first));
            };
            let own = || response.number("content-length").filter(|_| response.location().is_none());
            let size = response.number("x-linked-size").or_else(own);
            return Ok(Answer::Found(FileState { commit, etag, size }));
        }
        Err(Error::failed(format!("`{first}` redirects too often")))
    }

    /// The names of all files of a repository.
    fn list(&self, hub: &HubWeights, fetching: &Fetching) -> Result<Vec<String>> {
        let endpoint = &self.settings.endpoint;
        let url = format!("{endpoint}/api/models/{}/revision/{}", hub.repository, escaped(hub.revision()));
        let mut response = self.ask("GET", &url, &hub.to_string(), &url, fetching)?;
        if response.status != 200 {
            return Err(refused_by_hub(endpoint, hub, "", self.settings.token.is_some(), &response));
        }
        let text = response.text().map_err(|failure| described(failure, &hub.to_string(), &url))?;
        let names = |document: Value| {
            let files = document.get("siblings")?.as_array()?.iter();
            Some(files.filter_map(|file| file.get("rfilename")?.as_str().map(str::to_owned)).collect())
        };
        serde_json::from_str(&text).ok().and_then(names).ok_or_else(|| {
            Error::failed(format!("`{endpoint}` does not list the files of `{}`", hub.repository))
        })
    }

    /// A request with the token, tried again once if the connection fails.
    fn ask<'a>(
        &self,
        method: &str,
        url: &str,
        name: &str,
        by_hand: &str,
        fetching: &Fetching<'a>,
    ) -> Result<Response<'a>> {
        let token =
            self.settings.token.as_ref().filter(|_| Origin::of(url) == Origin::of(&self.settings.endpoint));
        let headers: Vec<_> =
            token.map(|token| ("Authorization", format!("Bearer {token}"))).into_iter().collect();
        let mut failed = None;
        for _ in 0..2 {
            match self.http.request(method, url, &headers, fetching.interrupt) {
                Ok(response) if matches!(response.status, 429 | 500..=599) => {
                    let cause =
                        format!("`{}` answers with status {}", self.settings.endpoint, response.status);
                    failed = Some(Failure::Broken(cause));
                }
                Ok(response) => return Ok(response),
                Err(Failure::Broken(cause)) => failed = Some(Failure::Broken(cause)),
                Err(failure) => return Err(described(failure, name, by_hand)),
            }
        }
        Err(failed
            .map_or_else(|| Error::bug("no attempt was made"), |failure| described(failure, name, by_hand)))
    }
}

/// An ETag without `W/` and quotes, if it is safe as a name of a file.
fn normal(etag: &str) -> Option<String> {
    let etag = etag.trim().trim_start_matches("W/").trim_matches('"');
    let usable = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    (!etag.is_empty() && etag.len() <= 128 && etag.chars().all(usable)).then(|| etag.to_owned())
}

pub fn is_weights(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    ENDINGS.iter().any(|ending| name.ends_with(ending))
        && !OF_TRAINING.iter().any(|start| name.starts_with(start))
}

/// Whether a file is a part of weights, such as `model-00001-of-00003.safetensors`, or the index of them.
pub fn is_sharded(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    let of = name.find("-of-").is_some_and(|place| {
        let digits = |text: &str| text.bytes().take(5).filter(u8::is_ascii_digit).count() == 5;
        place >= 5 && name.get(place - 5..place).is_some_and(digits) && digits(&name[place + 4..])
    });
    of || name.ends_with(".index.json")
}

pub fn sharded(repository: &str, files: &[String]) -> Error {
    let list = sanitize::list(files, 3);
    Error::usage(format!("the weights of `{repository}` are in several files ({list}), which are not read together"))
        .hint("load the model in Python, save it with `safetensors.torch.save_file(model.state_dict(), \"weights.safetensors\")`, and write the path of that file")
}

fn described(failure: Failure, name: &str, url: &str) -> Error {
    match failure {
        Failure::Broken(cause) => by_hand(Error::failed(format!("cannot fetch `{name}`: {cause}")), url),
        Failure::Final(error) => by_hand(error, url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_a_safe_name() {
        assert_eq!(normal("W/\"ab-1\"").as_deref(), Some("ab-1"));
        assert_eq!(normal("\"../../x\""), None);
    }

    #[test]
    fn parts_of_weights_are_recognised() {
        for file in ["model-00001-of-00003.safetensors", "a/pytorch_model.bin.index.json"] {
            assert!(is_sharded(file), "{file}");
        }
        for file in ["model.safetensors", "state-of-art.bin", "a-00001-of-b.bin", "-of-00001"] {
            assert!(!is_sharded(file), "{file}");
        }
        assert!(is_weights("x/a.pth") && !is_weights("training_args.bin") && !is_weights("a.onnx"));
    }
}
