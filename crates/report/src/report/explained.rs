//! Sheets of classified images, each next to a map of the places that its class depends on.

use image::{Rgb, RgbImage, imageops};

use super::boxes::{lay_over, scaled};
use super::png::pixels;
use super::svg::{Anchor, Font, Paint, Svg};
use super::text::fit;
use crate::error::Result;
use crate::model::SaliencyMap;

/// The longer side of an image in pixels.
const CELL: f64 = 216.0;
const MARGIN: f64 = 16.0;
/// Between an image and its saliency map; between images.
const SEAM: f64 = 2.0;
const GAP: f64 = 14.0;
const LINE: f64 = 17.0;
/// The height of the text below an image, and of the title with its note.
const TEXT: f64 = 2.0 * LINE + 12.0;
const TOP: f64 = 64.0;

/// The colours of a map from 0 to 1, in equal steps: inferno of matplotlib, which is in the public domain. Its lightness
/// increases evenly, also for the colour-blind.
const COLORS: [[f64; 3]; 9] = [
    [0.0, 0.0, 4.0],
    [31.0, 12.0, 72.0],
    [85.0, 15.0, 109.0],
    [136.0, 34.0, 106.0],
    [186.0, 54.0, 85.0],
    [227.0, 89.0, 51.0],
    [249.0, 140.0, 10.0],
    [249.0, 201.0, 50.0],
    [252.0, 255.0, 164.0],
];

/// The share of the colour in the blended picture.
const OPACITY: f64 = 0.55;

/// An image of a sheet.
pub struct ExplainedImage {
    pub image: RgbImage,
    /// The places that speak for the class of the caption.
    pub saliency: Option<SaliencyMap>,
    /// Below the image; longer texts are shortened in the middle.
    pub caption: String,
    /// Below the caption.
    pub name: String,
}

/// Draws images of one size in rows, below a title. An image with a saliency map has it on its right.
///
/// # Errors
/// The layer of text cannot be rendered.
pub fn explained_sheet(title: &str, images: &[ExplainedImage]) -> Result<RgbImage> {
    let explains = images.iter().any(|image| image.saliency.is_some());
    let longer = images.iter().map(|shown| shown.image.width().max(shown.image.height())).max();
    let scale = CELL / f64::from(longer.unwrap_or(1).max(1));
    let sizes = images.iter().map(|shown| {
        [shown.image.width(), shown.image.height()].map(|side| (f64::from(side) * scale).round().max(1.0))
    });
    let [width, height] = sizes.fold([CELL, 1.0], |most, size| [most[0].max(size[0]), most[1].max(size[1])]);
    let (most, cell) = if explains { (3, 2.0 * width + SEAM) } else { (6, width) };
    // A title needs the width of some images.
    let columns = images.len().clamp(if explains { 2 } else { 4 }, most);
    let rows = images.len().div_ceil(columns);
    let size = [
        2.0 * MARGIN - GAP + columns as f64 * (cell + GAP),
        TOP + rows as f64 * (height + TEXT) + MARGIN - 12.0,
    ];
    let mut picture = RgbImage::from_pixel(size[0] as u32, size[1] as u32, Rgb([255; 3]));
    let mut svg = Svg::transparent(title, size[0], size[1]);
    let room = size[0] - 2.0 * MARGIN;
    let font = Font::new(17.0, Paint::Ink, Anchor::Start).bold();
    svg.text([MARGIN, 30.0], &fit(title, font.size, room / 1.08), font);
    let note = Font::new(12.0, Paint::Muted, Anchor::Start);
    let text = match explains {
        true => {
            "Right of each image: Grad-CAM, the places that speak for the class of the percentage (bright: most)"
        }
        false => "The images as the network sees them",
    };
    svg.text([MARGIN, 49.0], &fit(text, note.size, room), note);
    for (place, shown) in images.iter().enumerate() {
        let x = MARGIN + (place % columns) as f64 * (cell + GAP);
        let y = TOP + (place / columns) as f64 * (height + TEXT);
        let small = scaled(&shown.image, scale);
        imageops::replace(&mut picture, &small, x as i64, y as i64);
        if let Some(map) = &shown.saliency {
            imageops::replace(&mut picture, &overlay(&small, map), (x + width + SEAM) as i64, y as i64);
        }
        let caption = Font { paint: Paint::Ink, size: 13.0, ..note }.bold();
        let below = y + height + LINE - 1.0;
        svg.text([x, below], &fit(&shown.caption, caption.size, cell / 1.08), caption);
        svg.text([x, below + LINE - 1.0], &fit(&shown.name, note.size, cell), note);
    }
    lay_over(&mut picture, &pixels(&svg, 1.0)?);
    Ok(picture)
}

