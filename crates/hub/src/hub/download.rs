//! Downloads one file: follows redirects, tries again after failures, resumes, and checks what arrived.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use super::http::{Failure, Http, Response};
use super::partial::Partial;
use super::url::{Origin, joined, shown};
use super::{FetchEvent, Fetching};
use crate::digest::{GitBlob, Sha256};
use crate::error::{Error, Result};
use crate::events::Interrupt;

/// Attempts in a row that bring no byte.
const ATTEMPTS: u32 = 4;
const REDIRECTS: usize = 10;

/// What the bytes must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Proof {
    Sha256(String),
    /// The first digits of SHA-256, as in torchvision's names of files.
    Sha256Start(String),
    /// Git's name of the file.
    GitBlob(String),
    /// Nothing is known.
    None,
}

/// A file to download.
pub struct Job<'a> {
    pub http: &'a Http,
    /// For messages.
    pub name: &'a str,
    pub url: &'a str,
    /// The token, and the only origin that it is sent to.
    pub token: Option<(&'a str, Origin)>,
    pub size: Option<u64>,
    pub proof: Proof,
    /// The header by which a server can tell that the file changed since the first bytes of it were fetched.
    pub if_range: Option<String>,
    /// Describes a final answer that is not the file.
    pub refused: &'a dyn Fn(&mut Response) -> Error,
}

/// What arrived.
pub struct Received {
    pub sha256: String,
    pub size: u64,
}

