//! Converts rows of samples to rows of RGB8, with the bits of libjpeg-turbo, and for CMYK those of Pillow's
//! `convert("RGB")`.

use super::decoder::ComponentSamples;
use super::geometry::ComponentLayout;
use super::header::Colors;
use super::upsample;
use crate::data::Region;
use crate::ops::multiversion::multiversion;

/// Memory for one row of each component.
#[derive(Default)]
pub struct ColorConverter {
    rows: [Vec<u8>; 4],
    between: Vec<i16>,
}

impl ColorConverter {
    /// Writes the pixels of a region.
    pub(super) fn paint(
        &mut self,
        colors: Colors,
        components: &[ComponentSamples],
        layouts: &[ComponentLayout],
        region: Region,
        pixels: &mut Vec<u8>,
    ) {
        let (left, width) = (region.left as usize, region.width as usize);
        pixels.resize(width * region.height as usize * 3, 0);
        for (y, out) in pixels.chunks_exact_mut(width * 3).enumerate() {
            let y = region.top as usize + y;
            for ((samples, layout), row) in components.iter().zip(layouts).zip(&mut self.rows) {
                upsample::row(layout, &samples.plane, y, left..left + width, &mut self.between, row);
            }
            let [first, second, third, fourth] = &self.rows;
            match colors {
                Colors::Grey => repeat(first, out),
                Colors::Rgb => interleave(first, second, third, out),
                Colors::Ycc => from_ycc(first, second, third, out),
                Colors::Cmyk => {
                    interleave(first, second, third, out);
                    // libjpeg returns inverted values, and Pillow inverts them again.
                    out.iter_mut().for_each(|value| *value = 255 - *value);
                    from_cmy(out, fourth);
                }
                Colors::Ycck => {
                    from_ycc(first, second, third, out);
                    from_cmy(out, fourth);
                }
            }
        }
    }
}

/// Converts cyan, magenta and yellow to red, green and blue in place, from the inverted black.
fn from_cmy(out: &mut [u8], light: &[u8]) {
    for (pixel, &light) in out.chunks_exact_mut(3).zip(light) {
        for value in pixel {
            let product = u32::from(*value) * u32::from(light) + 128;
            let share = ((product >> 8) + product) >> 8;
            *value = (u32::from(light) - share.min(light.into())) as u8;
        }
    }
}

fn repeat(grey: &[u8], out: &mut [u8]) {
    for (pixel, grey) in out.chunks_exact_mut(3).zip(grey) {
        pixel.fill(*grey);
    }
}

fn interleave(red: &[u8], green: &[u8], blue: &[u8], out: &mut [u8]) {
    for (((pixel, red), green), blue) in out.chunks_exact_mut(3).zip(red).zip(green).zip(blue) {
        pixel.copy_from_slice(&[*red, *green, *blue]);
    }
}

/// 16-bit fixed point.
const fn fixed(value: f64) -> i32 {
    (value * 65536.0 + 0.5) as i32
}

const HALF: i32 = 1 << 15;

multiversion! {
    /// JFIF's colour space, ITU-R 601.
    fn from_ycc(luma: &[u8], blue: &[u8], red: &[u8], out: &mut [u8]) {
        for (((pixel, luma), blue), red) in out.chunks_exact_mut(3).zip(luma).zip(blue).zip(red) {
            let (luma, blue, red) = (i32::from(*luma), i32::from(*blue) - 128, i32::from(*red) - 128);
            let clip = |value: i32| value.clamp(0, 255) as u8;
            pixel[0] = clip(luma + ((fixed(1.40200) * red + HALF) >> 16));
            pixel[1] = clip(luma + ((-fixed(0.34414) * blue + HALF - fixed(0.71414) * red) >> 16));
            pixel[2] = clip(luma + ((fixed(1.77200) * blue + HALF) >> 16));
        }
    }
}
