//! Decoding, against what Pillow makes of the same files.

use super::*;
use crate::data::fixtures::{Fixtures, bytes, corpus, path};
use crate::data::image::{PixelData, ResizePlan, jpeg};

fn rgb8(picture: &EncodedImage, scale: Scale, region: Region) -> RgbImage {
    picture.decode(scale, region, &mut JpegWorkspace::default()).unwrap().into_rgb8().unwrap()
}

#[test]
fn jpeg_is_upright_and_bit_exact_with_pillow() {
    let fixtures = Fixtures::open("decoded.safetensors");
    let kinds = [
        "baseline_444",
        "baseline_422",
        "baseline_420",
        "progressive_420",
        "restart",
        "grey",
        "cmyk",
        "ycck",
    ];
    let turned = (1..=8).map(|orientation| format!("orientation_{orientation}"));
    for name in kinds.map(str::to_owned).into_iter().chain(turned) {
        assert!(decode(&bytes(&format!("{name}.jpg"))).unwrap() == fixtures.image(&name), "{name} differs");
    }
}

#[test]
fn every_scale_is_bit_exact_with_pillows_draft_also_in_crops() {
    let fixtures = Fixtures::open("scaled.safetensors");
    let mut compared = 0;
    for name in fixtures.names() {
        let (file, numbers) = name.split_once(':').unwrap();
        let numbers: Vec<u32> = numbers.split(':').map(|number| number.parse().unwrap()).collect();
        let scale = Scale::ALL.into_iter().find(|scale| scale.divisor() == numbers[0]).unwrap();
        let (file, expected) = (bytes(&format!("{file}.jpg")), fixtures.image(&name));
        let picture = EncodedImage::open(&file, DecodeOptions::default()).unwrap();
        let (width, height) = picture.size();
        let actual = match numbers[1..] {
            [left, top, width, height] => {
                let size = expected.dimensions();
                let region = Region { left, top, width, height };
                let resizing = ResizePlan::new(region, scale.divisor(), size, Region::whole(size));
                let part = rgb8(&picture, scale, resizing.source());
                let (origin, mut pixels) = (resizing.source(), Vec::new());
                resizing.run(&part, (origin.left, origin.top), &mut Vec::new(), &mut pixels);
                RgbImage::from_raw(size.0, size.1, pixels).unwrap()
            }
            _ => {
                let region = Region::whole((scale.of(width), scale.of(height)));
                rgb8(&picture, scale, region)
            }
        };
        assert!(actual == expected, "{name} differs");
        compared += 1;
    }
    assert_eq!(compared, 27);
}

#[test]
fn a_region_is_cut_from_the_upright_whole() {
    let turned = (1..=8).map(|orientation| format!("orientation_{orientation}.jpg"));
    let kinds =
        ["baseline_422.jpg", "baseline_420.jpg", "progressive_420.jpg", "rgb8.png"].map(str::to_owned);
    for name in kinds.into_iter().chain(turned) {
        let file = bytes(&name);
        let picture = EncodedImage::open(&file, DecodeOptions::default()).unwrap();
        let whole = decode(&file).unwrap();
        for (left, top, width, height) in [(0, 0, 3, 5), (5, 2, 9, 9), (1, 7, 12, 2)] {
            let region = Region { left, top, width, height };
            let part = rgb8(&picture, Scale::Whole, region);
            let cut = image::imageops::crop_imm(&whole, left, top, width, height).to_image();
            assert!(part == cut, "{name} at {left}, {top}");
        }
    }
}

/// What Pillow shows and this decoder does not, since data is missing in it: Pillow fills up with grey, or with what
/// belongs elsewhere.
const DAMAGED: [&str; 5] =
    ["cut_and_ended", "components_missing", "restarts_ahead", "restarts_behind", "too_little_for_its_size"];