impl Job<'_> {
    /// Completes `partial`.
    pub fn run(&self, partial: &mut Partial, fetching: &Fetching) -> Result<Received> {
        let resumed = partial.have() > 0;
        (fetching.observer)(FetchEvent::Started { name: self.name, have: partial.have(), size: self.size });
        self.complete(partial, fetching)?;
        let mut found = self.checked(partial, fetching);
        // The old bytes may be damaged. New ones are tried once.
        if resumed && found.is_err() {
            partial.clear()?;
            self.complete(partial, fetching)?;
            found = self.checked(partial, fetching);
        }
        if found.is_err() {
            partial.clear()?;
        }
        let received = found?;
        (fetching.observer)(FetchEvent::Finished { size: received.size });
        Ok(received)
    }

    fn complete(&self, partial: &mut Partial, fetching: &Fetching) -> Result<()> {
        let mut failures = 0;
        loop {
            let before = partial.have();
            let cause = match self.attempt(partial, fetching) {
                Ok(()) => return Ok(()),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Broken(cause)) => cause,
            };
            failures = if partial.have() > before { 1 } else { failures + 1 };
            if failures >= ATTEMPTS {
                let kept = match partial.have() {
                    0 => "",
                    _ => "; what arrived is kept, and the next call continues there",
                };
                return Err(Error::failed(format!("cannot fetch `{}`: {cause}{kept}", self.name)));
            }
            let seconds = [0, 1, 2][failures as usize - 1];
            (fetching.observer)(FetchEvent::Retrying { cause: &cause, seconds });
            pause(seconds, fetching.interrupt)?;
        }
    }

    /// Appends what is missing.
    fn attempt(&self, partial: &mut Partial, fetching: &Fetching) -> Result<(), Failure> {
        if partial.have() > 0 && (self.size.is_some_and(|size| partial.have() > size) || !self.may_resume()) {
            partial.clear()?;
        }
        if self.size.is_some_and(|size| partial.have() == size) {
            return Ok(());
        }
        let mut response = self.follow(partial.have(), fetching)?;
        match response.status {
            200 => partial.clear()?,
            206 if starts_at(&response, partial.have()) => {}
            206 | 416 => {
                partial.clear()?;
                return Err(Failure::Broken("the server has no such part of the file".into()));
            }
            408 | 429 | 500..=599 => {
                let server = Origin::of(self.url).map_or_else(String::new, |origin| origin.host);
                return Err(Failure::Broken(format!("`{server}` answers with status {}", response.status)));
            }
            _ => return Err((self.refused)(&mut response).into()),
        }
        let announced = response.number("content-length").map(|length| length + partial.have());
        if let (Some(size), Some(announced)) = (self.size, announced)
            && size != announced
        {
            let message = format!("`{}` has {size} bytes, but {announced} were announced", self.name);
            return Err(Error::failed(message)
                .hint("a proxy may answer instead of the server; try again")
                .into());
        }
        let size = self.size.or(announced);
        while let Some(bytes) = response.chunk()? {
            partial.append(&bytes)?;
            if size.is_some_and(|size| partial.have() > size) {
                partial.clear()?;
                return Err(Failure::Broken("more bytes arrived than announced".into()));
            }
            (fetching.observer)(FetchEvent::Received { have: partial.have(), size });
        }
        match size {
            Some(size) if partial.have() < size => {
                Err(Failure::Broken(format!("the connection ended after {} of {size} bytes", partial.have())))
            }
            _ => Ok(()),
        }
    }

    /// Whether wrong first bytes would be noticed.
    fn may_resume(&self) -> bool {
        self.proof != Proof::None || self.if_range.is_some()
    }

    /// Sends the request, and follows redirects.
    fn follow<'a>(&self, have: u64, fetching: &Fetching<'a>) -> Result<Response<'a>, Failure> {
        let mut url = self.url.to_owned();
        for _ in 0..=REDIRECTS {
            let mut headers = Vec::new();
            if let Some((token, origin)) = &self.token
                && Origin::of(&url).as_ref() == Some(origin)
            {
                headers.push(("Authorization", format!("Bearer {token}")));
            }
            if have > 0 {
                headers.push(("Range", format!("bytes={have}-")));
                headers.extend(self.if_range.clone().map(|value| ("If-Range", value)));
            }
            let response = self.http.request("GET", &url, &headers, fetching.interrupt)?;
            let Some(location) = response.location() else { return Ok(response) };
            let next = joined(&url, location);
            let is_https = |url: &str| Origin::of(url).is_some_and(|origin| origin.is_https);
            if is_https(&url) && !is_https(&next) {
                let message = format!("`{}` redirects to an address without encryption", shown(&url));
                return Err(Error::failed(message).into());
            }
            url = next;
        }
        Err(Error::failed(format!("`{}` redirects more than {REDIRECTS} times", shown(self.url))).into())
    }

    /// Compares a complete file with what is known of it.
    fn checked(&self, partial: &Partial, fetching: &Fetching) -> Result<Received> {
        let size = partial.have();
        let mut blob = matches!(self.proof, Proof::GitBlob(_)).then(|| GitBlob::new(size));
        let sha256 = sha256(partial.path(), |bytes| {
            fetching.interrupt.check()?;
            blob.iter_mut().for_each(|blob| blob.update(bytes));
            Ok(())
        })?;
        let blob = blob.map(GitBlob::finish);
        let (wanted, found) = match &self.proof {
            Proof::Sha256(wanted) => (wanted, sha256.as_str()),
            Proof::Sha256Start(start) => (start, sha256.get(..start.len()).unwrap_or_default()),
            Proof::GitBlob(wanted) => (wanted, blob.as_deref().unwrap_or_default()),
            Proof::None => return Ok(Received { sha256, size }),
        };
        if wanted != found {
            let message = format!("`{}` is damaged: its digest is {found}, not {wanted}", self.name);
            let hint = "try again; if it stays so, the server or a proxy has another file";
            return Err(Error::failed(message).hint(hint));
        }
        Ok(Received { sha256, size })
    }
}

/// The SHA-256 digest of a file. `each` sees all bytes.
pub fn sha256(path: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<String> {
    let failed = |error| Error::io("read", path, error);
    let (mut file, mut hasher) = (File::open(path).map_err(failed)?, Sha256::default());
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hasher.finish()),
            count => {
                hasher.update(&buffer[..count]);
                each(&buffer[..count])?;
            }
        }
    }
}

/// Whether a partial answer has the bytes from this one on.
fn starts_at(response: &Response, have: u64) -> bool {
    let range = response.header("content-range").and_then(|range| range.trim().strip_prefix("bytes "));
    range.and_then(|range| range.split('-').next()?.parse().ok()) == Some(have)
}

fn pause(seconds: u64, interrupt: &Interrupt) -> Result<()> {
    for _ in 0..seconds * 10 {
        interrupt.check()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    interrupt.check()
}
