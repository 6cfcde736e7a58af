//! Changes to the tones of RGB8 images, bit for bit as Pillow's `ImageOps` and `ImageEnhance.Sharpness`.

use image::RgbImage;

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

/// Makes the values of each channel about equally frequent.
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

/// Blends from a smoothed image: 0 is smooth, 1 the image itself, more is sharper.
pub fn sharpness(image: &mut RgbImage, factor: f32) {
    let (width, height) = image.dimensions();
    let source = image.clone();
    // Pillow's filter leaves the edge of an image as it is.
    for y in 1..height.saturating_sub(1) {
        for x in 1..width.saturating_sub(1) {
            for channel in 0..3 {
                let own = source.get_pixel(x, y).0[channel];
                let window = (y - 1..=y + 1).flat_map(|y| (x - 1..=x + 1).map(move |x| (x, y)));
                let sum: u32 = window.map(|(x, y)| u32::from(source.get_pixel(x, y).0[channel])).sum();
                // The nearest to a 13th of the window with its centre five times; there are no ties.
                let smooth = (2 * (sum + 4 * u32::from(own)) + 13) / 26;
                let difference = f32::from(own) - smooth as f32;
                image.get_pixel_mut(x, y).0[channel] = (smooth as f32 + factor * difference) as u8;
            }
        }
    }
}

/// Sends each byte through a table of its channel, made from how often each value occurs there.
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
