//! Buffers, lengths and text as MPI takes them.

use std::ffi::{c_char, c_int};

use crate::error::{Error, Result};

/// More than any `MPI_MAX_ERROR_STRING` and `MPI_MAX_LIBRARY_VERSION_STRING`.
const TEXT: usize = 16384;

/// A buffer with memory of its own even if it is empty. Without, its address is 1, which Open MPI and the standard
/// interface read as `MPI_IN_PLACE`: a rank that has nothing to give would then wait for ever.
pub fn allocated(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.reserve(1);
    buffer
}

/// Text that MPI writes.
pub fn text(write: impl FnOnce(*mut c_char, *mut c_int) -> c_int) -> String {
    let (mut bytes, mut length) = (vec![0u8; TEXT], 0);
    write(bytes.as_mut_ptr().cast(), &raw mut length);
    bytes.truncate(usize::try_from(length).unwrap_or(0));
    let text = String::from_utf8_lossy(&bytes);
    let line = text.trim_end_matches('\0').lines().next().unwrap_or_default();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Lengths as MPI takes them. Callers part what is longer.
pub fn ints(lengths: &[usize]) -> Result<Vec<c_int>> {
    let int =
        |length: &usize| c_int::try_from(*length).map_err(|_| Error::bug("a message of more than 2 GiB"));
    lengths.iter().map(int).collect()
}

/// Where each of several parts begins.
pub fn offsets(lengths: &[usize]) -> Result<Vec<c_int>> {
    let begin = |sum: &mut usize, length: &usize| {
        let begin = *sum;
        *sum += length;
        Some(begin)
    };
    ints(&lengths.iter().scan(0, begin).collect::<Vec<_>>())
}

pub fn total(counts: &[c_int]) -> usize {
    counts.iter().map(|count| usize::try_from(*count).unwrap_or(0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_buffer_is_not_taken_for_in_place() {
        let (empty, own) = (Vec::<u8>::new(), allocated(Vec::new()));
        assert_eq!(empty.as_ptr().addr(), 1);
        assert_ne!(own.as_ptr().addr(), 1);
    }

    #[test]
    fn parts_lie_one_after_the_other() {
        assert_eq!(offsets(&[3, 0, 4]).unwrap(), [0, 3, 3]);
        assert_eq!(total(&ints(&[3, 0, 4]).unwrap()), 7);
        assert!(ints(&[1 << 31]).is_err());
    }

    #[test]
    fn text_is_the_first_line_as_far_as_it_was_written() {
        let write = |to: *mut c_char, length: *mut c_int| {
            let words = b"MPICH Version:\t4.0\nDevice: x";
            // SAFETY: the buffer has room for more.
            unsafe {
                std::ptr::copy_nonoverlapping(words.as_ptr().cast(), to, words.len());
                *length = 22;
            }
            0
        };
        assert_eq!(text(write), "MPICH Version: 4.0");
        assert_eq!(text(|_, _| 1), "");
    }
}
