//! Bytes of a JPEG or PNG file to RGB8, as a person would see the picture.
//!
//! - The format is told from the first bytes, never from the file name.
//! - EXIF orientation is applied (torchvision's `ImageFolder` ignores it): a photo taken upright is seen upright.
//! - Transparency is composited on white (Pillow's `convert("RGB")` uncovers whatever colour lies beneath).
//! - 16-bit samples keep their high byte (Pillow clips 16-bit grey to 255).
//! - Embedded colour profiles are not applied, as in Pillow.
//! - A file that is cut off or malformed is an error: JPEG runs in strict mode and must reach its end marker. Bits that
//!   flipped inside JPEG's compressed data change the picture unseen, for there is no checksum; PNG's are checked.
//!
//! JPEG leaves rounding to the decoder: samples are within 3 of libjpeg-turbo's on the fixtures, most of them equal (up
//! to 5 in saturated colours of subsampled photos). The vector code gives the same bytes as the scalar code.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, Limits, RgbImage};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

const JPEG_SIGNATURE: &[u8] = &[0xFF, 0xD8, 0xFF];
const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Formats that often hide behind the name of another.
const OTHER_SIGNATURES: [(usize, &[u8], &str); 7] = [
    (8, b"WEBP", "WebP"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypavif", "AVIF"),
];

/// The longest side that is decoded; JPEG allows no more.
const LONGEST_SIDE: usize = 65_535;

/// Decodes a JPEG or PNG file to upright, opaque RGB8.
///
/// # Errors
/// The cause, lowercase and without the file's name, which is not known here: `the JPEG data is cut off`.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let decoder = match bytes {
        [] => return Err("the file is empty".into()),
        _ if bytes.starts_with(JPEG_SIGNATURE) => decode_jpeg,
        _ if bytes.starts_with(PNG_SIGNATURE) => decode_png,
        _ => return Err(not_an_image(bytes)),
    };
    // The decoders are not ours, and a broken file must not take the program down.
    let decoded = catch_unwind(AssertUnwindSafe(|| decoder(bytes)));
    let (image, orientation) = decoded.unwrap_or_else(|_| Err("the decoder gave up on it".into()))?;
    if image.width() == 0 || image.height() == 0 {
        return Err("the image has no pixels".into());
    }
    Ok(match orientation {
        Orientation::NoTransforms => image,
        turned => {
            let mut image = DynamicImage::ImageRgb8(image);
            image.apply_orientation(turned);
            image.into_rgb8()
        }
    })
}

fn not_an_image(bytes: &[u8]) -> String {
    let known = OTHER_SIGNATURES
        .iter()
        .find(|(offset, signature, _)| bytes.get(*offset..).is_some_and(|rest| rest.starts_with(signature)));
    match known {
        Some((_, _, format)) => format!("it is a {format} file, neither JPEG nor PNG"),
        None => "it is neither a JPEG nor a PNG file".into(),
    }
}

fn decode_jpeg(bytes: &[u8]) -> Result<(RgbImage, Orientation), String> {
    if !reaches_end_marker(bytes) {
        return Err("the JPEG data is cut off".into());
    }
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(LONGEST_SIDE)
        .set_max_height(LONGEST_SIDE)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let pixels = decoder.decode().map_err(|error| format!("the JPEG data is damaged: {error}"))?;
    let (width, height) = decoder.dimensions().ok_or("the JPEG file has no frame")?;
    let image =
        RgbImage::from_raw(width as u32, height as u32, pixels).ok_or("the JPEG is not a colour image")?;
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    Ok((image, orientation.unwrap_or(Orientation::NoTransforms)))
}

/// Whether the end marker follows the first scan; one inside an EXIF thumbnail, ahead of the scan, does not count.
fn reaches_end_marker(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xDA;
    let mut position = 2;
    while let Some(&[0xFF, marker]) = bytes.get(position..position + 2) {
        match marker {
            START_OF_SCAN => return bytes[position..].windows(2).rev().any(|pair| pair == [0xFF, 0xD9]),
            // Padding before a marker.
            0xFF => position += 1,
            _ => {
                let Some(&[high, low]) = bytes.get(position + 2..position + 4) else { return false };
                position += 2 + usize::from(u16::from_be_bytes([high, low]));
            }
        }
    }
    // Stray bytes between segments: left for the decoder to judge.
    position < bytes.len()
}

