//! Numbers, strings and lengths in the encoding of each instruction.

use std::borrow::Cow;

use super::input::Input;
use super::opcode::*;
use super::pickle_error::Result;
use super::text;
use super::value::PickleValue;

impl<'a> Input<'a> {
    /// A frame only tells a reader how much to fetch at once.
    pub fn frame(&mut self) -> Result<()> {
        let length = u64::from_le_bytes(self.array()?);
        if length > self.left() as u64 {
            let left = self.left();
            return Err(self.damaged(format!("it declares {length} more bytes, and {left} are left")));
        }
        Ok(())
    }

    pub fn number(&mut self, opcode: u8) -> Result<PickleValue<'a>> {
        let value = match opcode {
            BININT => Some(PickleValue::Int(i64::from(i32::from_le_bytes(self.array()?)))),
            BININT1 => Some(PickleValue::Int(i64::from(u8::from_le_bytes(self.array()?)))),
            BININT2 => Some(PickleValue::Int(i64::from(u16::from_le_bytes(self.array()?)))),
            LONG1 | LONG4 => {
                let length = self.length(opcode)?;
                Some(text::little_endian(self.take(length)?))
            }
            BINFLOAT => Some(PickleValue::Float(f64::from_be_bytes(self.array()?))),
            _ => {
                let line = self.line()?;
                let digits = std::str::from_utf8(line).unwrap_or_default().trim();
                match (opcode, digits) {
                    (INT, "00") => Some(PickleValue::Bool(false)),
                    (INT, "01") => Some(PickleValue::Bool(true)),
                    (FLOAT, _) => digits.parse().ok().map(PickleValue::Float),
                    _ => text::integer(digits.strip_suffix('L').unwrap_or(digits)),
                }
            }
        };
        value.ok_or_else(|| self.damaged("what should be a number is none"))
    }

    /// The length of the following data in bytes.
    pub fn length(&mut self, opcode: u8) -> Result<u64> {
        Ok(match opcode {
            SHORT_BINSTRING | SHORT_BINUNICODE | SHORT_BINBYTES | LONG1 => {
                u64::from(u8::from_le_bytes(self.array()?))
            }
            BINUNICODE | BINBYTES => u64::from(u32::from_le_bytes(self.array()?)),
            BINSTRING | LONG4 => {
                let length = i32::from_le_bytes(self.array()?);
                u64::try_from(length).map_err(|_| self.damaged("it declares a negative length"))?
            }
            _ => u64::from_le_bytes(self.array()?),
        })
    }

    pub fn old_string(&mut self, opcode: u8) -> Result<Cow<'a, [u8]>> {
        if opcode == STRING {
            let line = self.line()?;
            return text::quoted(line).ok_or_else(|| self.damaged("a string has no sound quotes"));
        }
        let length = self.length(opcode)?;
        self.take(length).map(Cow::Borrowed)
    }

    pub fn unicode(&mut self, opcode: u8) -> Result<Cow<'a, str>> {
        if opcode == UNICODE {
            let line = self.line()?;
            return text::raw_unicode(line).ok_or_else(|| self.damaged("a text has a bad escape"));
        }
        let length = self.length(opcode)?;
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.damaged("a text is not UTF-8"))?;
        Ok(Cow::Borrowed(text))
    }

    pub fn memo_key(&mut self, opcode: u8) -> Result<u32> {
        Ok(match opcode {
            BINGET | BINPUT => u32::from(u8::from_le_bytes(self.array()?)),
            LONG_BINGET | LONG_BINPUT => u32::from_le_bytes(self.array()?),
            _ => {
                let line = self.line()?;
                let key = std::str::from_utf8(line).ok().and_then(|digits| digits.trim().parse().ok());
                key.ok_or_else(|| self.damaged("what should be a number is none"))?
            }
        })
    }
}

/// Text if it is valid UTF-8; PyTorch also reads Python 2 strings as UTF-8.
pub(super) fn text_or_bytes(bytes: Cow<'_, [u8]>) -> PickleValue<'_> {
    match bytes {
        Cow::Borrowed(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => PickleValue::Text(Cow::Borrowed(text)),
            Err(_) => PickleValue::Bytes(Cow::Borrowed(bytes)),
        },
        Cow::Owned(bytes) => match String::from_utf8(bytes) {
            Ok(text) => PickleValue::Text(Cow::Owned(text)),
            Err(error) => PickleValue::Bytes(Cow::Owned(error.into_bytes())),
        },
    }
}
