//! Reads the orientation in a file's EXIF data.

use image::metadata::Orientation;

/// The tag of the orientation in the first directory.
const ORIENTATION: u16 = 0x0112;
/// Integer types: two bytes, as cameras write it, and four bytes, as some editors do.
const SHORT: u16 = 3;
const LONG: u16 = 4;

/// The orientation in EXIF data without its header. Any value except 1 to 8 means no rotation.
pub fn orientation(exif: &[u8]) -> Orientation {
    directory_value(exif)
        .and_then(|value| u8::try_from(value).ok())
        .and_then(Orientation::from_exif)
        .unwrap_or(Orientation::NoTransforms)
}

fn directory_value(exif: &[u8]) -> Option<u32> {
    let big = match exif.first_chunk::<4>()? {
        // For each byte order, Pillow also accepts the magic 42 in the other order.
        b"II*\0" | b"II\0*" => false,
        b"MM\0*" | b"MM*\0" => true,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes: [u8; 2] = *exif.get(at..)?.first_chunk()?;
        Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes: [u8; 4] = *exif.get(at..)?.first_chunk()?;
        Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    let directory = long(4)? as usize;
    let entries = short(directory)?;
    for entry in 0..usize::from(entries) {
        let at = directory.checked_add(2 + 12 * entry)?;
        if short(at)? == ORIENTATION {
            // Of several values, the first is used. More than four bytes are stored elsewhere.
            return match (short(at + 2)?, long(at + 4)?) {
                (SHORT, 1..=2) => short(at + 8).map(u32::from),
                (LONG, 1) => long(at + 8),
                _ => None,
            };
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exif(big: bool, kind: u16, value: &[u8]) -> Vec<u8> {
        let short = |number: u16| if big { number.to_be_bytes() } else { number.to_le_bytes() };
        let long = |number: u32| if big { number.to_be_bytes() } else { number.to_le_bytes() };
        let mut bytes = if big { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        bytes.extend(long(8));
        // A directory of two entries; the first is the camera's maker.
        bytes.extend(short(2));
        for (tag, kind, value) in [(0x010F, 2, &b"me\0\0"[..]), (ORIENTATION, kind, value)] {
            bytes.extend([&short(tag)[..], &short(kind), &long(1), value].concat());
        }
        bytes
    }

    #[test]
    fn whole_numbers_of_every_width_and_order_are_read() {
        for (big, kind, value) in [
            (false, SHORT, [6, 0, 0, 0]),
            (false, LONG, [6, 0, 0, 0]),
            (true, SHORT, [0, 6, 0, 0]),
            (true, LONG, [0, 0, 0, 6]),
        ] {
            assert_eq!(orientation(&exif(big, kind, &value)), Orientation::Rotate90, "{big} {kind}");
        }
    }

    #[test]
    fn what_is_no_orientation_leaves_the_picture_as_it_is() {
        for value in [[0, 0, 0, 0], [9, 0, 0, 0], [6, 1, 0, 0]] {
            assert_eq!(orientation(&exif(false, LONG, &value)), Orientation::NoTransforms, "{value:?}");
        }
        // A byte, which Pillow ignores; a text; a directory beyond the end; a truncated directory.
        assert_eq!(orientation(&exif(false, 1, &[6, 0, 0, 0])), Orientation::NoTransforms);
        assert_eq!(orientation(&exif(true, 2, b"6\0\0\0")), Orientation::NoTransforms);
        assert_eq!(orientation(b"II*\0\xFF\xFF\xFF\xFF"), Orientation::NoTransforms);
        let whole = exif(false, SHORT, &[6, 0, 0, 0]);
        for length in 0..whole.len() - 3 {
            assert_eq!(orientation(&whole[..length]), Orientation::NoTransforms, "{length}");
        }
    }
}