/// Blends the colours of a map, interpolated to the size of the image, with the image.
fn overlay(image: &RgbImage, map: &SaliencyMap) -> RgbImage {
    let [height, width] = map.size;
    if map.values.len() != height * width || map.values.is_empty() {
        return image.clone();
    }
    // Pixel centres of the image in the map: the two nearest places and the share of the second.
    let place = |pixel: u32, pixels: u32, places: usize| {
        let at = (f64::from(pixel) + 0.5) * places as f64 / f64::from(pixels) - 0.5;
        let at = at.clamp(0.0, (places - 1) as f64);
        let first = at.floor() as usize;
        (first, (first + 1).min(places - 1), at - at.floor())
    };
    let mixed = |a: f64, b: f64, share: f64| a + (b - a) * share;
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let (left, right, across) = place(x, image.width(), width);
        let (top, bottom, down) = place(y, image.height(), height);
        let value =
            |row: usize| mixed(map.values[row * width + left], map.values[row * width + right], across);
        let color = color(mixed(value(top), value(bottom), down));
        let Rgb(below) = image.get_pixel(x, y);
        Rgb(std::array::from_fn(|channel| {
            mixed(f64::from(below[channel]), color[channel], OPACITY).round().clamp(0.0, 255.0) as u8
        }))
    })
}

fn color(value: f64) -> [f64; 3] {
    let at = value.clamp(0.0, 1.0) * (COLORS.len() - 1) as f64;
    let first = (at.floor() as usize).min(COLORS.len() - 2);
    let share = at - first as f64;
    std::array::from_fn(|channel| {
        COLORS[first][channel] + (COLORS[first + 1][channel] - COLORS[first][channel]) * share
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(size: [u32; 2], saliency: Option<SaliencyMap>) -> ExplainedImage {
        let image = RgbImage::from_fn(size[0], size[1], |x, y| Rgb([x as u8, y as u8, 120]));
        ExplainedImage {
            image,
            saliency,
            caption: "green → loggerhead 97.0 %".to_owned(),
            name: "a/1.jpg".to_owned(),
        }
    }

    #[test]
    fn maps_are_interpolated_between_the_centres_of_places() {
        let map = SaliencyMap { size: [1, 2], values: vec![0.0, 1.0] };
        let black = RgbImage::new(8, 3);
        let picture = overlay(&black, &map);
        let light = |x: u32| picture.get_pixel(x, 1).0.iter().map(|value| u32::from(*value)).sum::<u32>();
        assert_eq!([light(0), light(1)], [light(0); 2], "up to the first centre");
        assert_eq!([light(6), light(7)], [light(7); 2], "from the last centre on");
        assert!(
            (2..7).all(|x| light(x) > light(x - 1) || x > 6),
            "{:?}",
            (0..8).map(light).collect::<Vec<_>>()
        );
        let expected: Vec<u8> = COLORS[8].iter().map(|value| (value * OPACITY).round() as u8).collect();
        assert_eq!(picture.get_pixel(7, 0).0.to_vec(), expected);
        let unfit = SaliencyMap { size: [2, 2], values: vec![1.0] };
        assert_eq!(overlay(&black, &unfit), black);
    }

    #[test]
    fn sheets_have_bounded_sizes_and_the_map_beside_each_image() {
        let map = SaliencyMap { size: [2, 2], values: vec![1.0, 0.0, 0.0, 0.0] };
        for size in [[64, 64], [1, 1], [300, 90], [90, 300], [512, 512]] {
            for count in [1, 5, 12] {
                let with: Vec<_> = (0..count).map(|_| shown(size, Some(map.clone()))).collect();
                let without: Vec<_> = (0..count).map(|_| shown(size, None)).collect();
                for images in [&with, &without] {
                    let picture = explained_sheet("test: mistakes", images).unwrap();
                    assert!(picture.width() <= 1400 && picture.height() <= 1200, "{size:?} {count}");
                    assert_eq!(picture, explained_sheet("test: mistakes", images).unwrap());
                }
            }
        }
        let picture = explained_sheet("", &[shown([216, 216], Some(map))]).unwrap();
        let original = shown([216, 216], None).image;
        assert_eq!(picture.get_pixel(16 + 100, 64 + 50), original.get_pixel(100, 50));
        let beside = picture.get_pixel(16 + 216 + 2, 64);
        assert!(beside[0] > 100 && beside[1] > 100, "the brightest colour in the corner: {beside:?}");
    }
}
