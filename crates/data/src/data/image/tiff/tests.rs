//! TIFF files, against what tifffile and Pillow read from them.

use super::*;
use crate::data::fixtures::{Fixtures, bytes, corpus};
use crate::data::image::{EncodedImage, decode};

const STORED: DecodeOptions = DecodeOptions {
    exif_orientation: true,
    transparency: Transparency::White,
    grey16: crate::pipeline::Grey16::HighByte,
    pixels: PixelFormat::Stored { has_range: true },
};

fn read(file: &[u8], options: DecodeOptions, region: Option<Region>) -> Result<Image, String> {
    let picture = EncodedImage::open(file, options)?;
    let region = region.unwrap_or_else(|| Region::whole(picture.size()));
    picture.decode(Scale::Whole, region, &mut JpegWorkspace::default())
}

/// The stored numbers of an image as floats.
fn numbers(image: Image) -> (usize, Vec<f32>) {
    let channels = image.channels();
    let numbers = match image {
        Image::Rgb8(image) => image.into_raw().into_iter().map(f32::from).collect(),
        Image::Other(raster) => match raster.samples {
            PixelData::U8(samples) => samples.into_iter().map(f32::from).collect(),
            PixelData::U16(samples) => samples.into_iter().map(f32::from).collect(),
            PixelData::F32(samples) => samples,
        },
    };
    (channels, numbers)
}

#[test]
fn every_depth_number_of_channels_and_compression_is_read_as_tifffile_has_it() {
    let fixtures = Fixtures::open("stored.safetensors");
    for (name, channels) in [
        ("grey8_strips", 1),
        ("rgb8_lzw", 3),
        ("rgba8_deflate", 4),
        ("rgb8_packbits", 3),
        ("grey16", 1),
        ("rgb16_tiles", 3),
        ("rgb16_planar", 3),
        ("bands16_planar_tiles", 5),
        ("bands16", 5),
        ("rgb32f_tiles", 3),
        ("grey32f", 1),
        ("two16f", 2),
        ("inverted8", 1),
        ("inverted16", 1),
        ("palette8", 3),
        ("linear16", 3),
    ] {
        let file = bytes(&format!("{name}.tif"));
        let (found, whole) = numbers(read(&file, STORED, None).unwrap());
        assert_eq!(found, channels, "{name}");
        assert!(whole == fixtures.floats(name), "{name} differs");
        // A part, across the edges of tiles and strips.
        let region = Region { left: 13, top: 9, width: 8, height: 12 };
        let part = numbers(read(&file, STORED, Some(region)).unwrap()).1;
        let row = |y: usize| &whole[(y * 37 + 13) * channels..][..8 * channels];
        assert!(part == (9..21).flat_map(row).copied().collect::<Vec<_>>(), "a part of {name} differs");
    }
}

#[test]
fn eight_bits_are_shown_as_a_person_sees_them() {
    let fixtures = Fixtures::open("stored.safetensors");
    for name in ["grey8_strips", "rgb8_lzw", "rgb8_packbits", "inverted8", "palette8", "bilevel"] {
        let shown = decode(&bytes(&format!("{name}.tif"))).unwrap();
        let expected = fixtures.floats(name);
        let repeats = shown.as_raw().len() / expected.len();
        let expected = expected.iter().flat_map(|value| std::iter::repeat_n(*value as u8, repeats));
        assert!(expected.eq(shown.into_raw()), "{name} differs");
    }
    // Transparency is on white.
    let stored = fixtures.floats("rgba8_deflate");
    let seen = stored.chunks_exact(4).flat_map(|pixel| {
        [0, 1, 2]
            .map(|channel| ((pixel[channel] * pixel[3] + 255.0 * (255.0 - pixel[3])) / 255.0).round() as u8)
    });
    assert!(seen.eq(decode(&bytes("rgba8_deflate.tif")).unwrap().into_raw()));
}

#[test]
fn depth_without_a_range_is_refused_with_what_to_write() {
    let cause =
        |name: &str, pixels| read(&bytes(name), DecodeOptions { pixels, ..STORED }, None).unwrap_err();
    for pixels in [PixelFormat::Rgb8, PixelFormat::Stored { has_range: false }] {
        assert_eq!(
            cause("grey16.tif", pixels),
            "its values are numbers of 16 bits, so the data set must say which are black and white: `range = [0, \
             65535]`, for example"
        );
        assert!(cause("grey32f.tif", pixels).contains("`range = [0, 1]`"));
    }
    let pixels: Vec<u8> = (0..40).collect();
    let bands = made(&fields(&[(277, 5), (279, 40)]), &pixels);
    assert_eq!(decode(&bands).unwrap_err(), "it has 5 channels: the data set must say `channels = 5`");
}