fn decode_png(bytes: &[u8]) -> Result<(RgbImage, Orientation), String> {
    let damaged = |error: image::ImageError| format!("the PNG data is damaged: {error}");
    let mut decoder = PngDecoder::with_limits(Cursor::new(bytes), Limits::default()).map_err(damaged)?;
    let orientation = decoder.orientation().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let size = usize::try_from(decoder.total_bytes()).map_err(|_| "the PNG image is too large")?;
    let mut samples = vec![0; size];
    decoder.read_image(&mut samples).map_err(damaged)?;
    if color.bytes_per_pixel() / color.channel_count() == 2 {
        let high = |pair: &[u8]| (u16::from_ne_bytes([pair[0], pair[1]]) >> 8) as u8;
        samples = samples.chunks_exact(2).map(high).collect();
    }
    let on_white = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let pixels = match color {
        ColorType::L8 | ColorType::L16 => samples.iter().flat_map(|&grey| [grey; 3]).collect(),
        ColorType::La8 | ColorType::La16 => {
            samples.chunks_exact(2).flat_map(|pixel| [on_white(pixel[0], pixel[1]); 3]).collect()
        }
        ColorType::Rgba8 | ColorType::Rgba16 => samples
            .chunks_exact(4)
            .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]].map(|value| on_white(value, pixel[3])))
            .collect(),
        _ => samples,
    };
    let image = RgbImage::from_raw(width, height, pixels).ok_or("the PNG image has an unknown layout")?;
    Ok((image, orientation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fixtures::{Fixtures, bytes};

    fn largest_difference(a: &RgbImage, b: &RgbImage) -> u8 {
        assert_eq!(a.dimensions(), b.dimensions());
        a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
    }

    #[test]
    fn jpeg_is_close_to_libjpeg_turbo_and_upright() {
        let fixtures = Fixtures::open("decoded.safetensors");
        let bounds = [
            ("baseline_444", 2),
            ("baseline_422", 3),
            ("baseline_420", 3),
            ("progressive_420", 3),
            ("restart", 3),
            ("grey", 1),
            ("cmyk", 1),
            ("ycck", 3),
        ];
        let turned = (1..=8).map(|orientation| (format!("orientation_{orientation}"), 2));
        for (name, bound) in bounds.map(|(name, bound)| (name.to_owned(), bound)).into_iter().chain(turned) {
            let image = decode(&bytes(&format!("{name}.jpg"))).unwrap();
            let difference = largest_difference(&image, &fixtures.image(&name));
            assert!(difference <= bound, "{name} is {difference} off");
        }
    }

    #[test]
    fn vector_and_scalar_code_agree() {
        for name in ["baseline_444", "baseline_422", "baseline_420", "progressive_420", "cmyk", "ycck"] {
            let file = bytes(&format!("{name}.jpg"));
            let options = DecoderOptions::default().set_use_unsafe(false);
            let scalar = JpegDecoder::new_with_options(ZCursor::new(&file), options).decode().unwrap();
            assert!(decode(&file).unwrap().into_raw() == scalar, "{name} differs");
        }
    }

    #[test]
    fn what_follows_the_end_of_a_jpeg_is_no_matter() {
        let file = bytes("baseline_420.jpg");
        let followed = [&file[..], b"a second picture, or nothing at all"].concat();
        assert_eq!(decode(&followed), decode(&file));
    }

    #[test]
    fn png_of_every_kind_is_what_a_person_sees_on_white() {
        let fixtures = Fixtures::open("decoded.safetensors");
        for name in [
            "rgb8",
            "rgba8",
            "grey1",
            "grey8",
            "grey_alpha8",
            "palette_alpha",
            "grey16",
            "grey_alpha16",
            "rgb16",
            "rgba16",
        ] {
            assert_eq!(decode(&bytes(&format!("{name}.png"))).unwrap(), fixtures.image(name), "{name}");
        }
    }

    #[test]
    fn no_cut_of_a_file_is_taken_for_an_image() {
        for name in
            ["baseline_420.jpg", "progressive_420.jpg", "restart.jpg", "orientation_6.jpg", "rgba8.png"]
        {
            let whole = bytes(name);
            // The last 12 bytes of a PNG are its end chunk, which adds nothing to the picture.
            let needed = if name.ends_with("png") { whole.len() - 12 } else { whole.len() };
            for length in (0..needed).step_by(7).chain([needed - 1]) {
                assert!(decode(&whole[..length]).is_err(), "{name} cut to {length} bytes");
            }
        }
    }

    #[test]
    fn a_strange_file_is_called_by_its_name() {
        assert_eq!(decode(b"").unwrap_err(), "the file is empty");
        assert_eq!(decode(b"RIFF\0\0\0\0WEBPVP8 ").unwrap_err(), "it is a WebP file, neither JPEG nor PNG");
        assert_eq!(decode(b"hello").unwrap_err(), "it is neither a JPEG nor a PNG file");
        assert_eq!(decode(&bytes("baseline_420.jpg")[..900]).unwrap_err(), "the JPEG data is cut off");
    }
}
