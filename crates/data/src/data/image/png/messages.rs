//! Error messages for PNG files.

use png::DecodingError;

pub const CUT_OFF: &str = "the PNG data is cut off";

pub fn damaged(cause: &str) -> String {
    format!("the PNG data is damaged: {cause}")
}

/// Rewords the crate's errors, which name chunks and values in Rust's debug format.
pub fn cause(error: DecodingError) -> String {
    let text = match error {
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return CUT_OFF.into();
        }
        DecodingError::LimitsExceeded => return damaged("a part of it is too large"),
        other => other.to_string(),
    };
    let corrupt = text.strip_prefix("Corrupt deflate stream").map(|_| "its compressed data is corrupt");
    let checksum = text.starts_with("CRC error").then_some("a checksum does not agree");
    let plain = match corrupt.or(checksum) {
        Some(plain) => match chunk_name(&text) {
            Some(name) => format!("{plain}, in its chunk {name}"),
            None => plain.to_owned(),
        },
        None => without_debug_output(&text),
    };
    damaged(&plain)
}

/// The four letters of the chunk in a message of the crate.
fn chunk_name(text: &str) -> Option<&str> {
    text.split_once("ChunkType { type: ").and_then(|(_, rest)| rest.split([',', ' ']).next())
}

/// A sentence without its full stop and capital, with each chunk reduced to its name.
fn without_debug_output(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("ChunkType { type: ") {
        let (fields, after) = after.split_once(" }").unwrap_or((after, ""));
        plain.extend([before, fields.split(',').next().unwrap_or_default()]);
        rest = after;
    }
    plain.push_str(rest);
    let plain = plain.trim_end_matches('.');
    // Words of several capitals, such as IDAT, are unchanged.
    let is_name = plain.chars().nth(1).is_some_and(char::is_uppercase);
    match plain.chars().next() {
        Some(first) if !is_name => first.to_lowercase().chain(plain.chars().skip(1)).collect(),
        _ => plain.to_owned(),
    }
}
