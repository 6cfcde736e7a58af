//! Decoding, against what Pillow makes of the same files.

use super::*;
use crate::data::fixtures::{Fixtures, bytes};
use crate::data::resize::Resizing;

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
        let picture = Picture::open(&file).unwrap();
        let (width, height) = picture.size();
        let actual = match numbers[1..] {
            [left, top, width, height] => {
                let size = expected.dimensions();
                let region = Region { left, top, width, height };
                let resizing = Resizing::new(region, scale.divisor(), size, Region::whole(size));
                let part = picture.decode(scale, resizing.source(), &mut Workspace::default()).unwrap();
                let (origin, mut pixels) = (resizing.source(), Vec::new());
                resizing.run(&part, (origin.left, origin.top), &mut Vec::new(), &mut pixels);
                RgbImage::from_raw(size.0, size.1, pixels).unwrap()
            }
            _ => {
                let region = Region::whole((scale.of(width), scale.of(height)));
                picture.decode(scale, region, &mut Workspace::default()).unwrap()
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
        let picture = Picture::open(&file).unwrap();
        let whole = decode(&file).unwrap();
        for (left, top, width, height) in [(0, 0, 3, 5), (5, 2, 9, 9), (1, 7, 12, 2)] {
            let region = Region { left, top, width, height };
            let part = picture.decode(Scale::Whole, region, &mut Workspace::default()).unwrap();
            let cut = image::imageops::crop_imm(&whole, left, top, width, height).to_image();
            assert!(part == cut, "{name} at {left}, {top}");
        }
    }
}

#[test]
fn flipped_bits_never_take_the_decoder_down() {
    let mut workspace = Workspace::default();
    for name in ["baseline_420.jpg", "progressive_420.jpg", "restart.jpg", "cmyk.jpg"] {
        let whole = bytes(name);
        for place in 2..whole.len() {
            let mut file = whole.clone();
            file[place] ^= 1 << (place % 8);
            let Ok(jpeg) = Jpeg::open(&file) else { continue };
            let (width, height) = jpeg.size();
            let region = Region::whole((Scale::Half.of(width), Scale::Half.of(height)));
            // Called without the guard: a panic fails the test.
            let _ = jpeg.decode(Scale::Half, region, &mut workspace);
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
    assert_eq!(decode(b"RIFF\0\0\0\0WEBPVP8 ").unwrap_err(), "it is a WebP file, neither JPEG nor PNG");
    assert_eq!(decode(b"hello").unwrap_err(), "it is neither a JPEG nor a PNG file");
    assert_eq!(decode(&bytes("baseline_420.jpg")[..900]).unwrap_err(), "the JPEG data is cut off");
}