/// A file with this directory of numbers, followed by these pixels. The value `OFFSET` is replaced by their offset.
fn made(fields: &[(u16, u16, u32)], pixels: &[u8]) -> Vec<u8> {
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    let offset = 8 + 2 + 12 * fields.len() as u32 + 4;
    file.extend((fields.len() as u16).to_le_bytes());
    for (tag, kind, value) in fields {
        file.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        file.extend(1u32.to_le_bytes());
        file.extend(if *value == OFFSET { offset } else { *value }.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    file.extend(pixels);
    file
}

const OFFSET: u32 = u32::MAX;

/// The fields of a grey picture of 4 × 2 bytes, with others in place of some.
fn fields(others: &[(u16, u32)]) -> Vec<(u16, u16, u32)> {
    let usual =
        [(256, 4), (257, 2), (258, 8), (259, 1), (262, 1), (273, OFFSET), (277, 1), (278, 2), (279, 8)];
    let mut fields: Vec<(u16, u32)> =
        usual.into_iter().filter(|(tag, _)| others.iter().all(|(other, _)| other != tag)).collect();
    fields.extend(others);
    fields.sort();
    fields.into_iter().map(|(tag, value)| (tag, 4, value)).collect()
}

#[test]
fn what_is_not_read_is_refused_by_its_name() {
    let pixels = [1, 2, 3, 4, 5, 6, 7, 8];
    assert!(decode(&made(&fields(&[]), &pixels)).is_ok());
    for (others, expected) in [
        (&[(259, 7)][..], "it is compressed with JPEG, which is not read"),
        (&[(259, 4)], "it is compressed with fax, which is not read"),
        (&[(259, 50000)], "it is compressed with Zstandard, which is not read"),
        (&[(262, 5)], "its colours are CMYK, which is not read"),
        (&[(262, 6)], "its colours are YCbCr, which is not read"),
        (&[(258, 16), (339, 2)], "its values are whole numbers with a sign of 16 bits"),
        (&[(258, 32)], "its values are whole numbers of 32 bits"),
        (&[(258, 64), (339, 3)], "its values are floats of 64 bits"),
        (&[(277, 65)], "it has 65 channels, and 1 to 64 are read"),
        (&[(317, 3)], "its predictor 3 is not read for values of 8 bits"),
        (&[(256, 0)], "the image has no pixels"),
        (&[(256, 40_000), (257, 40_000)], "its header says 40000 × 40000 pixels, and at most"),
        (&[(256, 400)], "its header says 400 × 2 pixels, more than its 130 bytes can hold"),
        (&[(278, 1)], "the TIFF data is damaged: it has 1 strips or tiles, and 2 are needed"),
        (&[(279, 80)], "the TIFF data is cut off"),
        (&[(284, 3)], "the TIFF data is damaged: its planar configuration is 3"),
        (&[(262, 2)], "the TIFF data is damaged: it has 1 channels, too few for RGB"),
        (&[(262, 3)], "the TIFF data is damaged: it does not say the colours of its palette"),
        (&[(259, 5)], "the TIFF data is damaged: its LZW data is corrupt or too short"),
        // The version of DNG, and a first picture that is a smaller copy of another.
        (&[(50706, 0x0104)], "it is a camera raw file; convert it, for example with `darktable-cli"),
        (&[(254, 1)], "it is a camera raw file; convert it"),
        (&[(259, 8)], "the TIFF data is damaged: its compressed data is corrupt or too short"),
    ] {
        let cause = decode(&made(&fields(others), &pixels)).unwrap_err();
        assert!(cause.starts_with(expected), "{others:?}: {cause}");
    }
    let cause = decode(b"II+\0\x08\0\0\0").unwrap_err();
    assert!(cause.starts_with("it is a BigTIFF file, none of JPEG, PNG"), "{cause}");
}

#[test]
fn a_value_that_is_no_number_is_an_error_with_its_place() {
    let pixels: Vec<u8> = [0.5f32, 1.0, 2.0, f32::NAN, 0.0, 0.0, 0.0, 0.0]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let file = made(&fields(&[(258, 32), (279, 32), (339, 3)]), &pixels);
    assert_eq!(read(&file, STORED, None).unwrap_err(), "its value at column 3 and row 0 is not a number");
}

#[test]
fn of_several_pages_only_reduced_copies_may_follow() {
    let pages = |kind: u32| {
        let mut file = made(&fields(&[]), &[1, 2, 3, 4, 5, 6, 7, 8]);
        let second = file.len() as u32;
        let link = 8 + 2 + 12 * 9;
        file[link..link + 4].copy_from_slice(&second.to_le_bytes());
        file.extend(1u16.to_le_bytes());
        file.extend(
            [&254u16.to_le_bytes()[..], &4u16.to_le_bytes(), &1u32.to_le_bytes(), &kind.to_le_bytes()]
                .concat(),
        );
        file.extend(0u32.to_le_bytes());
        decode(&file)
    };
    assert!(pages(1).is_ok());
    assert_eq!(pages(0).unwrap_err(), "it has several pages; save each as a file");
}

#[test]
fn no_cut_and_no_flipped_bit_takes_the_decoder_down() {
    for name in
        ["rgb16_tiles.tif", "bands16_planar_tiles.tif", "rgb8_lzw.tif", "rgb8_packbits.tif", "two16f.tif"]
    {
        let whole = bytes(name);
        for length in (0..whole.len()).step_by(61).chain([whole.len() - 1]) {
            assert!(read(&whole[..length], STORED, None).is_err(), "{name} cut to {length} bytes");
        }
        for place in (0..whole.len()).step_by(if whole.len() < 4000 { 1 } else { 13 }) {
            let mut file = whole.clone();
            file[place] ^= 1 << (place % 8);
            // Called without the guard: a panic fails the test.
            if let Ok(tiff) = Tiff::open(&file) {
                let _ = tiff.decode(
                    Scale::Whole,
                    Region { left: 0, top: 0, width: 1, height: 1 },
                    STORED,
                    &mut JpegWorkspace::default(),
                );
            }
        }
    }
}

#[test]
fn hostile_files_are_errors() {
    for (name, file) in corpus("tiff") {
        let cause = decode(&file).err();
        assert_eq!(cause.is_none(), name.starts_with("plain"), "{name}: {cause:?}");
    }
}