#[test]
fn what_is_written_oddly_is_read_and_what_is_damaged_refused_as_in_pillow() {
    let fixtures = Fixtures::open("odd.safetensors");
    let names = fixtures.names();
    let mut wrong = Vec::new();
    for (name, file) in corpus("jpeg") {
        let shown = format!("jpeg/{name}");
        let is_read = names.contains(&shown) && !DAMAGED.contains(&&*name) && name != "many_scans";
        match (decode(&file), is_read) {
            (Ok(image), true) if image == fixtures.image(&shown) => (),
            (Err(_), false) => (),
            (Ok(_), true) => wrong.push(format!("{name}: other pixels")),
            (Ok(_), false) => wrong.push(format!("{name}: read, though it is damaged")),
            (Err(cause), true) => wrong.push(format!("{name}: {cause}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn scans_that_stop_short_are_smoothed_at_every_scale() {
    let fixtures = Fixtures::open("odd.safetensors");
    let mut compared = 0;
    for name in fixtures.names() {
        let Some((file, divisor)) = name.split_once(':') else { continue };
        let file = std::fs::read(path("../../fuzz/corpus").join(format!("{file}.jpg"))).unwrap();
        let scale = Scale::ALL.into_iter().find(|scale| scale.divisor().to_string() == divisor).unwrap();
        let picture = EncodedImage::open(&file, DecodeOptions::default()).unwrap();
        let (width, height) = picture.size();
        let region = Region::whole((scale.of(width), scale.of(height)));
        let actual = rgb8(&picture, scale, region);
        assert!(actual == fixtures.image(&name), "{name} differs");
        // A part of it looks at the blocks around as well.
        let region = Region { left: 3, top: 1, width: region.width - 4, height: region.height - 3 };
        let part = rgb8(&picture, scale, region);
        let Region { left, top, width, height } = region;
        assert!(part == image::imageops::crop_imm(&actual, left, top, width, height).to_image(), "{name}");
        compared += 1;
    }
    assert_eq!(compared, 18);
}

#[test]
fn with_all_three_settings_off_pixels_are_those_of_torchvisions_loader() {
    let fixtures = Fixtures::open("loader.safetensors");
    let options = DecodeOptions {
        exif_orientation: false,
        transparency: Transparency::Drop,
        grey16: Grey16::Clip,
        pixels: PixelFormat::Rgb8,
    };
    let mut compared = 0;
    for name in fixtures.names() {
        let file = match name.strip_prefix("odd/") {
            Some(odd) => path("../../fuzz/corpus/png").join(odd),
            None => path(&name),
        };
        let file = std::fs::read(file).unwrap();
        let read = || {
            let picture = EncodedImage::open(&file, options)?;
            picture.decode(Scale::Whole, Region::whole(picture.size()), &mut JpegWorkspace::default())
        };
        match read() {
            Ok(image) => assert!(image.into_rgb8().unwrap() == fixtures.image(&name), "{name} differs"),
            // What Pillow reads though it is not whole.
            Err(cause) => {
                let broken =
                    ["no_end", "palette_missing", "too_few_rows", "unknown_critical", "wrong_checksum"];
                assert!(broken.iter().any(|broken| name.contains(broken)), "{name}: {cause}");
                continue;
            }
        }
        compared += 1;
    }
    assert_eq!(compared, 39);
}

#[test]
fn each_setting_changes_its_own_files_alone() {
    let usual = DecodeOptions::default();
    let shown = |name: &str, options| {
        let file = bytes(name);
        let picture = EncodedImage::open(&file, options).unwrap();
        rgb8(&picture, Scale::Whole, Region::whole(picture.size()))
    };
    let settings = [
        (DecodeOptions { exif_orientation: false, ..usual }, "orientation_6.jpg"),
        (DecodeOptions { transparency: Transparency::Drop, ..usual }, "rgba8.png"),
        (DecodeOptions { grey16: Grey16::Clip, ..usual }, "grey16.png"),
    ];
    for (options, changed) in settings {
        for name in ["orientation_6.jpg", "rgba8.png", "grey16.png", "rgb8.png", "grey.jpg"] {
            assert_eq!(shown(name, options) != shown(name, usual), name == changed, "{name} {options:?}");
        }
    }
}

#[test]
fn sizes_that_a_file_cannot_hold_are_refused_before_memory_is_taken() {
    let (jpeg, png) = (corpus("jpeg"), corpus("png"));
    let cause = |files: &[(String, Vec<u8>)], name: &str| {
        let file = files.iter().find(|file| file.0 == name).unwrap();
        decode(&file.1).unwrap_err()
    };
    assert_eq!(
        cause(&png, "header_alone"),
        "its header says 200000 × 220000 pixels, and at most 178956970 are decoded"
    );
    assert_eq!(
        cause(&png, "large_size"),
        "its header says 65535 × 65535 pixels, and at most 178956970 are decoded"
    );
    assert_eq!(
        cause(&png, "too_little_for_its_size"),
        "its header says 13000 × 13000 pixels, more than its 141 bytes can hold"
    );
    assert_eq!(
        cause(&png, "long_side"),
        "its header says 2000000 × 1 pixels, and sides of more than 1000000 are not decoded"
    );
    assert_eq!(
        cause(&jpeg, "large_size"),
        "its header says 65500 × 65500 pixels, and at most 178956970 are decoded"
    );
    assert_eq!(
        cause(&jpeg, "too_little_for_its_size"),
        "the JPEG data is damaged: there is too little of it for its size"
    );
    assert_eq!(cause(&jpeg, "many_scans"), "the JPEG data is damaged: it has too many scans");
}

#[test]
fn texts_and_profiles_of_a_png_are_passed_over() {
    let files = corpus("png");
    let shown = |name: &str| decode(&files.iter().find(|file| file.0 == name).unwrap().1).unwrap();
    for name in ["profile_bomb", "text_bomb", "unicode_bomb"] {
        assert!(shown(name) == shown("plain"), "{name}");
    }
}

#[test]
fn what_is_wrong_with_a_png_is_said_in_plain_words() {
    let files = corpus("png");
    let cause = |name: &str| decode(&files.iter().find(|file| file.0 == name).unwrap().1).unwrap_err();
    for (name, expected) in [
        ("cut", "the PNG data is cut off"),
        ("unknown_critical", "the PNG data is damaged: unrecognized critical chunk: ABCD"),
        ("corrupt_data", "the PNG data is damaged: its compressed data is corrupt"),
        ("wrong_checksum", "the PNG data is damaged: a checksum does not agree, in its chunk IDAT"),
        ("two_headers", "the PNG data is damaged: chunk IHDR must appear at most once"),
        ("wrong_color", "the PNG data is damaged: invalid color type 5"),
        ("palette_missing", "the PNG data is damaged: missing palette of indexed image"),
        ("too_few_rows", "the PNG data is damaged: IDAT or fDAT chunk does not have enough data for image"),
        ("no_size", "the image has no pixels"),
        ("animation_smaller", "the PNG data is damaged: sub frame is out-of-bounds"),
    ] {
        assert_eq!(cause(name), expected, "{name}");
    }
}

#[test]
fn flipped_bits_never_take_the_decoder_down() {
    let mut workspace = JpegWorkspace::default();
    for name in ["baseline_420.jpg", "progressive_420.jpg", "restart.jpg", "cmyk.jpg"] {
        let whole = bytes(name);
        for place in 2..whole.len() {
            let mut file = whole.clone();
            file[place] ^= 1 << (place % 8);
            let Ok(jpeg) = (jpeg::FORMAT.open)(&file) else { continue };
            let (width, height) = jpeg.size();
            let region = Region::whole((Scale::Half.of(width), Scale::Half.of(height)));
            // Called without the guard: a panic fails the test.
            let _ = jpeg.decode(Scale::Half, region, DecodeOptions::default(), &mut workspace);
        }
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
fn webp_and_bmp_are_what_pillow_shows() {
    let fixtures = Fixtures::open("stored.safetensors");
    for (name, slack) in [
        ("lossless.webp", 0),
        ("lossless_alpha.webp", 0),
        ("lossy.webp", 1),
        ("lossy_alpha.webp", 1),
        ("rgb24.bmp", 0),
        ("palette.bmp", 0),
        ("grey.bmp", 0),
    ] {
        let file = bytes(name);
        let shown = decode(&file).unwrap();
        let expected = fixtures.floats(name);
        let worst = shown.as_raw().iter().zip(&expected).map(|(a, b)| a.abs_diff(*b as u8)).max();
        assert!(worst <= Some(slack), "{name} differs by {worst:?}");
        let picture = EncodedImage::open(&file, DecodeOptions::default()).unwrap();
        let region = Region { left: 5, top: 2, width: 9, height: 11 };
        let cut = image::imageops::crop_imm(&shown, 5, 2, 9, 11).to_image();
        assert!(rgb8(&picture, Scale::Whole, region) == cut, "a part of {name} differs");
        for length in 0..file.len() - 5 {
            assert!(decode(&file[..length]).is_err(), "{name} cut to {length} bytes");
        }
    }
}

#[test]
fn a_small_webp_or_bmp_cannot_ask_for_much_memory() {
    let mut webp = bytes("lossless.webp");
    // 16383 × 16383 pixels in the header of the lossless part, behind its signature.
    let place = webp.windows(4).position(|name| name == b"VP8L").unwrap() + 9;
    webp[place..place + 4].copy_from_slice(&0x0FFF_BFFEu32.to_le_bytes());
    assert!(decode(&webp).unwrap_err().starts_with("its header says 16383 × 16383 pixels"));
    let mut bmp = bytes("rgb24.bmp");
    bmp[18..22].copy_from_slice(&13_000u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&13_000u32.to_le_bytes());
    assert_eq!(decode(&bmp).unwrap_err(), "the BMP data is cut off");
}

#[test]
fn no_cut_of_a_file_is_taken_for_an_image() {
    for name in ["baseline_420.jpg", "progressive_420.jpg", "restart.jpg", "orientation_6.jpg", "rgba8.png"] {
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
    assert_eq!(
        decode(b"\0\0\0\x18ftypheic\0\0\0\0").unwrap_err(),
        "it is a HEIC file, none of JPEG, PNG, WebP, BMP, TIFF, GIF and PNM; convert it, for example with \
         `heif-convert -q 95 photo.heic photo.jpg`"
    );
    assert_eq!(decode(b"hello").unwrap_err(), "it is not a JPEG, PNG, WebP, BMP, TIFF, GIF or PNM file");
    assert_eq!(decode(b"GIF89a").unwrap_err(), "the GIF data is cut off");
    assert_eq!(decode(b"RIFF\0\0\0\0WEBPVP8 ").unwrap_err(), "the WebP data is cut off");
    assert_eq!(decode(&bytes("baseline_420.jpg")[..900]).unwrap_err(), "the JPEG data is cut off");
}

#[test]
fn stored_pixels_keep_their_depth_and_channels() {
    let options =
        DecodeOptions { pixels: PixelFormat::Stored { has_range: false }, ..DecodeOptions::default() };
    for (name, channels, is_wide) in [
        ("grey1", 1, false),
        ("grey8", 1, false),
        ("grey_alpha8", 2, false),
        ("rgba8", 4, false),
        ("palette_alpha", 4, false),
        ("grey16", 1, true),
        ("grey_alpha16", 2, true),
        ("rgb16", 3, true),
        ("rgba16", 4, true),
    ] {
        let file = bytes(&format!("{name}.png"));
        let picture = EncodedImage::open(&file, options).unwrap();
        let decode = |region| picture.decode(Scale::Whole, region, &mut JpegWorkspace::default()).unwrap();
        let (width, height) = picture.size();
        let Image::Other(whole) = decode(Region::whole((width, height))) else { panic!("{name} is RGB8") };
        assert_eq!((whole.width, whole.height, whole.channels), (width, height, channels), "{name}");
        assert_eq!(matches!(whole.samples, PixelData::U16(_)), is_wide, "{name}");
        let region = Region { left: 1, top: 2, width: 3, height: 2 };
        let Image::Other(part) = decode(region) else { panic!("{name} is RGB8") };
        assert_eq!(part.floats(Region::whole((3, 2))), whole.floats(region), "{name}");
        // Without alpha, what a person sees are the high bytes.
        if let (PixelData::U16(samples), 1 | 3) = (&whole.samples, channels) {
            let repeats = 3 / channels;
            let high = samples.iter().flat_map(|sample| std::iter::repeat_n((sample >> 8) as u8, repeats));
            assert!(high.eq(super::decode(&file).unwrap().into_raw()), "{name}");
        }
    }
    for name in ["rgb8.png", "grey.jpg"] {
        let file = bytes(name);
        let picture = EncodedImage::open(&file, options).unwrap();
        assert!(super::decode(&file).unwrap() == rgb8(&picture, Scale::Whole, Region::whole(picture.size())));
    }
}

#[test]
fn pixels_of_any_depth_are_turned_upright_as_rgb8_is() {
    let stored = Fixtures::open("resized.safetensors").image("53x37");
    let samples = stored.as_raw().iter().map(|sample| u16::from(*sample)).collect();
    let (width, height) = stored.dimensions();
    let raster = Raster { width, height, channels: 3, samples: PixelData::U16(samples) };
    for orientation in (1..=8).filter_map(Orientation::from_exif) {
        let mut expected = DynamicImage::ImageRgb8(stored.clone());
        expected.apply_orientation(orientation);
        let expected = expected.into_rgb8();
        let turned = upright(&raster, orientation);
        assert_eq!((turned.width, turned.height), expected.dimensions(), "{orientation:?}");
        let PixelData::U16(samples) = turned.samples else { panic!("16 bits stay") };
        assert!(samples.iter().map(|sample| *sample as u8).eq(expected.into_raw()), "{orientation:?}");
    }
}
