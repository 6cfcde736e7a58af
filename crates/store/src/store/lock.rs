//! File locks. They only avoid double work: on a file system without locks, every request succeeds.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use super::disk;
use crate::error::{Error, Result};

/// Without locks, a file that changed within this time may still be in use.
const RECENT: Duration = Duration::from_secs(300);

/// The outcome of a lock request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockResult {
    Granted,
    /// Another process holds the lock.
    Held,
    /// The file system has no locks, for example NFS without its lock service. It is unknown who works here.
    NoLocks,
}

impl LockResult {
    /// Whether to proceed: the lock is held, or there are no locks.
    pub fn may_proceed(self) -> bool {
        self != Self::Held
    }
}

#[derive(Clone, Copy)]
enum Request {
    TryAlone,
    TryShared,
    Shared,
}

/// Opens a file for locking, and creates it if it is missing.
pub fn open(path: &Path) -> Result<File> {
    let open = || {
        fs::create_dir_all(disk::folder_of(path))?;
        // On NFS a shared lock needs read permission, and an exclusive one write permission.
        File::options().create(true).read(true).append(true).open(path)
    };
    open().map_err(|error| Error::io("open", path, error))
}

/// Opens an existing file for locking. If it is not writable, it is opened read-only, which is enough on a local
/// disk.
pub(super) fn open_existing(path: &Path) -> io::Result<File> {
    match File::options().read(true).append(true).open(path) {
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            File::open(path)
        }
        opened => opened,
    }
}

/// Requests an exclusive lock without waiting.
pub fn try_exclusive(file: &File) -> Result<LockResult> {
    asked(try_lock(file, Request::TryAlone))
}

/// Waits for a shared lock.
pub(super) fn lock_shared(file: &File) -> Result<LockResult> {
    asked(try_lock(file, Request::Shared))
}

/// Whether another process holds the lock of a file. Without locks: whether the file changed within five
/// minutes.
pub fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    match asked(try_lock(&file, Request::TryShared)) {
        Ok(LockResult::NoLocks) => !disk::is_unchanged_for(path, RECENT),
        answer => answer.is_ok_and(|answer| answer == LockResult::Held),
    }
}

fn asked(answer: Result<(), TryLockError>) -> Result<LockResult> {
    match answer {
        Ok(()) => Ok(LockResult::Granted),
        Err(TryLockError::WouldBlock) => Ok(LockResult::Held),
        Err(TryLockError::Error(error)) if has_no_locks(&error) => Ok(LockResult::NoLocks),
        Err(TryLockError::Error(error)) => Err(Error::failed(format!("cannot lock a file: {error}"))),
    }
}

/// `ENOLCK` of NFS without its lock service; `ENOSYS` and `EOPNOTSUPP` of user-space file systems.
fn has_no_locks(error: &io::Error) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let no_service = error.raw_os_error() == Some(rustix::io::Errno::NOLCK.raw_os_error());
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let no_service = false;
    no_service || error.kind() == ErrorKind::Unsupported
}

fn try_lock(file: &File, request: Request) -> Result<(), TryLockError> {
    #[cfg(test)]
    if let Some(code) = seam::answer() {
        return Err(TryLockError::Error(io::Error::from_raw_os_error(code)));
    }
    match request {
        Request::TryAlone => file.try_lock(),
        Request::TryShared => file.try_lock_shared(),
        Request::Shared => file.lock_shared().map_err(TryLockError::Error),
    }
}

/// Simulates file systems without locks, for tests.
#[cfg(test)]
pub(crate) mod seam {
    use std::cell::Cell;

    thread_local!(static ANSWER: Cell<Option<i32>> = const { Cell::new(None) });

    pub(super) fn answer() -> Option<i32> {
        ANSWER.get()
    }

    /// Runs `work` on this thread while every lock request fails with a system error.
    pub(crate) fn answering<T>(code: i32, work: impl FnOnce() -> T) -> T {
        ANSWER.set(Some(code));
        let done = work();
        ANSWER.set(None);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_locks_grants_and_another_failure_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = open(&folder.path().join("new/lock")).unwrap();
        // ENOLCK, ENOSYS, EOPNOTSUPP.
        for code in [37, 38, 95] {
            let answers =
                seam::answering(code, || [try_exclusive(&file), lock_shared(&file)].map(Result::unwrap));
            assert_eq!(answers, [LockResult::NoLocks; 2]);
            assert!(answers.iter().all(|answer| answer.may_proceed()));
        }
        assert!(seam::answering(5, || try_exclusive(&file)).is_err());
        assert_eq!(try_exclusive(&file).unwrap(), LockResult::Granted);
        let other = open(&folder.path().join("new/lock")).unwrap();
        assert_eq!(try_exclusive(&other).unwrap(), LockResult::Held);
        assert!(!LockResult::Held.may_proceed() && is_held(&folder.path().join("new/lock")));
    }

    #[test]
    fn without_locks_what_was_just_written_may_be_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        assert!(!seam::answering(37, || is_held(&path)));
        let file = open(&path).unwrap();
        assert!(!is_held(&path) && seam::answering(37, || is_held(&path)));
        file.set_modified(std::time::SystemTime::now() - 2 * RECENT).unwrap();
        assert!(!seam::answering(37, || is_held(&path)));
    }
}
