//! Numbers in text, with comments from `#` to the end of the line.

use super::{CUT_OFF, damaged};

/// Reads numbers in order.
pub struct Numbers<'a> {
    rest: &'a [u8],
}

impl<'a> Numbers<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// What follows the last number of a header and the space that ends it, or a comment.
    pub fn end_of_header(mut self) -> &'a [u8] {
        if self.rest.starts_with(b"#") {
            self.skip_comment();
        }
        self.rest.split_first().map_or(&[], |(_, data)| data)
    }

    /// A width or a height.
    pub fn side(&mut self) -> Result<u32, String> {
        self.number()?.try_into().map_err(|_| damaged("its width or height is too large"))
    }

    /// A number of at most `largest`.
    pub fn next(&mut self, largest: u16) -> Result<u16, String> {
        let number = self.number()?;
        let is_small = |number: &u16| *number <= largest;
        let small = u16::try_from(number).ok().filter(is_small);
        small.ok_or_else(|| damaged(&format!("it has the number {number}, and {largest} is the largest")))
    }

    /// A digit of a bitmap, which need not be separated from the next one.
    pub fn bit(&mut self) -> Result<u16, String> {
        self.skip_spaces();
        let (digit, rest) = self.rest.split_first().ok_or(CUT_OFF)?;
        self.rest = rest;
        match digit {
            b'0' => Ok(0),
            b'1' => Ok(1),
            _ => Err(damaged("its bits are not 0 and 1")),
        }
    }

    /// Numbers of too many digits are the largest number.
    fn number(&mut self) -> Result<u64, String> {
        self.skip_spaces();
        let length = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at(length);
        match rest.first() {
            None if digits.is_empty() => return Err(CUT_OFF.into()),
            Some(next) if digits.is_empty() || !(is_space(*next) || *next == b'#') => {
                return Err(damaged("it has something else than numbers"));
            }
            _ => {}
        }
        self.rest = rest;
        let append =
            |number: u64, digit: &u8| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
        Ok(digits.iter().fold(0, append))
    }

    fn skip_spaces(&mut self) {
        while let Some((first, rest)) = self.rest.split_first() {
            if *first == b'#' {
                self.skip_comment();
            } else if is_space(*first) {
                self.rest = rest;
            } else {
                return;
            }
        }
    }

    fn skip_comment(&mut self) {
        let end = self.rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        self.rest = end.map_or(&[], |end| &self.rest[end..]);
    }
}

/// Vertical tabs too.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0B
}
