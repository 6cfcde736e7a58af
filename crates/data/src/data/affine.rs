//! Pixels moved by a matrix: rotation, shear and translation, bit for bit as torchvision does them on PIL images with
//! its defaults, that is the nearest pixel, the same size, and black where nothing was.

use image::RgbImage;

/// An image whose pixel (x, y) is that of the source at (a·x + b·y + c, d·x + e·y + f), all measured at centres of
/// pixels: Pillow's `transform` with `AFFINE`, which walks in 16.16 fixed point.
fn affine(image: &RgbImage, [a, b, c, d, e, f]: [f64; 6]) -> RgbImage {
    let (width, height) = image.dimensions();
    let fixed = |value: f64| (value * 65536.0 + 0.5).floor() as i64;
    let (across_x, across_y) = (fixed(a), fixed(d));
    let (down_x, down_y) = (fixed(b), fixed(e));
    let start_x = fixed(c + a * 0.5 + b * 0.5);
    let start_y = fixed(f + d * 0.5 + e * 0.5);
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (i64::from(x), i64::from(y));
        let source_x = (start_x + x * across_x + y * down_x) >> 16;
        let source_y = (start_y + x * across_y + y * down_y) >> 16;
        let inside = |place: i64, size: u32| u32::try_from(place).ok().filter(|place| *place < size);
        match (inside(source_x, width), inside(source_y, height)) {
            (Some(x), Some(y)) => *image.get_pixel(x, y),
            _ => image::Rgb([0; 3]),
        }
    })
}

/// Turns an image about its centre, counter-clockwise: torchvision's `rotate`.
pub fn rotate(image: &RgbImage, degrees: f64) -> RgbImage {
    let (width, height) = image.dimensions();
    let radians = -degrees.rem_euclid(360.0).to_radians();
    // Pillow rounds to 15 decimals, so that right angles are exact.
    let rounded = |value: f64| (value * 1e15).round_ties_even() / 1e15;
    let (cosine, sine) = (rounded(libm::cos(radians)), rounded(libm::sin(radians)));
    let (center_x, center_y) = (f64::from(width) / 2.0, f64::from(height) / 2.0);
    let shift_x = cosine * -center_x + sine * -center_y + center_x;
    let shift_y = -sine * -center_x + cosine * -center_y + center_y;
    affine(image, [cosine, sine, shift_x, -sine, cosine, shift_y])
}

/// Shifts each line by `slope` times its distance from the top edge, to the left.
pub fn shear_x(image: &RgbImage, slope: f64) -> RgbImage {
    affine(image, [1.0, slope, 0.0, 0.0, 1.0, 0.0])
}

/// Shifts each column by `slope` times its distance from the left edge, upwards.
pub fn shear_y(image: &RgbImage, slope: f64) -> RgbImage {
    affine(image, [1.0, 0.0, 0.0, slope, 1.0, 0.0])
}

/// Moves an image by whole pixels to the right and down.
pub fn translate(image: &RgbImage, right: i32, down: i32) -> RgbImage {
    affine(image, [1.0, 0.0, f64::from(-right), 0.0, 1.0, f64::from(-down)])
}
