//! The connection to the other ranks, on the thread that makes all calls of MPI.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::super::peers::{Peers, Process, other_version};
use super::abi::{self, Abi, Calls};
use super::{Launcher, LauncherKind};
use crate::error::{Error, Result};

/// The most bytes that one call moves to a rank. Each call has buffers of its own, and small ones are used again and
/// again; calls of 64 MiB took 400 MB more with ResNet-50. MPI counts with C ints, so 2 GiB is the limit.
const MOST: usize = 1 << 23;

/// Looks at an operation in progress before the first sleep.
const EAGER: u32 = 500;
/// Sleeps double from the first to the last.
const FIRST_SLEEP: Duration = Duration::from_micros(20);
const LAST_SLEEP: Duration = Duration::from_millis(1);
/// Looks between two searches for ranks that ended: of those without sleep, and of others.
const SEARCHES: [u32; 2] = [1 << 16, 256];

pub struct Connection {
    calls: Box<dyn Calls>,
    pub rank: usize,
    pub count: usize,
    pub peers: Peers,
}

impl Connection {
    pub fn open(launcher: &Launcher) -> Result<Self> {
        let calls = library(launcher)?;
        let (rank, count) = calls.start()?;
        if count != launcher.processes {
            let (name, version, expected) = (&launcher.name, calls.version(), launcher.processes);
            // It is complete in itself. If it cannot end, that is not what went wrong.
            _ = calls.finish();
            return Err(Error::usage(format!(
                "{name} started {expected} processes, but `{version}` connects {count} of them"
            ))
            .hint("start them with the launcher of the MPI library that is found first, or name its library with `DEFROST_MPI`; under Slurm, try another `srun --mpi`"));
        }
        let mut connection = Self { calls, rank, count, peers: Peers::default() };
        let processes = connection.gather(&Process::own().to_bytes())?;
        let processes: Vec<_> = processes.iter().map(|bytes| Process::read(bytes)).collect();
        if let Some((other, version, first)) = other_version(&processes) {
            _ = connection.finish();
            return Err(Error::usage(format!(
                "rank {other} is defrost {version}, and rank 0 is defrost {first}"
            ))
            .hint("install the same program on all machines"));
        }
        connection.peers = Peers::of(&processes, rank);
        Ok(connection)
    }

    pub fn version(&self) -> String {
        self.calls.version()
    }

    pub fn finish(&self) -> Result<()> {
        self.calls.finish()
    }

    /// The bytes of every rank, by rank. Others may come much later.
    pub fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let length = (own.len() as u64).to_le_bytes().to_vec();
        let lengths = self.calls.gather(length, &vec![8; self.count], &mut self.patience(true))?;
        let number =
            |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("chunks of eight bytes")) as usize;
        let lengths: Vec<usize> = lengths.chunks_exact(8).map(number).collect();
        let mut all: Vec<Vec<u8>> = lengths.iter().map(|length| Vec::with_capacity(*length)).collect();
        for begin in self.begins(lengths.iter().copied()) {
            let counts: Vec<usize> = lengths.iter().map(|length| self.piece(*length, begin)).collect();
            let piece = own[begin.min(own.len())..][..counts[self.rank]].to_vec();
            let received = self.calls.gather(piece, &counts, &mut self.patience(false))?;
            append(&mut all, &received, &counts);
        }
        Ok(all)
    }

    pub fn exchange(&self, mut parts: Vec<Vec<u8>>, lengths: &[Vec<usize>]) -> Result<Vec<Vec<u8>>> {
        let mut all: Vec<Vec<u8>> = lengths.iter().map(|row| Vec::with_capacity(row[self.rank])).collect();
        for begin in self.begins(lengths.iter().flatten().copied()) {
            let give: Vec<usize> =
                lengths[self.rank].iter().map(|length| self.piece(*length, begin)).collect();
            let take: Vec<usize> = lengths.iter().map(|row| self.piece(row[self.rank], begin)).collect();
            let mut own = Vec::with_capacity(give.iter().sum());
            for (part, length) in parts.iter().zip(&give) {
                own.extend_from_slice(&part[begin.min(part.len())..][..*length]);
            }
            if parts.iter().all(|part| part.len() <= begin + self.most()) {
                // That was the last of them; what is received needs memory too.
                parts.clear();
            }
            let received = self.calls.exchange(own, &give, &take, &mut self.patience(false))?;
            append(&mut all, &received, &take);
        }
        Ok(all)
    }

    /// Where the pieces of messages begin, of which the longest has most.
    fn begins(&self, lengths: impl Iterator<Item = usize>) -> std::iter::StepBy<std::ops::Range<usize>> {
        (0..lengths.max().unwrap_or(0)).step_by(self.most())
    }

    /// The length of a piece of a message.
    fn piece(&self, length: usize, begin: usize) -> usize {
        length.saturating_sub(begin).min(self.most())
    }

    /// The longest piece: those of all ranks together stay within what a C int counts.
    fn most(&self) -> usize {
        (MOST / self.count).max(1)
    }

    /// What to do between two looks at an operation. If others may come much later, it sleeps. It fails if a rank of
    /// this machine ended.
    fn patience(&self, sleeps: bool) -> impl FnMut() -> Result<()> {
        let peers = &self.peers;
        let (mut looks, mut sleep, mut ended): (u32, _, Option<usize>) = (0, FIRST_SLEEP, None);
        move || {
            looks = looks.wrapping_add(1);
            // A rank that ended may have answered before.
            if let Some(rank) = ended {
                return Err(Error::failed(format!("rank {rank} ended before its work was done")).hint(
                    "look for its own message, or for a kill by the system, such as for memory; the last checkpoint is kept: run the same command again",
                ));
            }
            if looks.is_multiple_of(SEARCHES[usize::from(sleeps)]) {
                ended = peers.ended();
                if ended.is_some() {
                    thread::sleep(Duration::from_millis(100));
                    return Ok(());
                }
            }
            if !sleeps || looks < EAGER {
                thread::yield_now();
            } else {
                thread::sleep(sleep);
                sleep = LAST_SLEEP.min(sleep * 2);
            }
            Ok(())
        }
    }
}

