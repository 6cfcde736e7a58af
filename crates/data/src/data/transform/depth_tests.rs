//! Pixels of other depths and numbers of channels, on their way from the file to the numbers.

use image::{ImageBuffer, Rgb};

use super::*;
use crate::data::code_paths;
use crate::data::fixtures::{Fixtures, bytes};
use crate::data::image::{DecodeOptions, Decoder, ImageFormat, JpegWorkspace, PixelData, Raster};
use crate::random::Purpose;

const SIDE: usize = 24;

fn folder(resize: usize, others: serde_json::Value) -> ImageSettings {
    let mut settings = serde_json::json!({ "image_size": SIDE, "resize": resize });
    settings.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
    serde_json::from_value(settings).unwrap()
}

/// A format of floats with any number of channels: width, height and channels, then the samples. It shows that a
/// decoder and a line in a table are all that a format needs.
const FLOATS: ImageFormat = ImageFormat {
    name: "FLOATS",
    extensions: &["floats"],
    signatures: &[(0, SIGNATURE)],
    code_path: code_paths::TIFF,
    open: |bytes| Ok(Box::new(Floats(floats(bytes).ok_or("the data is cut off")?))),
    looks_whole: |bytes| floats(bytes).is_some(),
};

const SIGNATURE: &[u8] = b"FLOATS";

struct Floats(Raster);

fn floats(bytes: &[u8]) -> Option<Raster> {
    let (header, samples) = bytes[SIGNATURE.len()..].split_first_chunk::<3>()?;
    let [width, height, channels] = *header;
    let samples: Vec<f32> = samples.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let channels = usize::from(channels);
    let raster =
        Raster { width: width.into(), height: height.into(), channels, samples: PixelData::F32(samples) };
    Some(raster)
}

impl Decoder for Floats {
    fn size(&self) -> (u32, u32) {
        (self.0.width, self.0.height)
    }

    fn exif(&self) -> Option<&[u8]> {
        None
    }

    fn decode(
        &self,
        _: Scale,
        region: Region,
        _: DecodeOptions,
        _: &mut JpegWorkspace,
    ) -> Result<Image, String> {
        let cut = |x, y| Some((x + region.left, y + region.top));
        Ok(Image::Other(self.0.gathered((region.width, region.height), cut)))
    }
}

/// What Pillow's antialiased bilinear filter and a centre crop make of one channel, computed place by place in f64.
fn reference(
    sample: impl Fn(usize, usize) -> f64,
    (width, height): (usize, usize),
    (to_width, to_height): (usize, usize),
) -> Vec<f64> {
    let weights = |place: usize, length: usize, output: usize| {
        let scale = length as f64 / output as f64;
        let support = scale.max(1.0);
        let center = (place as f64 + 0.5) * scale;
        let triangle = move |at: usize| (1.0 - ((at as f64 + 0.5 - center) / support).abs()).max(0.0);
        let total: f64 = (0..length).map(triangle).sum();
        (0..length).map(move |at| triangle(at) / total).collect::<Vec<f64>>()
    };
    let (left, top) = ((to_width - SIDE) / 2, (to_height - SIDE) / 2);
    let mut out = Vec::new();
    for y in top..top + SIDE {
        for x in left..left + SIDE {
            let (across, down) = (weights(x, width, to_width), weights(y, height, to_height));
            let row = |y: usize| (0..width).map(|x| across[x] * sample(x, y)).sum::<f64>();
            out.push((0..height).map(|y| down[y] * row(y)).sum());
        }
    }
    out
}

