//! Brightness, contrast, saturation and hue of RGB8 images, bit for bit as torchvision does them on PIL images.
//!
//! Brightness, contrast and saturation blend with a degenerate image (black, mean grey, greyscale) as Pillow's
//! `ImageEnhance` does. Hue rotates the first byte of Pillow's HSV. Float widths (f32, f64) follow Pillow's C code.
//! The other functions follow Pillow's `ImageOps` and `ImageEnhance.Sharpness`, also bit for bit.

use image::{Rgb, RgbImage};

/// Blends from black: factor 0 gives black, 1 the image itself, a larger factor a brighter image.
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

/// Sets all channels to the luma.
pub fn grayscale(image: &mut RgbImage) {
    for pixel in image.pixels_mut() {
        pixel.0 = [luma(pixel); 3];
    }
}

/// Rotates the hue by a fraction of the colour circle, −0.5 to 0.5.
pub fn hue(image: &mut RgbImage, turn: f64) {
    // The turn in steps of 1/255, truncated towards zero, wraps around in a byte.
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

/// Keeps the first `bits` bits of each byte.
pub fn posterize(image: &mut RgbImage, bits: u32) {
    let mask = !(0xffu32 >> bits.min(8)) as u8;
    image.iter_mut().for_each(|value| *value &= mask);
}

/// Inverts the bytes from `threshold` on.
pub fn solarize(image: &mut RgbImage, threshold: f64) {
    map(image, |value| if f64::from(value) < threshold { value } else { 255 - value });
}

/// Stretches each channel so that it runs from 0 to 255.
pub fn autocontrast(image: &mut RgbImage) {
    tables(image, |counts| {
        let lowest = counts.iter().position(|&count| count > 0).unwrap_or(0);
        let highest = counts.iter().rposition(|&count| count > 0).unwrap_or(0);
        if highest <= lowest {
            return std::array::from_fn(|value| value as u8);
        }
        let scale = 255.0 / (highest - lowest) as f64;
        let offset = -(lowest as f64) * scale;
        // The cast truncates and saturates, as Pillow does.
        std::array::from_fn(|value| (value as f64 * scale + offset) as u8)
    });
}

/// Makes the values of each channel about equally frequent (histogram equalisation).
pub fn equalize(image: &mut RgbImage) {
    tables(image, |counts| {
        let last = counts.iter().rev().find(|&&count| count > 0).copied().unwrap_or(0);
        let step = (counts.iter().sum::<u64>() - last) / 255;
        let several = counts.iter().filter(|&&count| count > 0).count() > 1;
        if step == 0 || !several {
            return std::array::from_fn(|value| value as u8);
        }
        let mut below = step / 2;
        std::array::from_fn(|value| {
            let level = (below / step).min(255) as u8;
            below += counts[value];
            level
        })
    });
}

/// Blends from a smoothed image: factor 0 gives the smooth image, 1 the image itself, more is sharper.
pub fn sharpness(image: &mut RgbImage, factor: f32) {
    let (width, height) = image.dimensions();
    let source = image.clone();
    // Pillow's filter leaves the edge pixels unchanged.
    for y in 1..height.saturating_sub(1) {
        for x in 1..width.saturating_sub(1) {
            for channel in 0..3 {
                let own = source.get_pixel(x, y).0[channel];
                let window = (y - 1..=y + 1).flat_map(|y| (x - 1..=x + 1).map(move |x| (x, y)));
                let sum: u32 = window.map(|(x, y)| u32::from(source.get_pixel(x, y).0[channel])).sum();
                // The mean of the 3 × 3 window with its centre weighted five times, rounded; there are no ties.
                let smooth = (2 * (sum + 4 * u32::from(own)) + 13) / 26;
                let difference = f32::from(own) - smooth as f32;
                image.get_pixel_mut(x, y).0[channel] = (smooth as f32 + factor * difference) as u8;
            }
        }
    }
}

/// Maps each byte through a table of its channel, which is built from the channel's histogram.
fn tables(image: &mut RgbImage, table: impl Fn(&[u64; 256]) -> [u8; 256]) {
    let mut counts = [[0u64; 256]; 3];
    for pixel in image.pixels() {
        counts.iter_mut().zip(pixel.0).for_each(|(counts, value)| counts[usize::from(value)] += 1);
    }
    let tables = counts.each_ref().map(table);
    for pixel in image.pixels_mut() {
        pixel.0.iter_mut().zip(&tables).for_each(|(value, table)| *value = table[usize::from(*value)]);
    }
}

fn map(image: &mut RgbImage, change: impl Fn(u8) -> u8) {
    image.iter_mut().for_each(|value| *value = change(*value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fixtures::Fixtures;

    #[test]
    fn grey_is_bit_exact_with_torchvision_on_pil() {
        let fixtures = Fixtures::open("recolored.safetensors");
        let mut image = fixtures.image("source");
        grayscale(&mut image);
        assert_eq!(image, fixtures.image("grey"));
    }

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
