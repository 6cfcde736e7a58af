//! Weights by name: finds them in caches, and fetches them. The only place that opens a network connection.
//!
//! `repository.rs` has the files of the Hugging Face hub (`hub_api.rs`), in the cache that Python uses (`cache.rs`); `web.rs`
//! has the files behind other addresses, in a cache of defrost. Both download with `download.rs`, which resumes what
//! was interrupted and checks what arrived. `http.rs` sends one request.
//!
//! It never prints and never reads the environment: [`HubSettings`] says where caches and servers are. Nothing is
//! fetched except by [`Hub::fetch`].

mod cache;
mod download;
mod explain;
mod http;
mod hub_api;
mod known_weights;
mod partial;
mod repository;
mod settings;
mod url;
mod web;

use crate::error::Result;
use crate::events::Interrupt;
use crate::pipeline::{FetchedWeights, RemoteWeights};

use http::Http;

pub use known_weights::{KnownWeights, known_weights};
pub use settings::{HubSettings, Proxies};

/// Finds and fetches weights.
pub struct Hub {
    settings: HubSettings,
    http: Http,
}

/// What happens while weights are fetched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FetchEvent<'a> {
    /// Bytes start to arrive. `have` of them were fetched before.
    Started { name: &'a str, have: u64, size: Option<u64> },
    /// This many bytes are there.
    Received { have: u64, size: Option<u64> },
    /// The connection failed. The next attempt starts after a pause.
    Retrying { cause: &'a str, seconds: u64 },
    /// Another process fetches the same file.
    Waiting,
    /// The file is complete, and its digest is right.
    Finished { size: u64 },
}

/// How to fetch: the observer of progress, and the request to stop.
pub struct Fetching<'a> {
    pub observer: &'a dyn Fn(FetchEvent),
    pub interrupt: &'a Interrupt,
    /// Asks the hub whether a branch or tag moved, instead of using the cached commit.
    pub update: bool,
}

impl Hub {
    pub fn new(settings: HubSettings) -> Self {
        Self { http: Http::new(&settings), settings }
    }

    pub fn settings(&self) -> &HubSettings {
        &self.settings
    }

    /// The weights, if a cache has them. Opens no connection.
    pub fn find(&self, name: &RemoteWeights) -> Option<FetchedWeights> {
        match name {
            RemoteWeights::Hub(hub) => self.find_in_repository(hub),
            RemoteWeights::Web(address) => self.find_address(address),
        }
    }

    /// The weights, from a cache or the network. What was interrupted is resumed.
    ///
    /// # Errors
    /// There is no such file, it may not be read, there is no connection, or other bytes arrived than announced. The
    /// hint says what to do by hand.
    pub fn fetch(&self, name: &RemoteWeights, fetching: &Fetching) -> Result<FetchedWeights> {
        match name {
            RemoteWeights::Hub(hub) => self.fetch_from_repository(hub, fetching),
            RemoteWeights::Web(address) => self.fetch_address(address, fetching),
        }
    }
}