#[test]
fn floats_of_four_channels_are_resized_and_normalised_as_a_plain_reference_has_it() {
    let (width, height, channels) = (60usize, 40usize, 4usize);
    let value = |x: usize, y: usize, channel: usize| {
        ((x * 7 + y * 13 + channel * 29) % 31) as f64 * 40.0 - 300.0 * channel as f64
    };
    let mut file = SIGNATURE.to_vec();
    file.extend([width as u8, height as u8, channels as u8]);
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        (0..channels).for_each(|channel| file.extend((value(x, y, channel) as f32).to_le_bytes()));
    }
    let statistics = [(1.0, 10.0), (2.0, 20.0), (3.0, 30.0), (4.0, 40.0)];
    let settings = serde_json::json!({
        "range": [0.0, 1.0], "channels": 4,
        "normalize": { "mean": statistics.map(|(mean, _)| mean), "std": statistics.map(|(_, std)| std) },
    });
    for (resize, to) in [(28, (42, 28)), (56, (84, 56))] {
        let transform = Transform::evaluation(&folder(resize, settings.clone()), None);
        let picture = EncodedImage::open_as(&[FLOATS], &file, transform.reader.options).unwrap();
        let (mut scratch, mut numbers) = (Scratch::default(), vec![0.0; SIDE * SIDE * channels]);
        let mut stream = Stream::new(0, Purpose::Augment, 0, 0);
        let moves = transform.finish_unkept(&picture, &mut stream, &mut scratch, &mut numbers).unwrap();
        assert_eq!((moves.0[0].source, moves.0[0].output), ([60, 40], [SIDE as u32; 2]));
        for (channel, (mean, std)) in statistics.into_iter().enumerate() {
            let expected = reference(|x, y| value(x, y, channel), (width, height), to);
            let actual = numbers.iter().skip(channel).step_by(channels);
            for (actual, expected) in actual.zip(expected) {
                let expected = (expected - mean) / std;
                assert!((f64::from(*actual) - expected).abs() < 1e-4, "{actual} {expected}");
            }
        }
        let prepared = transform.prepare(&picture, &mut scratch).unwrap();
        let mut kept = vec![0.0; numbers.len()];
        transform.finish(&prepared, &mut stream, &mut scratch, &mut kept);
        assert!(kept == numbers, "kept and not kept");
    }
    let settings = serde_json::json!({ "range": [0.0, 1.0], "channels": 2, "normalize": "none" });
    let transform = Transform::evaluation(&folder(28, settings), None);
    let picture = EncodedImage::open_as(&[FLOATS], &file, transform.reader.options).unwrap();
    let cause = transform.prepare(&picture, &mut Scratch::default()).unwrap_err();
    assert_eq!(cause, "it has 4 channels, and 2 are expected");
}

#[test]
fn sixteen_bits_are_changed_as_eight_are_up_to_rounding() {
    let pixel = |x: u32, y: u32| [(x * 5) as u8, (y * 6) as u8, (x + y) as u8];
    let wide = ImageBuffer::from_fn(44, 36, |x, y| Rgb(pixel(x, y).map(|value| u16::from(value) * 257)));
    let mut file = std::io::Cursor::new(Vec::new());
    wide.write_to(&mut file, image::ImageFormat::Png).unwrap();
    for augment in [
        "",
        "horizontal_flip = 0.5\nvertical_flip = 0.5",
        "rotation = 30.0\nhorizontal_flip = 0.5",
        "random_resized_crop = {}\nhorizontal_flip = 0.5\nrandom_erasing = {}",
        "color_jitter = { brightness = 0.3, contrast = 0.3, saturation = 0.3 }",
    ] {
        let augment: Augment = toml::from_str(augment).unwrap();
        let eight = Transform::training(&folder(28, serde_json::json!({})), None, &augment);
        let range = serde_json::json!({ "range": [0.0, 65535.0] });
        let sixteen = Transform::training(&folder(28, range), None, &augment);
        for epoch in 0..8 {
            let make = |transform: &Transform| {
                let mut numbers = vec![0.0; SIDE * SIDE * 3];
                let mut stream = Stream::new(1, Purpose::Augment, epoch, 7);
                let picture = transform.open(file.get_ref()).unwrap();
                let mut scratch = Scratch::default();
                let geometry = transform.finish_unkept(&picture, &mut stream, &mut scratch, &mut numbers);
                (numbers, geometry.unwrap())
            };
            let ((eight, at), (sixteen, also_at)) = (make(&eight), make(&sixteen));
            assert_eq!(at, also_at);
            // Bytes are rounded after each of two passes, and cut off by each change of colours: a step of a byte is
            // about 1 / (255 · 0.225).
            let slack = if augment.color_jitter.is_some() { 0.12 } else { 0.02 };
            let near = eight.iter().zip(&sixteen).all(|(eight, sixteen)| (eight - sixteen).abs() < slack);
            assert!(near, "{augment:?} in epoch {epoch}");
        }
    }
}

