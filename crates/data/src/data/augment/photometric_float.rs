//! Brightness, contrast, saturation and hue of float images, as torchvision does them on tensors of floats.
//!
//! Results are clipped to [0, 1], as there. Contrast takes the mean luma of RGB, and of other numbers of channels the
//! mean of all values.

use crate::data::image::{PixelData, Raster};

/// The luma of torchvision's `rgb_to_grayscale`.
const LUMA: [f32; 3] = [0.2989, 0.587, 0.114];

/// Blends from black: factor 0 gives black, 1 the image itself, a larger factor a brighter image.
pub fn brightness(raster: &mut Raster, factor: f32) {
    blend(raster, factor, |_| 0.0);
}

/// Blends from a grey image of the mean luma.
pub fn contrast(raster: &mut Raster, factor: f32) {
    let PixelData::F32(samples) = &raster.samples else { return };
    let total: f64 = samples.chunks_exact(raster.channels).map(|pixel| f64::from(grey(pixel))).sum();
    let mean = (total / (samples.len() / raster.channels).max(1) as f64) as f32;
    blend(raster, factor, |_| mean);
}

/// Blends from the greyscale image.
pub fn saturation(raster: &mut Raster, factor: f32) {
    blend(raster, factor, grey);
}

/// Sets all channels to the luma of RGB.
pub fn grayscale(raster: Raster) -> Raster {
    let Raster { width, height, channels, .. } = raster;
    let mut samples = raster.into_floats();
    for pixel in samples.chunks_exact_mut(channels) {
        let grey = grey(pixel);
        pixel.fill(grey);
    }
    Raster { width, height, channels, samples: PixelData::F32(samples) }
}

/// Rotates the hue of RGB by a fraction of the colour circle, −0.5 to 0.5.
pub fn hue(raster: &mut Raster, turn: f32) {
    let PixelData::F32(samples) = &mut raster.samples else { return };
    for pixel in samples.as_chunks_mut::<3>().0 {
        let [hue, saturation, value] = to_hsv(*pixel);
        *pixel = to_rgb([(hue + turn).rem_euclid(1.0), saturation, value]);
    }
}

/// Turns the hue by a fraction of the colour circle, and multiplies saturation and value. The saturation is at most 1;
/// the value has no limit. Of a pixel without a positive channel, only the value changes.
pub fn hsv(pixel: [f32; 3], turn: f32, saturation: f32, value: f32) -> [f32; 3] {
    let most = pixel[0].max(pixel[1]).max(pixel[2]);
    if most <= 0.0 {
        return pixel.map(|channel| channel * value);
    }
    let [hue, own, _] = to_hsv(pixel);
    to_rgb([(hue + turn).rem_euclid(1.0), (own * saturation).min(1.0), 1.0])
        .map(|channel| channel * most * value)
}

fn grey(pixel: &[f32]) -> f32 {
    match pixel {
        [red, green, blue] => LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue,
        channels => channels.iter().sum::<f32>() / channels.len() as f32,
    }
}

fn blend(raster: &mut Raster, factor: f32, degenerate: impl Fn(&[f32]) -> f32) {
    let PixelData::F32(samples) = &mut raster.samples else { return };
    for pixel in samples.chunks_exact_mut(raster.channels) {
        let from = degenerate(pixel);
        pixel.iter_mut().for_each(|value| *value = (factor * *value + (1.0 - factor) * from).clamp(0.0, 1.0));
    }
}

fn to_hsv([red, green, blue]: [f32; 3]) -> [f32; 3] {
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    if most == least {
        return [0.0, 0.0, most];
    }
    let range = most - least;
    let [from_red, from_green, from_blue] = [red, green, blue].map(|value| (most - value) / range);
    let sixth = if red == most {
        from_blue - from_green
    } else if green == most {
        2.0 + from_red - from_blue
    } else {
        4.0 + from_green - from_red
    };
    [(sixth / 6.0 + 1.0) % 1.0, range / most, most]
}

fn to_rgb([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    let sector = (hue * 6.0).floor();
    let rest = hue * 6.0 - sector;
    let low = (value * (1.0 - saturation)).clamp(0.0, 1.0);
    let falling = (value * (1.0 - saturation * rest)).clamp(0.0, 1.0);
    let rising = (value * (1.0 - saturation * (1.0 - rest))).clamp(0.0, 1.0);
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
    fn every_factor_is_near_torchvision_on_floats() {
        let fixtures = Fixtures::open("stored.safetensors");
        let mut compared = 0;
        for name in fixtures.names() {
            let Some((kind, factor)) = name.split_once(':') else { continue };
            let Ok(factor) = factor.parse::<f32>() else { continue };
            let (source, channels) = match kind.strip_prefix("grey_") {
                Some(_) => ("grey_source", 1),
                None => ("source", 3),
            };
            let samples = PixelData::F32(fixtures.floats(source));
            let (width, height) = (11, 7);
            let mut raster = Raster { width, height, channels, samples };
            match kind.trim_start_matches("grey_") {
                "brightness" => brightness(&mut raster, factor),
                "contrast" => contrast(&mut raster, factor),
                "saturation" => saturation(&mut raster, factor),
                "hue" => hue(&mut raster, factor),
                _ => continue,
            }
            let PixelData::F32(actual) = raster.samples else { panic!("floats stay floats") };
            let expected = fixtures.floats(&name);
            assert_eq!(actual.len(), expected.len(), "{name}");
            let worst = actual.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 2e-6, "{name}: {worst}");
            compared += 1;
        }
        assert_eq!(compared, 20);
    }
}
