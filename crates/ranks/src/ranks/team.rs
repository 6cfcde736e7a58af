//! What ranks do together: gather messages, exchange slices, and fail as one.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::alone::Alone;
use super::{Reader, Transport, Writer};
use crate::error::{Error, ErrorKind, Result};

/// The ranks that compute a stage, as one of them sees them.
///
/// A rank that fails says so in its next message, whichever that is. Then all of them fail, with that message.
pub struct Team<'a> {
    transport: &'a dyn Transport,
    /// Whether all ranks know of a failure.
    failed: AtomicBool,
}

/// The last byte of a message, and of an error in its place.
const MESSAGE: u8 = 1;
const FAILURE: u8 = 0;

/// The error of a rank, for the others.
#[derive(Serialize, Deserialize)]
struct Failure {
    kind: String,
    message: String,
    hint: Option<String>,
}

static ALONE: Team<'static> = Team { transport: &Alone, failed: AtomicBool::new(false) };

impl Team<'static> {
    /// One process without others.
    pub fn alone() -> &'static Self {
        &ALONE
    }
}

impl<'a> Team<'a> {
    pub fn new(transport: &'a dyn Transport) -> Self {
        Self { transport, failed: AtomicBool::new(false) }
    }

    /// The same ranks, before any failure.
    pub fn renewed(&self) -> Self {
        Self::new(self.transport)
    }

    pub fn rank(&self) -> usize {
        self.transport.rank()
    }

    pub fn count(&self) -> usize {
        self.transport.count()
    }

    pub fn is_alone(&self) -> bool {
        self.count() == 1
    }

    /// Whether this is the rank that writes and prints.
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// The message of every rank, by rank.
    ///
    /// # Errors
    /// A rank has an error in place of its message: all ranks return that of the first such rank. Or a rank is gone.
    pub fn gather(&self, own: Result<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        if self.is_alone() {
            return Ok(vec![own?]);
        }
        // Gradients are large: what tells a message from a failure comes last, so that nothing is copied.
        let (mut message, mark, own) = match own {
            Ok(bytes) => (bytes, MESSAGE, None),
            Err(error) => (Failure::of(&error).to_bytes(), FAILURE, Some(error)),
        };
        message.reserve_exact(1);
        message.push(mark);
        let all = match self.transport.gather(message) {
            Ok(all) => all,
            Err(gone) => {
                self.failed.store(true, Ordering::Relaxed);
                // What went wrong here came first.
                return Err(own.unwrap_or(gone));
            }
        };
        let mut messages = Vec::with_capacity(all.len());
        let mut failure = None;
        for (rank, mut bytes) in all.into_iter().enumerate() {
            match bytes.pop() {
                Some(MESSAGE) => messages.push(bytes),
                Some(FAILURE) => failure = failure.or(Some((rank, bytes))),
                _ => return Err(Error::bug("a message of another rank has no end")),
            }
        }
        let Some((rank, bytes)) = failure else { return Ok(messages) };
        self.failed.store(true, Ordering::Relaxed);
        match own {
            Some(error) if rank == self.rank() => Err(error),
            _ => Err(Failure::read(&bytes)?.error(rank)),
        }
    }

    /// Agrees on the outcome of work that every rank did: the error of the first rank that has one.
    ///
    /// # Errors
    /// Some rank failed.
    pub fn settle<T>(&self, own: Result<T>) -> Result<T> {
        if self.is_alone() || self.failed.load(Ordering::Relaxed) {
            return own;
        }
        match own {
            Ok(value) => self.gather(Ok(Vec::new())).map(|_| value),
            Err(error) => match self.gather(Err(error)) {
                Err(error) => Err(error),
                Ok(_) => Err(Error::bug("a failure that no rank has seen")),
            },
        }
    }

    /// Gives `parts[r]` to rank `r`, and returns what each rank has for this one.
    ///
    /// # Errors
    /// As for [`Team::gather`].
    pub fn exchange(&self, parts: Result<Vec<Vec<u8>>>) -> Result<Vec<Vec<u8>>> {
        let (row, parts) = match parts {
            Err(error) => (Err(error), Vec::new()),
            Ok(parts) => {
                let mut row = Writer::default();
                parts.iter().for_each(|part| _ = row.number(part.len() as u64));
                (Ok(row.finish()), parts)
            }
        };
        let lengths = |bytes: Vec<u8>| {
            let mut reader = Reader::new(&bytes);
            (0..self.count()).map(|_| reader.length()).collect::<Result<Vec<usize>>>()
        };
        let lengths = self.gather(row)?.into_iter().map(lengths).collect::<Result<Vec<_>>>()?;
        let received = self.transport.exchange(parts, &lengths);
        received.inspect_err(|_| self.failed.store(true, Ordering::Relaxed))
    }
}