fn values(settings: serde_json::Value, resize: usize, file: &[u8]) -> Vec<f32> {
    let tensor = Transform::evaluation(&folder(resize, settings), None).tensor(file).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// A TIFF of one strip of 16-bit RGB without compression.
fn tiff16((width, height): (u32, u32), samples: &[u16]) -> Vec<u8> {
    let length = samples.len() as u32 * 2;
    let fields = [
        (256u16, width),
        (257, height),
        (258, 16),
        (259, 1),
        (262, 2),
        (273, 122),
        (277, 3),
        (278, height),
        (279, length),
    ];
    let mut file = b"II*\0\x08\0\0\0\x09\0".to_vec();
    for (tag, value) in fields {
        file.extend(
            [&tag.to_le_bytes()[..], &4u16.to_le_bytes(), &1u32.to_le_bytes(), &value.to_le_bytes()].concat(),
        );
    }
    file.extend(0u32.to_le_bytes());
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

fn stored_values(settings: serde_json::Value, file: &[u8]) -> Vec<f32> {
    let reader = ImageReader::new(&folder(28, settings));
    let picture = reader.open(file).unwrap();
    let region = Region::whole(picture.size());
    let Image::Other(raster) =
        reader.decode(&picture, Scale::Whole, region, &mut JpegWorkspace::default()).unwrap()
    else {
        panic!("they are floats")
    };
    raster.floats(region)
}

#[test]
fn log_chromaticity_equals_files_made_by_its_formula() {
    let fixtures = Fixtures::open("stored.safetensors");
    let color = serde_json::json!({ "kind": "log_chromaticity", "from": "linear" });
    let keyed = serde_json::json!({ "range": [0.0, 65535.0], "color": color, "normalize": "none" });
    let plain = serde_json::json!({ "range": [0.0, 65535.0], "normalize": "none" });
    let linear = bytes("linear16.tif");
    let computed = stored_values(keyed.clone(), &linear);
    // Python's file, and one of our own.
    let rounded: Vec<u16> =
        computed.iter().map(|value| (f64::from(*value) * 65535.0).round_ties_even() as u16).collect();
    let own = tiff16((37, 29), &rounded);
    for made in [bytes("log_chromaticity16.tif"), own] {
        let stored = stored_values(plain.clone(), &made);
        let worst = computed.iter().zip(&stored).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 0.51 / 65535.0, "{worst}");
        // Resizing averages: no value moves farther than before.
        let [computed, stored] =
            [(&keyed, &linear), (&plain, &made)].map(|(settings, file)| values(settings.clone(), 28, file));
        let worst = computed.iter().zip(&stored).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 0.6 / 65535.0, "{worst} after resizing");
    }
    let clipped = ImageReader::new(&folder(28, keyed)).clipped_values(&linear).unwrap();
    assert_eq!(clipped as f32, fixtures.floats("linear16:clipped")[0]);
}

#[test]
fn log_chromaticity_of_eight_bits_undoes_the_encoding_of_screens() {
    let settings = serde_json::json!({ "color": "log_chromaticity", "normalize": "none" });
    let file = bytes("rgb8.png");
    let computed = stored_values(settings, &file);
    let picture = crate::data::decode(&file).unwrap();
    for (pixel, values) in picture.as_raw().chunks_exact(3).zip(computed.chunks_exact(3)) {
        let light = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value < 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
                .max(1.0 / 1024.0)
                .ln()
        };
        let logarithms: Vec<f64> = pixel.iter().map(|value| light(*value)).collect();
        let mean = logarithms.iter().sum::<f64>() / 3.0;
        for (value, logarithm) in values.iter().zip(&logarithms) {
            let expected = ((logarithm - mean + 2.0) / 4.0).clamp(0.0, 1.0);
            assert!((f64::from(*value) - expected).abs() < 1e-6);
        }
    }
}

