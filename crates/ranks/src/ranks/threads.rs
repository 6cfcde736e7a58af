//! Ranks that are threads of one process: for tests, which need no MPI.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Transport;
use crate::error::{Error, Result};

/// Runs `work` as each of `count` ranks, and returns their results by rank.
///
/// # Panics
/// If one of them does.
pub fn thread_ranks<T: Send>(count: usize, work: impl Fn(ThreadRank) -> T + Sync) -> Vec<T> {
    let room = Arc::new(Room { state: Mutex::new(RoomState::new(count)), changed: Condvar::new() });
    std::thread::scope(|scope| {
        let start = |rank| {
            let (work, own) = (&work, ThreadRank { rank, count, room: Arc::clone(&room) });
            scope.spawn(move || work(own))
        };
        let ranks: Vec<_> = (0..count).map(start).collect();
        ranks.into_iter().map(|rank| rank.join().expect("a rank panicked")).collect()
    })
}

/// A thread as a rank.
pub struct ThreadRank {
    rank: usize,
    count: usize,
    room: Arc<Room>,
}

struct Room {
    state: Mutex<RoomState>,
    changed: Condvar,
}

struct RoomState {
    /// What each rank has put down, until all have taken it.
    messages: Vec<Option<Arc<Vec<Vec<u8>>>>>,
    /// How many ranks have taken them.
    taken: usize,
    /// Those that ended.
    gone: Vec<bool>,
}

impl RoomState {
    fn new(count: usize) -> Self {
        Self { messages: vec![None; count], taken: 0, gone: vec![false; count] }
    }

    fn missing(&self) -> Option<usize> {
        self.messages.iter().position(Option::is_none)
    }
}

impl ThreadRank {
    fn state(&self) -> MutexGuard<'_, RoomState> {
        self.room.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, RoomState>) -> MutexGuard<'s, RoomState> {
        self.room.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// The messages of all ranks to all ranks.
    fn all(&self, own: Vec<Vec<u8>>) -> Result<Vec<Arc<Vec<Vec<u8>>>>> {
        let mut state = self.state();
        while state.messages[self.rank].is_some() {
            state = self.wait(state);
        }
        state.messages[self.rank] = Some(Arc::new(own));
        self.room.changed.notify_all();
        while state.missing().is_some() {
            let gone = |rank: &usize| state.gone[*rank] && state.messages[*rank].is_none();
            if let Some(rank) = (0..self.count).find(gone) {
                return Err(Error::failed(format!("rank {rank} ended")));
            }
            state = self.wait(state);
        }
        let all = state.messages.iter().flatten().cloned().collect();
        state.taken += 1;
        if state.taken == self.count {
            state.messages.fill(None);
            state.taken = 0;
            self.room.changed.notify_all();
        }
        Ok(all)
    }
}

impl Transport for ThreadRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.count
    }

    fn gather(&self, own: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        Ok(self.all(vec![own])?.iter().map(|parts| parts[0].clone()).collect())
    }

    fn exchange(&self, parts: Vec<Vec<u8>>, lengths: &[Vec<usize>]) -> Result<Vec<Vec<u8>>> {
        let received: Vec<Vec<u8>> = self.all(parts)?.iter().map(|parts| parts[self.rank].clone()).collect();
        let announced = received.iter().zip(lengths).all(|(part, row)| part.len() == row[self.rank]);
        if announced { Ok(received) } else { Err(Error::bug("a part has another length than announced")) }
    }
}

impl Drop for ThreadRank {
    fn drop(&mut self) {
        self.state().gone[self.rank] = true;
        self.room.changed.notify_all();
    }
}
