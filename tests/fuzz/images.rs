//! Images: any bytes give an image or an error, and memory in proportion to the file.

use std::time::Duration;

use defrost::data::{DecodeOptions, EncodedImage, Image, JpegWorkspace, PixelFormat, Region, Scale};

use crate::support::{Bounds, fuzz};

/// As 8-bit RGB, and as stored.
fn read(bytes: &[u8]) {
    read_as(bytes, PixelFormat::Rgb8);
    read_as(bytes, PixelFormat::Stored { has_range: true });
}

/// The channels of a pixel, as fractions.
fn pixel(image: &Image, x: u32, y: u32) -> Vec<f32> {
    match image {
        Image::Rgb8(image) => image.get_pixel(x, y).0.map(|value| f32::from(value) / 255.0).to_vec(),
        Image::Other(raster) => raster.floats(Region { left: x, top: y, width: 1, height: 1 }),
    }
}

/// Decodes a file at all supported scales, in whole and in part.
fn read_as(bytes: &[u8], pixels: PixelFormat) {
    let plain = |cause: String| {
        assert!(cause != "the decoder gave up on it", "the decoder panicked");
        assert!(!cause.contains("{ ") && !cause.contains("Error"), "{cause}");
    };
    let picture = match EncodedImage::open(bytes, DecodeOptions { pixels, ..DecodeOptions::default() }) {
        Ok(picture) => picture,
        Err(cause) => return plain(cause),
    };
    let mut workspace = JpegWorkspace::default();
    for scale in
        [Scale::Whole, Scale::Quarter].into_iter().filter(|scale| picture.scales() || *scale == Scale::Whole)
    {
        let (width, height) = (scale.of(picture.size().0), scale.of(picture.size().1));
        let corner = Region { left: width / 2, top: height / 2, width: 1, height: 1 };
        let whole = picture.decode(scale, Region::whole((width, height)), &mut workspace);
        let part = picture.decode(scale, corner, &mut workspace);
        match (whole, part) {
            (Ok(whole), Ok(part)) => {
                assert_eq!(whole.dimensions(), (width, height));
                assert_eq!(pixel(&whole, corner.left, corner.top), pixel(&part, 0, 0));
            }
            // There may be enough memory only for a part, or a value outside of it that is no number.
            (Err(cause), Ok(_)) if cause.contains("is not a number") => plain(cause),
            (Err(cause), Ok(_)) => {
                plain(cause.clone());
                assert!(cause.contains("there is no memory"), "{cause}");
            }
            (Ok(_), Err(cause)) => panic!("read as a whole but not in part: {cause}"),
            (Err(cause), Err(other)) => {
                plain(cause);
                plain(other);
            }
        }
    }
}

#[test]
fn jpeg() {
    // A bit per block, which takes 128 bytes of coefficients, 64 of samples, and up to four times 192 of pixels.
    let bounds = Bounds { memory: 8 << 20, memory_per_byte: 8 << 10, time: Duration::from_secs(5) };
    fuzz("jpeg", 1500, bounds, |bytes| {
        read(bytes);
    });
}

#[test]
fn png() {
    // Deflate expands one byte to up to 1032; one bit per pixel becomes 24 bytes.
    let bounds = Bounds { memory: 8 << 20, memory_per_byte: 25 << 10, time: Duration::from_secs(5) };
    fuzz("png", 1500, bounds, |bytes| {
        read(bytes);
    });
}

#[test]
fn tiff() {
    // LZW expands a byte to up to 2731; one bit per pixel becomes 24.
    let bounds = Bounds { memory: 8 << 20, memory_per_byte: 80 << 10, time: Duration::from_secs(5) };
    fuzz("tiff", 1500, bounds, |bytes| {
        read(bytes);
    });
}

#[test]
fn webp() {
    // Pictures of one colour take almost no bytes: 4 million pixels are decoded of any file, thrice in memory.
    let bounds = Bounds { memory: 72 << 20, memory_per_byte: 160 << 10, time: Duration::from_secs(5) };
    fuzz("webp", 1500, bounds, |bytes| {
        read(bytes);
    });
}

#[test]
fn bmp() {
    // Run lengths: a byte to 128 pixels.
    let bounds = Bounds { memory: 8 << 20, memory_per_byte: 4 << 10, time: Duration::from_secs(5) };
    fuzz("bmp", 1500, bounds, |bytes| {
        read(bytes);
    });
}

#[test]
fn gif() {
    // A screen takes no bytes beyond its size: 4 million pixels are decoded of any file, as bytes and as floats. LZW
    // expands a byte to up to 2731 pixels.
    let bounds = Bounds { memory: 96 << 20, memory_per_byte: 80 << 10, time: Duration::from_secs(5) };
    fuzz("gif", 1500, bounds, |bytes| {
        read(bytes);
    });
}

#[test]
fn pnm() {
    // A byte has up to 8 pixels.
    let bounds = Bounds { memory: 8 << 20, memory_per_byte: 4 << 10, time: Duration::from_secs(5) };
    fuzz("pnm", 1500, bounds, |bytes| {
        read(bytes);
    });
}
