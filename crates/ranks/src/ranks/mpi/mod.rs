//! MPI as a transport. The library is opened by name when a launcher was seen, and is not needed otherwise.
//!
//! One thread makes all calls, so MPI needs no support for threads. It waits politely: other ranks of the machine may
//! need the cores.

mod abi;
mod buffers;
mod connection;
mod functions;
mod launcher;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use self::connection::Connection;
use super::Transport;
use crate::error::{Error, Result};

pub use launcher::{Launcher, LauncherKind};

/// The ranks that a launcher started.
pub struct Mpi {
    rank: usize,
    count: usize,
    version: String,
    sharing: usize,
    neighbours: usize,
    channels: Mutex<Channels>,
    thread: JoinHandle<()>,
}

struct Channels {
    requests: Sender<Request>,
    replies: Receiver<Result<Vec<Vec<u8>>>>,
}

enum Request {
    Gather(Vec<u8>),
    Exchange { parts: Vec<Vec<u8>>, lengths: Vec<Vec<usize>> },
    Finish,
}

/// What the thread has found when it is connected.
struct Joined {
    rank: usize,
    count: usize,
    version: String,
    sharing: usize,
    neighbours: usize,
}

impl Mpi {
    /// Opens a library that suits the launcher, and connects to the other ranks.
    ///
    /// # Errors
    /// There is no such library, or it belongs to another launcher.
    pub fn join(launcher: &Launcher) -> Result<Self> {
        let (requests, inbox) = channel();
        let (outbox, replies) = channel();
        let (joined, waiting) = channel();
        let launcher = launcher.clone();
        let work = move || match Connection::open(&launcher) {
            Err(error) => _ = joined.send(Err(error)),
            Ok(connection) => {
                let Connection { rank, count, .. } = connection;
                let (version, peers) = (connection.version(), &connection.peers);
                let (sharing, neighbours) = (peers.sharing(), peers.neighbours());
                if joined.send(Ok(Joined { rank, count, version, sharing, neighbours })).is_ok() {
                    serve(&connection, &inbox, &outbox);
                }
                // After a failure, the connection is given up: ending it would wait for the other ranks.
                std::mem::forget(connection);
            }
        };
        let thread = std::thread::Builder::new().name("mpi".into()).spawn(work);
        let thread = thread.map_err(|error| Error::failed(format!("cannot start a thread: {error}")))?;
        let ended = |_| Err(Error::bug("the thread of MPI ended"));
        let Joined { rank, count, version, sharing, neighbours } = waiting.recv().unwrap_or_else(ended)?;
        let channels = Mutex::new(Channels { requests, replies });
        Ok(Self { rank, count, version, sharing, neighbours, channels, thread })
    }

    /// The name and version of the library.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// How many ranks may use exactly the cores that this one may use, with it.
    pub fn sharing(&self) -> usize {
        self.sharing
    }

    /// The ranks of this machine, with this one.
    pub fn neighbours(&self) -> usize {
        self.neighbours
    }

    /// Ends the connection, which all ranks must do. Without it, the launcher takes the end of a process as a failure,
    /// and ends the others.
    pub fn close(self) -> Result<()> {
        let closed = self.ask(Request::Finish);
        let joined = self.thread.join().map_err(|_| Error::bug("the thread of MPI panicked"));
        closed.map(drop).and(joined)
    }

    fn ask(&self, request: Request) -> Result<Vec<Vec<u8>>> {
        let ended = || Error::failed("the connection to the other processes was given up");
        let channels = self.channels.lock().map_err(|_| ended())?;
        channels.requests.send(request).map_err(|_| ended())?;
        channels.replies.recv().map_err(|_| ended())?
    }
}

/// Answers requests until one fails or the connection ends.
fn serve(connection: &Connection, requests: &Receiver<Request>, replies: &Sender<Result<Vec<Vec<u8>>>>) {
    for request in requests {
        let (reply, last) = match request {
            Request::Gather(own) => (connection.gather(&own), false),
            Request::Exchange { parts, lengths } => (connection.exchange(parts, &lengths), false),
            Request::Finish => (connection.finish().map(|()| Vec::new()), true),
        };
        let over = last || reply.is_err();
        if replies.send(reply).is_err() || over {
            return;
        }
    }
}

impl Transport for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.count
    }

    fn gather(&self, own: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        self.ask(Request::Gather(own))
    }

    fn exchange(&self, parts: Vec<Vec<u8>>, lengths: &[Vec<usize>]) -> Result<Vec<Vec<u8>>> {
        self.ask(Request::Exchange { parts, lengths: lengths.to_vec() })
    }
}
