//! What is known of the launcher, and the libraries that suit it.

use std::path::PathBuf;

/// The program that started the ranks, as its variables tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launcher {
    pub kind: LauncherKind,
    /// How it is called in messages, such as "`mpirun` of Open MPI".
    pub name: String,
    /// The number of processes that it started.
    pub processes: usize,
    /// The number of this process among them.
    pub rank: usize,
    /// The library to open, if the user names one.
    pub library: Option<PathBuf>,
}

/// The family of MPI whose processes a launcher connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LauncherKind {
    OpenMpi,
    /// MPICH and those with its binary interface: Intel MPI, MVAPICH, Cray MPICH.
    Mpich,
    /// PMIx, which several families understand.
    Either,
}

/// Names of libraries, which the system's loader finds. Debian has a name of its own for MPICH.
const OPEN_MPI: [&str; 2] = ["libmpi.so.40", "libmpi.so"];
const MPICH: [&str; 6] = [
    "libmpi_abi.so.1",
    "libmpi.so.12",
    "libmpich.so.12",
    "libmpi_cray.so.12",
    "libmpi_gnu.so.12",
    "libmpi_abi.so.0",
];

impl Launcher {
    /// The libraries to try in this order.
    pub(super) fn libraries(&self) -> Vec<PathBuf> {
        if let Some(named) = &self.library {
            return vec![named.clone()];
        }
        let (open, mpich) = (OPEN_MPI.map(PathBuf::from), MPICH.map(PathBuf::from));
        match self.kind {
            LauncherKind::OpenMpi => [&open[..], &mpich].concat(),
            LauncherKind::Mpich => [&mpich[..], &open].concat(),
            LauncherKind::Either => [&open[..], &mpich].concat(),
        }
    }
}