#[test]
fn what_turns_in_from_outside_is_black_or_grey_of_chromaticity() {
    let augment: Augment = toml::from_str("rotation = 45.0").unwrap();
    for (settings, expected) in [
        (serde_json::json!({ "range": [0.0, 65535.0], "normalize": "none" }), 0.0),
        (
            serde_json::json!({ "range": [0.0, 65535.0], "normalize": "none", "color": "log_chromaticity" }),
            0.5,
        ),
    ] {
        let transform = Transform::training(&folder(28, settings), None, &augment);
        let file = bytes("linear16.tif");
        let picture = transform.open(&file).unwrap();
        let corners = (0..20).filter(|epoch| {
            let mut numbers = vec![0.0; SIDE * SIDE * 3];
            let mut stream = Stream::new(1, Purpose::Augment, *epoch, 7);
            transform.finish_unkept(&picture, &mut stream, &mut Scratch::default(), &mut numbers).unwrap();
            numbers[..3] == [expected; 3]
        });
        assert!(corners.count() > 10);
    }
}

#[test]
fn the_padding_of_a_letterbox_is_a_share_of_the_range() {
    let settings = serde_json::json!({
        "range": [0.0, 4095.0], "normalize": "none", "fit": { "kind": "letterbox", "pad": 127.5 },
    });
    let numbers = values(settings, 28, &bytes("linear16.tif"));
    assert_eq!(numbers[..3], [0.5; 3], "37 × 29 has margins above and below");
}

#[test]
fn a_picture_to_look_at_shows_what_the_network_sees() {
    let log = serde_json::json!({ "kind": "log_chromaticity", "from": "linear" });
    for others in [
        serde_json::json!({ "range": [0.0, 4095.0] }),
        serde_json::json!({ "range": [0.0, 65535.0], "color": log }),
    ] {
        let mut settings = folder(37, others);
        settings.image_size = 37;
        settings.fit = Fit::Letterbox { pad: 114.0 };
        settings.normalize = serde_json::from_value(serde_json::json!("none")).unwrap();
        let (transform, file) = (Transform::evaluation(&settings, None), bytes("linear16.tif"));
        let (numbers, _) = transform.evaluate(&file).unwrap();
        let seen = transform.picture(&numbers.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        let picture = transform.reader().picture(&file).unwrap();
        assert_eq!(picture.dimensions(), (37, 29));
        // Without its margins.
        assert!(picture.as_raw()[..] == seen[4 * 37 * 3..33 * 37 * 3], "{settings:?}");
    }
}

#[test]
fn sixteen_bits_stay_sixteen_bits() {
    let samples: Vec<u16> = (0..SIDE * SIDE * 3).map(|sample| 30_000 + sample as u16).collect();
    let file = tiff16((SIDE as u32, SIDE as u32), &samples);
    let settings = serde_json::json!({ "range": [0.0, 65535.0], "normalize": "none" });
    let transform =
        Transform::training(&folder(SIDE, settings), None, &toml::from_str("horizontal_flip = 1.0").unwrap());
    let picture = transform.open(&file).unwrap();
    let mut numbers = vec![0.0; SIDE * SIDE * 3];
    let mut stream = Stream::new(1, Purpose::Augment, 0, 7);
    transform.finish_unkept(&picture, &mut stream, &mut Scratch::default(), &mut numbers).unwrap();
    let distinct: std::collections::BTreeSet<u16> =
        numbers.iter().map(|value| (f64::from(*value) * 65535.0).round() as u16).collect();
    assert_eq!(distinct, samples.into_iter().collect());
}
