//! Brightness, contrast, saturation and hue of RGB8 images, bit for bit as torchvision does them on PIL images.
//!
//! The first three blend with a degenerate image (black, mean grey, greyscale) as Pillow's `ImageEnhance`; hue turns
//! the first byte of Pillow's HSV. Widths of the arithmetic (f32, f64) follow Pillow's C.

use image::{Rgb, RgbImage};

/// Blends from black: 0 is black, 1 the image itself, more is brighter.
pub fn brightness(image: &mut RgbImage, factor: f32) {
    blend(image, factor, |_| [0; 3]);
}

/// Blends from a grey image of the mean luma.
pub fn contrast(image: &mut RgbImage, factor: f32) {
    let total: u64 = image.pixels().map(|pixel| u64::from(luma(pixel))).sum();
    let count = u64::from(image.width()) * u64::from(image.height());
    let mean = (total as f64 / count as f64 + 0.5) as u8;
    blend(image, factor, |_| [mean; 3]);
}

/// Blends from the greyscale image.
pub fn saturation(image: &mut RgbImage, factor: f32) {
    blend(image, factor, |pixel| [luma(pixel); 3]);
}

/// Turns the hue by a share of the colour circle, −0.5 to 0.5.
pub fn hue(image: &mut RgbImage, turn: f64) {
    // Whole steps of 1/255, towards zero, around the byte.
    let steps = (turn * 255.0) as i32 as u8;
    for pixel in image.pixels_mut() {
        let [hue, saturation, value] = to_hsv(pixel.0);
        pixel.0 = to_rgb([hue.wrapping_add(steps), saturation, value]);
    }
}

/// ITU-R 601-2 luma in 16-bit fixed point.
fn luma(Rgb([red, green, blue]): &Rgb<u8>) -> u8 {
    ((u32::from(*red) * 19595 + u32::from(*green) * 38470 + u32::from(*blue) * 7471 + 0x8000) >> 16) as u8
}

fn blend(image: &mut RgbImage, factor: f32, degenerate: impl Fn(&Rgb<u8>) -> [u8; 3]) {
    for pixel in image.pixels_mut() {
        let from = degenerate(pixel);
        for (value, from) in pixel.0.iter_mut().zip(from) {
            let difference = f32::from(*value) - f32::from(from);
            // The cast truncates and saturates, as Pillow does inside and outside of [0, 1].
            *value = (f32::from(from) + factor * difference) as u8;
        }
    }
}

fn to_hsv([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let distance = |value: u8| f32::from(most - value) / range;
    let (from_red, from_green, from_blue) = (distance(red), distance(green), distance(blue));
    let sixth = if red == most {
        from_blue - from_green
    } else if green == most {
        (2.0 + f64::from(from_red) - f64::from(from_blue)) as f32
    } else {
        (4.0 + f64::from(from_green) - f64::from(from_red)) as f32
    };
    let hue = ((f64::from(sixth) / 6.0 + 1.0) % 1.0) as f32;
    let saturation = range / f32::from(most);
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

fn to_rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let place = f64::from(hue) * 6.0 / 255.0;
    let sector = place.floor();
    let rest = (place - sector) as f32;
    let saturation = (f64::from(saturation) / 255.0) as f32;
    let scaled = |share: f64| (f64::from(value) * share).round() as u8;
    let low = scaled(1.0 - f64::from(saturation));
    let falling = scaled(1.0 - f64::from(saturation * rest));
    let rising = scaled(1.0 - f64::from(saturation) * (1.0 - f64::from(rest)));
    match sector as u8 % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fixtures::Fixtures;

    #[test]
    fn every_factor_is_bit_exact_with_torchvision_on_pil() {
        let fixtures = Fixtures::open("transformed.safetensors");
        let mut compared = 0;
        for name in fixtures.names() {
            let Some((kind, factor)) = name.split_once(':') else { continue };
            let Ok(factor) = factor.parse::<f64>() else { continue };
            let mut image = fixtures.image("source");
            match kind {
                "brightness" => brightness(&mut image, factor as f32),
                "contrast" => contrast(&mut image, factor as f32),
                "saturation" => saturation(&mut image, factor as f32),
                "hue" => hue(&mut image, factor),
                _ => continue,
            }
            assert!(image == fixtures.image(&name), "{name} differs");
            compared += 1;
        }
        assert_eq!(compared, 25);
    }
}
