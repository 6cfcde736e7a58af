//! GIF and PNM files, against what Pillow makes of them.

use super::decode::decode;
use super::{DecodeOptions, EncodedImage, Image, JpegWorkspace, PixelData, PixelFormat, Region, Scale};
use crate::data::fixtures::{Fixtures, bytes, corpus};
use crate::pipeline::{Grey16, Transparency};

/// Files of the corpus that Pillow reads and this decoder refuses.
const REFUSED: [&str; 2] = ["gif/no_palette.gif", "gif/unknown_block.gif"];
/// Files whose header is right and whose size is within Pillow's limit, but not within their bytes.
const LARGER_THAN_THE_FILE: [&str; 4] =
    ["gif/large_screen.gif", "pnm/large_size.pgm", "pnm/large_size_text.pgm", "pnm/long_side.pbm"];

fn pixels(bytes: &[u8], options: DecodeOptions) -> Result<Image, String> {
    let picture = EncodedImage::open(bytes, options)?;
    picture.decode(Scale::Whole, Region::whole(picture.size()), &mut JpegWorkspace::default())
}

/// The fixtures and the corpus, by name.
fn files(names: &[String]) -> Vec<(String, Vec<u8>)> {
    let odd = ["gif", "pnm"].into_iter().flat_map(|kind| {
        corpus(kind).into_iter().map(move |(stem, file)| {
            let known = ["gif", "pgm", "ppm", "pbm"];
            let full = known.map(|extension| format!("{kind}/{stem}.{extension}"));
            (full.into_iter().find(|name| fuzz_file(name).is_file()).unwrap(), file)
        })
    });
    let plain = names.iter().filter(|name| !name.contains([':', '/']));
    plain.map(|name| (name.clone(), bytes(name))).chain(odd).collect()
}

fn fuzz_file(name: &str) -> std::path::PathBuf {
    crate::data::fixtures::path("../../fuzz/corpus").join(name)
}

#[test]
fn pixels_are_those_of_pillow_and_what_it_refuses_is_refused() {
    let fixtures = Fixtures::open("gif_pnm.safetensors");
    let names = fixtures.names();
    let drop = DecodeOptions {
        transparency: Transparency::Drop,
        grey16: Grey16::Clip,
        exif_orientation: false,
        pixels: PixelFormat::Rgb8,
    };
    let (mut compared, mut wrong) = (0, Vec::new());
    for (name, file) in files(&names) {
        if name.contains("/plain_") {
            continue;
        }
        let is_read = names.contains(&name) && !REFUSED.contains(&name.as_str());
        for (options, expected) in [(DecodeOptions::default(), name.clone()), (drop, format!("{name}:drop"))]
        {
            match (pixels(&file, options).map(|image| image.into_rgb8().unwrap()), is_read) {
                (Ok(image), true) if image == fixtures.image(&expected) => compared += 1,
                (Err(_), false) => compared += 1,
                (Ok(_), true) => wrong.push(format!("{expected}: other pixels")),
                (Ok(_), false) => wrong.push(format!("{expected}: read, though it is damaged")),
                (Err(cause), true) => wrong.push(format!("{expected}: {cause}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(compared, 2 * (10 + 14 + 19 + 27));
}

#[test]
fn stored_numbers_are_those_of_the_file_where_a_range_is_declared() {
    let fixtures = Fixtures::open("gif_pnm.safetensors");
    let stored =
        |has_range| DecodeOptions { pixels: PixelFormat::Stored { has_range }, ..DecodeOptions::default() };
    for (name, largest) in [
        ("grey16.pgm", 65535),
        ("grey12.pgm", 4095),
        ("grey16_text.pgm", 65535),
        ("color16.ppm", 65535),
        ("color10.ppm", 1023),
        ("color12_text.ppm", 4095),
    ] {
        let numbers = fixtures.floats(&format!("{name}:stored"));
        let Image::Other(raster) = pixels(&bytes(name), stored(true)).unwrap() else { panic!("{name}") };
        let PixelData::U16(samples) = raster.samples else { panic!("{name} has 16 bits") };
        assert!(samples.iter().map(|sample| f32::from(*sample)).eq(numbers.iter().copied()), "{name}");
        // Without a range, white is the largest value of 16 bits.
        let Image::Other(raster) = pixels(&bytes(name), stored(false)).unwrap() else { panic!("{name}") };
        let floats = raster.into_floats();
        let worst = floats.iter().zip(&numbers).map(|(a, b)| (a - b / largest as f32).abs());
        assert!(worst.fold(0.0, f32::max) < 1e-5, "{name}");
    }
    // Of 8 bits, in one channel, three, and three with transparency.
    for (name, channels) in
        [("grey.pgm", 1), ("bits.pbm", 1), ("color.ppm", 3), ("palette.gif", 3), ("transparent.gif", 4)]
    {
        let image = pixels(&bytes(name), stored(false)).unwrap();
        assert_eq!(image.channels(), channels, "{name}");
        assert!(matches!(image.into_raster().samples, PixelData::U8(_)), "{name}");
    }
}

#[test]
fn a_region_is_cut_from_the_whole_and_cut_files_are_refused() {
    for name in [
        "palette.gif",
        "interlaced.gif",
        "bits_text.pbm",
        "bits.pbm",
        "grey_text.pgm",
        "grey16.pgm",
        "color.ppm",
        "color10.ppm",
        "color12_text.ppm",
    ] {
        let file = bytes(name);
        let shown = decode(&file).unwrap();
        let picture = EncodedImage::open(&file, DecodeOptions::default()).unwrap();
        let region = Region { left: 5, top: 2, width: 9, height: 11 };
        let part = picture.decode(Scale::Whole, region, &mut JpegWorkspace::default()).unwrap();
        let cut = image::imageops::crop_imm(&shown, 5, 2, 9, 11).to_image();
        assert!(part.into_rgb8().unwrap() == cut, "a part of {name} differs");
        for length in 0..file.len() - 6 {
            assert!(decode(&file[..length]).is_err(), "{name} cut to {length} bytes");
        }
    }
}

#[test]
fn causes_name_the_kind_of_damage() {
    let cause = |name: &str| decode(&std::fs::read(fuzz_file(name)).unwrap()).unwrap_err();
    for (name, expected) in [
        ("gif/header_alone.gif", "the GIF data is cut off"),
        ("gif/cut.gif", "the GIF data is cut off"),
        ("gif/too_few_pixels.gif", "the GIF data is damaged: its first frame has fewer pixels than it says"),
        ("gif/no_frame.gif", "the GIF data is cut off"),
        ("gif/wrong_code.gif", "the GIF data is damaged: its pixels cannot be decompressed"),
        (
            "gif/no_palette.gif",
            "the GIF data is damaged: it has no colours, or its first frame is not described",
        ),
        ("pnm/magic_alone.pgm", "the PNM data is cut off"),
        ("pnm/cut.ppm", "the PNM data is cut off"),
        ("pnm/cut_text.ppm", "the PNM data is cut off"),
        ("pnm/negative.pgm", "the PNM data is damaged: it has something else than numbers"),
        (
            "pnm/above_largest_text.pgm",
            "the PNM data is damaged: it has the number 44, and 15 is the largest",
        ),
        ("pnm/no_largest.pgm", "the PNM data is damaged: its largest value is 0"),
    ] {
        assert_eq!(cause(name), expected, "{name}");
    }
    for name in LARGER_THAN_THE_FILE {
        let cause = cause(name);
        assert!(cause.starts_with("its header says") || cause.ends_with("is cut off"), "{name}: {cause}");
    }
}