/// Parts what was received, and appends it to the messages.
fn append(all: &mut [Vec<u8>], received: &[u8], counts: &[usize]) {
    let mut rest = received;
    for (message, count) in all.iter_mut().zip(counts) {
        let (piece, others) = rest.split_at(*count);
        message.extend_from_slice(piece);
        rest = others;
    }
}

/// The first library that opens, if the launcher connects its processes.
fn library(launcher: &Launcher) -> Result<Box<dyn Calls>> {
    let candidates = launcher.libraries();
    let mut refused = Vec::new();
    for path in &candidates {
        match abi::open(path) {
            Ok(calls) => return suitable(calls, launcher),
            Err(error) => refused.push(error),
        }
    }
    Err(no_library(launcher, &candidates, refused))
}

/// Why none of the candidates opened.
fn no_library(launcher: &Launcher, candidates: &[PathBuf], mut refused: Vec<Error>) -> Error {
    if launcher.library.is_some() && !refused.is_empty() {
        return refused
            .swap_remove(0)
            .hint("set `DEFROST_MPI` to the path of an MPI library, such as `/usr/lib/libmpi.so.40`");
    }
    let tried: Vec<String> = candidates.iter().map(|path| format!("`{}`", path.display())).collect();
    let is_absent = |(path, error): &(&PathBuf, &Error)| {
        error.message.contains(&format!("{}: cannot open shared object file: No such file", path.display()))
    };
    // One that is there, but lacks something, is the one that was meant.
    let broken = candidates.iter().zip(&refused).find(|each| !is_absent(each));
    let broken = broken.map(|(_, error)| format!("; {}", error.message)).unwrap_or_default();
    Error::failed(format!(
        "{} started {} processes, but there is no MPI library through which they could work together: tried {}{broken}",
        launcher.name,
        launcher.processes,
        tried.join(", ")
    ))
    .hint("load the module of the launcher's MPI, add the folder of its libraries to `LD_LIBRARY_PATH`, or name its library with `DEFROST_MPI`")
}

/// Refuses a library of another family than the launcher's, before it starts a world of its own.
fn suitable(calls: Box<dyn Calls>, launcher: &Launcher) -> Result<Box<dyn Calls>> {
    let version = calls.version();
    let is_open_mpi = calls.abi() == Abi::OpenMpi || version.contains("Open MPI");
    let fits = match launcher.kind {
        LauncherKind::OpenMpi => is_open_mpi,
        LauncherKind::Mpich => !is_open_mpi,
        LauncherKind::Either => true,
    };
    if fits {
        return Ok(calls);
    }
    let (name, own) = (&launcher.name, if is_open_mpi { "Open MPI's" } else { "that library's" });
    Err(Error::usage(format!(
        "{name} started this process, but the MPI library that was found is `{version}`"
    ))
    .hint(format!("start it with {own} `mpirun`, or name the library of the launcher with `DEFROST_MPI`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(library: Option<&str>, candidates: &[&str]) -> Error {
        let launcher = Launcher {
            kind: LauncherKind::Mpich,
            name: "a launcher".to_owned(),
            processes: 3,
            rank: 0,
            library: library.map(PathBuf::from),
        };
        let candidates: Vec<PathBuf> = candidates.iter().map(PathBuf::from).collect();
        let refused = candidates.iter().filter_map(|path| abi::open(path).err()).collect();
        no_library(&launcher, &candidates, refused)
    }

    #[test]
    fn without_a_library_the_message_has_all_names_and_what_a_broken_one_lacks() {
        let error = refusal(None, &["libnowhere.so.1", "libelsewhere.so.2"]);
        let expected = "a launcher started 3 processes, but there is no MPI library through which they could work \
                        together: tried `libnowhere.so.1`, `libelsewhere.so.2`";
        assert!(error.message.starts_with(expected), "{error}");
        #[cfg(target_os = "linux")]
        assert_eq!(error.message, expected);
        assert!(error.hint.unwrap().contains("LD_LIBRARY_PATH"));
        let error = refusal(None, &["libnowhere.so.1", "libm.so.6"]);
        assert!(error.message.contains("; the library has no `MPI_Init_thread`"), "{error}");
    }

    #[test]
    fn a_library_that_the_user_names_is_the_only_one() {
        let error = refusal(Some("/nowhere/libmpi.so"), &["/nowhere/libmpi.so"]);
        assert!(error.message.starts_with("cannot open `/nowhere/libmpi.so`: "), "{error}");
        assert!(error.hint.unwrap().contains("DEFROST_MPI"));
    }
}
