//! Literals of protocol 0, which uses Python source syntax.

use std::borrow::Cow;

use super::value::PickleValue;

/// An integer of at most 64 bits. Of longer ones only the presence is recorded.
pub(super) fn integer<'a>(digits: &str) -> Option<PickleValue<'a>> {
    if let Ok(number) = digits.parse() {
        return Some(PickleValue::Int(number));
    }
    let bare = digits.strip_prefix('-').unwrap_or(digits);
    (!bare.is_empty() && bare.bytes().all(|digit| digit.is_ascii_digit())).then_some(PickleValue::LongInt)
}

/// A two's complement integer, least significant byte first.
pub(super) fn little_endian<'a>(bytes: &[u8]) -> PickleValue<'a> {
    let negative = bytes.last().is_some_and(|highest| highest & 0x80 != 0);
    let sign = if negative { 0xff } else { 0 };
    let mut eight = [sign; 8];
    let (low, high) = bytes.split_at(bytes.len().min(8));
    eight[..low.len()].copy_from_slice(low);
    let number = i64::from_le_bytes(eight);
    let fits = high.iter().all(|&byte| byte == sign) && (high.is_empty() || (number < 0) == negative);
    if fits { PickleValue::Int(number) } else { PickleValue::LongInt }
}

/// The bytes of a quoted string with Python's escapes.
pub(super) fn quoted(literal: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inside = match literal.trim_ascii_end() {
        [first @ (b'\'' | b'"'), inside @ .., last] if first == last => inside,
        _ => return None,
    };
    if !inside.contains(&b'\\') {
        return Some(Cow::Borrowed(inside));
    }
    let mut bytes = Vec::with_capacity(inside.len());
    let mut rest = inside;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let (&escaped, after) = rest.split_first()?;
        rest = after;
        match escaped {
            b'\\' | b'\'' | b'"' => bytes.push(escaped),
            b'n' => bytes.push(b'\n'),
            b'r' => bytes.push(b'\r'),
            b't' => bytes.push(b'\t'),
            b'a' => bytes.push(7),
            b'b' => bytes.push(8),
            b'v' => bytes.push(11),
            b'f' => bytes.push(12),
            b'x' => bytes.push(u8::try_from(hexadecimal(&mut rest, 2)?).ok()?),
            b'0'..=b'7' => {
                let mut value = u32::from(escaped - b'0');
                for _ in 0..2 {
                    let Some((&digit @ b'0'..=b'7', after)) = rest.split_first() else { break };
                    value = value * 8 + u32::from(digit - b'0');
                    rest = after;
                }
                bytes.push(u8::try_from(value).ok()?);
            }
            // Python keeps unknown escapes unchanged.
            _ => bytes.extend([b'\\', escaped]),
        }
    }
    Some(Cow::Owned(bytes))
}

/// Text in Latin-1, with `\u` and `\U` for other characters.
pub(super) fn raw_unicode(line: &[u8]) -> Option<Cow<'_, str>> {
    if line.is_ascii() && !line.contains(&b'\\') {
        return std::str::from_utf8(line).ok().map(Cow::Borrowed);
    }
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = match rest {
            [b'\\', b'u', ..] => 4,
            [b'\\', b'U', ..] => 8,
            _ => 0,
        };
        if digits == 0 {
            text.push(char::from(byte));
            rest = after;
        } else {
            rest = &rest[2..];
            text.push(char::from_u32(hexadecimal(&mut rest, digits)?)?);
        }
    }
    Some(Cow::Owned(text))
}

fn hexadecimal(rest: &mut &[u8], count: usize) -> Option<u32> {
    let (digits, after) = rest.split_at_checked(count)?;
    *rest = after;
    digits.iter().try_fold(0, |value, &digit| Some(value * 16 + char::from(digit).to_digit(16)?))
}
