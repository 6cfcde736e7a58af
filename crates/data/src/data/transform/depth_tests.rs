//! Pixels of other depths and numbers of channels, on their way from the file to the numbers.

use image::{ImageBuffer, Rgb};

use super::*;
use crate::data::image::{Decoder, ImageFormat, JpegWorkspace, PixelData, Raster};
use crate::random::Purpose;

const SIDE: usize = 24;

fn folder(resize: usize) -> ImageSettings {
    let settings = serde_json::json!({ "image_size": SIDE, "resize": resize });
    serde_json::from_value(settings).unwrap()
}

/// A format of floats with any number of channels: width, height and channels, then the samples. It shows that a
/// decoder and a line in a table are all that a format needs.
const FLOATS: ImageFormat = ImageFormat {
    name: "FLOATS",
    extensions: &["floats"],
    signature: b"FLOATS",
    open: |bytes| Ok(Box::new(Floats(floats(bytes).ok_or("the data is cut off")?))),
    looks_whole: |bytes| floats(bytes).is_some(),
};

struct Floats(Raster);

fn floats(bytes: &[u8]) -> Option<Raster> {
    let (header, samples) = bytes[FLOATS.signature.len()..].split_first_chunk::<3>()?;
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
    let mut file = FLOATS.signature.to_vec();
    file.extend([width as u8, height as u8, channels as u8]);
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        (0..channels).for_each(|channel| file.extend((value(x, y, channel) as f32).to_le_bytes()));
    }
    let statistics = [(1.0, 10.0), (2.0, 20.0), (3.0, 30.0), (4.0, 40.0)];
    for (resize, to) in [(28, (42, 28)), (56, (84, 56))] {
        let transform = Transform::evaluation(&folder(resize), None).with_stored_pixels(&statistics).unwrap();
        let picture = EncodedImage::open_as(&[FLOATS], &file, transform.options).unwrap();
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
    let transform = Transform::evaluation(&folder(28), None).with_stored_pixels(&statistics[..2]).unwrap();
    let picture = EncodedImage::open_as(&[FLOATS], &file, transform.options).unwrap();
    let cause = transform.prepare(&picture, &mut Scratch::default()).unwrap_err();
    assert_eq!(cause, "it has 4 channels, and 2 are expected");
}

#[test]
fn sixteen_bits_are_changed_as_eight_are_up_to_rounding() {
    let pixel = |x: u32, y: u32| [(x * 5) as u8, (y * 6) as u8, (x + y) as u8];
    let wide = ImageBuffer::from_fn(44, 36, |x, y| Rgb(pixel(x, y).map(|value| u16::from(value) * 257)));
    let mut file = std::io::Cursor::new(Vec::new());
    wide.write_to(&mut file, image::ImageFormat::Png).unwrap();
    let Normalize { mean, std } = Normalize::default();
    let statistics: Vec<(f64, f64)> = mean.into_iter().zip(std).collect();
    for augment in [
        "",
        "horizontal_flip = 0.5\nvertical_flip = 0.5",
        "rotation = 30.0\nhorizontal_flip = 0.5",
        "random_resized_crop = {}\nhorizontal_flip = 0.5\nrandom_erasing = {}",
    ] {
        let augment: Augment = toml::from_str(augment).unwrap();
        let eight = Transform::training(&folder(28), None, &augment);
        let sixteen = eight.clone().with_stored_pixels(&statistics).unwrap();
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
            // Bytes are rounded after each of two passes: a step of a byte is about 1 / (255 · 0.225).
            let near = eight.iter().zip(&sixteen).all(|(eight, sixteen)| (eight - sixteen).abs() < 0.02);
            assert!(near, "{augment:?} in epoch {epoch}");
        }
    }
    let augment: Augment = toml::from_str("color_jitter = { hue = 0.1 }").unwrap();
    assert!(Transform::training(&folder(28), None, &augment).with_stored_pixels(&statistics).is_err());
}
