//! Sequential reading of pickle bytes, with bounds checks.

use super::pickle_error::{PickleError, Result};

pub(super) struct Input<'a> {
    file: &'a [u8],
    position: usize,
    /// The start of the current instruction.
    instruction: usize,
}

impl<'a> Input<'a> {
    /// Reads `file` from byte `position`.
    pub fn new(file: &'a [u8], position: usize) -> Self {
        let position = position.min(file.len());
        Self { file, position, instruction: position }
    }

    pub fn position(&self) -> usize {
        self.position
    }

    /// The start of the current instruction.
    pub fn at(&self) -> usize {
        self.instruction
    }

    /// The next instruction.
    pub fn opcode(&mut self) -> Result<u8> {
        self.instruction = self.position;
        let [opcode] = self.array()?;
        Ok(opcode)
    }

    /// The next `length` bytes. Nothing is allocated before the bytes are known to exist.
    pub fn take(&mut self, length: u64) -> Result<&'a [u8]> {
        let left = self.left();
        let bytes = usize::try_from(length).ok().and_then(|length| self.file[self.position..].get(..length));
        let bytes = bytes
            .ok_or_else(|| self.damaged(format!("it declares {length} more bytes, and {left} are left")))?;
        self.position += bytes.len();
        Ok(bytes)
    }

    pub fn left(&self) -> usize {
        self.file.len() - self.position
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.file[self.position..].first_chunk::<N>();
        let bytes = *bytes.ok_or_else(|| self.damaged("the file ends in the middle of a pickle"))?;
        self.position += N;
        Ok(bytes)
    }

    /// The bytes up to the end of the line, without the newline.
    pub fn line(&mut self) -> Result<&'a [u8]> {
        let rest = &self.file[self.position..];
        let end = rest.iter().position(|&byte| byte == b'\n');
        let end = end.ok_or_else(|| self.damaged("the file ends in the middle of a line"))?;
        self.position += end + 1;
        Ok(&rest[..end])
    }

    pub fn damaged(&self, what: impl Into<String>) -> PickleError {
        PickleError::damaged(self.instruction, what)
    }
}
