//! Images: any bytes give an image or an error, and memory in proportion to the file.

use std::time::Duration;

use defrost::data::{DecodeOptions, EncodedImage, JpegWorkspace, Region, Scale};

use crate::support::{Bounds, fuzz};

/// Decodes a file at all supported scales, in whole and in part.
fn read(bytes: &[u8]) {
    let plain = |cause: String| {
        assert!(cause != "the decoder gave up on it", "the decoder panicked");
        assert!(!cause.contains("{ ") && !cause.contains("Error"), "{cause}");
    };
    let picture = match EncodedImage::open(bytes, DecodeOptions::default()) {
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
                let [whole, part] = [whole, part].map(|image| image.into_rgb8().unwrap());
                assert_eq!(whole.dimensions(), (width, height));
                assert_eq!(whole.get_pixel(corner.left, corner.top), part.get_pixel(0, 0));
            }
            // There may be enough memory only for a part.
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
