//! The interface of a transport, which moves bytes between ranks.

use crate::error::Result;

/// Moves bytes between ranks. All ranks call the same functions in the same order, from one thread at a time.
///
/// A transport for tensors in GPU memory, such as NCCL, would carry [`Transport::exchange`]; what is small goes
/// through [`Transport::gather`] on the host.
pub trait Transport: Sync {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// The number of processes.
    fn count(&self) -> usize;

    /// The bytes of every rank, by rank. Their lengths may differ. A rank may wait here for hours.
    ///
    /// # Errors
    /// Another rank ended, or the connection to it.
    fn gather(&self, own: Vec<u8>) -> Result<Vec<Vec<u8>>>;

    /// Gives `parts[r]` to rank `r`, and returns what each rank has for this one. `lengths[from][to]` is known to all
    /// ranks, and all ranks are there already.
    ///
    /// # Errors
    /// As for [`Transport::gather`].
    fn exchange(&self, parts: Vec<Vec<u8>>, lengths: &[Vec<usize>]) -> Result<Vec<Vec<u8>>>;
}