impl Failure {
    fn of(error: &Error) -> Self {
        let kind = match error.kind {
            ErrorKind::Usage => "usage",
            ErrorKind::Failed => "failed",
            ErrorKind::OutOfMemory => "out_of_memory",
            ErrorKind::Bug => "bug",
            ErrorKind::Interrupted => "interrupted",
        };
        Self { kind: kind.to_owned(), message: error.message.clone(), hint: error.hint.clone() }
    }

    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text is plain data")
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|_| Error::bug("an error of another rank cannot be read"))
    }

    /// The error as the others return it. One of rank 0 is reported without its number.
    fn error(self, rank: usize) -> Error {
        let error = match self.kind.as_str() {
            "usage" => Error::usage(self.message),
            "out_of_memory" => Error::out_of_memory(self.message),
            "bug" => Error::bug(self.message),
            "interrupted" => Error::interrupted(self.message),
            _ => Error::failed(self.message),
        };
        let error = match self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        };
        if rank == 0 { error } else { error.within(format_args!("rank {rank}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::thread_ranks;
    use super::*;

    #[test]
    fn one_process_keeps_its_own() {
        let team = Team::alone();
        assert_eq!(team.gather(Ok(vec![1, 2])).unwrap(), [[1, 2]]);
        assert_eq!(team.exchange(Ok(vec![vec![3]])).unwrap(), [[3]]);
        assert!(team.leads() && team.is_alone());
        assert_eq!(team.settle::<()>(Err(Error::failed("torn"))).unwrap_err().message, "torn");
    }

    #[test]
    fn parts_reach_the_ranks_that_they_are_for() {
        let found = thread_ranks(3, |rank| {
            let team = Team::new(&rank);
            let parts = (0..3).map(|to| vec![(10 * team.rank() + to) as u8; to]).collect();
            (
                team.exchange(Ok(parts)).unwrap(),
                team.gather(Ok(vec![team.rank() as u8; team.rank()])).unwrap(),
            )
        });
        for (to, (parts, all)) in found.into_iter().enumerate() {
            let expected: Vec<Vec<u8>> = (0..3).map(|from| vec![(10 * from + to) as u8; to]).collect();
            assert_eq!(parts, expected);
            assert_eq!(all, [vec![], vec![1], vec![2, 2]]);
        }
    }

    /// A rank may fail before any of its messages.
    #[test]
    fn all_ranks_fail_with_the_message_of_the_one_that_did() {
        let failure = || Error::usage("there is no `x`").hint("write it");
        let found = thread_ranks(3, |rank| {
            let team = Team::new(&rank);
            let work = || {
                team.gather(Ok(Vec::new()))?;
                if team.rank() == 2 {
                    return Err(failure());
                }
                team.exchange(Ok(vec![vec![1]; 3])).map(drop)
            };
            let settled = team.settle(work()).unwrap_err();
            // Later work of the same ranks is not disturbed.
            let next = team.renewed().gather(Ok(vec![team.rank() as u8])).unwrap();
            assert_eq!(next, [[0], [1], [2]]);
            (settled.kind, settled.message, settled.hint)
        });
        for (rank, (kind, message, hint)) in found.into_iter().enumerate() {
            let expected = if rank == 2 { "there is no `x`" } else { "rank 2: there is no `x`" };
            assert_eq!((kind, &*message, hint.as_deref()), (ErrorKind::Usage, expected, Some("write it")));
        }
    }

    #[test]
    fn a_rank_that_is_gone_is_an_error_of_the_others() {
        let found = thread_ranks(3, |rank| {
            let team = Team::new(&rank);
            team.gather(Ok(Vec::new())).unwrap();
            (team.rank() != 1).then(|| team.gather(Ok(Vec::new())).unwrap_err().message)
        });
        assert!(found[1].is_none());
        for message in [&found[0], &found[2]] {
            assert!(message.as_ref().unwrap().contains("rank 1"), "{message:?}");
        }
    }
}
