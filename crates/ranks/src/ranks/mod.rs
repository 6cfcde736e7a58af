//! The ranks of a run: the processes that compute it together, numbered from 0.
//!
//! A transport moves bytes and adds nothing: what is added, and in which order, is decided by its users. So the
//! number of ranks and the transport change no result. Rank 0 alone writes and prints.
//!
//! This module never knows what the bytes mean, and never reads the environment.

mod alone;
mod mpi;
mod peers;
mod share;
mod team;
mod threads;
mod transport;
mod wire;

pub use mpi::{Launcher, LauncherKind, Mpi};
pub use share::BatchShare;
pub use team::Team;
pub use threads::{ThreadRank, thread_ranks};
pub use transport::Transport;
pub use wire::{Reader, Writer};
