//! An image with its boxes.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use resvg::tiny_skia::Pixmap;

use super::ImageBox;
use super::layer::{View, draw};
use crate::error::Result;
use crate::report::png::pixels;
use crate::report::svg::Svg;

/// The bounds of the longer side of a picture. A smaller image is enlarged by a whole factor, so that labels do not
/// cover it; a larger one is shrunk.
const LONGER_SIDE: [u32; 2] = [480, 1920];

/// Draws boxes with the names of their `classes` and their scores onto an image. The picture's longer side is at most
/// 1,920 pixels. The colour of a class depends on its index alone.
///
/// # Errors
/// The layer of boxes cannot be rendered.
pub fn picture_of_boxes(image: &RgbImage, boxes: &[ImageBox], classes: &[String]) -> Result<RgbImage> {
    let longer = image.width().max(image.height()).max(1);
    let scale = match longer {
        small if small < LONGER_SIDE[0] => f64::from(LONGER_SIDE[0].div_ceil(small)),
        large => f64::from(LONGER_SIDE[1].min(large)) / f64::from(large),
    };
    let mut picture = scaled(image, scale);
    let size = [picture.width(), picture.height()].map(f64::from);
    let mut svg = Svg::transparent("boxes", size[0], size[1]);
    draw(&mut svg, View { at: [0.0, 0.0], size, scale }, boxes, classes);
    lay_over(&mut picture, &pixels(&svg, 1.0)?);
    Ok(picture)
}

/// The image in another size: pixels are repeated if it grows by a whole factor, and else interpolated or averaged.
pub fn scaled(image: &RgbImage, scale: f64) -> RgbImage {
    let [width, height] =
        [image.width(), image.height()].map(|side| (f64::from(side) * scale).round().max(1.0) as u32);
    if [width, height] == [image.width(), image.height()] {
        return image.clone();
    }
    let is_whole = scale >= 1.0 && scale.fract() == 0.0;
    imageops::resize(image, width, height, if is_whole { FilterType::Nearest } else { FilterType::Triangle })
}

/// Lays a rendered drawing over a picture of the same size.
pub fn lay_over(picture: &mut RgbImage, layer: &Pixmap) {
    for (Rgb(below), above) in picture.pixels_mut().zip(layer.pixels()) {
        let through = 255 - u32::from(above.alpha());
        for (below, above) in below.iter_mut().zip([above.red(), above.green(), above.blue()]) {
            let sum = u32::from(above) + (u32::from(*below) * through + 127) / 255;
            *below = sum.min(255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::jpeg;
    use super::*;

    fn photo(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, 90]))
    }

    fn boxes(width: f32, height: f32) -> Vec<ImageBox> {
        let shown = |class: usize, [left, top, right, bottom]: [f32; 4]| ImageBox {
            class,
            score: Some(0.95 - class as f32 * 0.06),
            left: left * width,
            top: top * height,
            right: right * width,
            bottom: bottom * height,
        };
        let mut all = vec![
            shown(0, [0.0, 0.0, 0.3, 0.4]),
            shown(1, [0.25, 0.1, 0.6, 0.5]),
            shown(2, [0.9, 0.0, 1.0, 0.1]),
            shown(3, [0.7, 0.75, 1.2, 1.4]),
            shown(4, [0.1, 0.55, 0.35, 0.95]),
            shown(5, [0.12, 0.57, 0.3, 0.9]),
        ];
        all.extend((6..14).map(|class| {
            let left = 0.4 + 0.07 * (class - 6) as f32;
            shown(class, [left, 0.6, left + 0.05, 0.7])
        }));
        all
    }

    fn classes() -> Vec<String> {
        let names = ["car", "cyclist with a trailer", "tram", "truck", "pedestrian", "κόσμος"];
        names.iter().map(|name| (*name).to_owned()).chain((6..14).map(|class| format!("c{class}"))).collect()
    }

    #[test]
    fn pictures_have_bounded_sizes_and_equal_bytes_every_time() {
        for (size, expected) in [
            ([1, 1], [480, 480]),
            ([160, 120], [480, 360]),
            ([640, 480], [640, 480]),
            ([3000, 40], [1920, 26]),
        ] {
            let image = photo(size[0], size[1]);
            let boxes = boxes(size[0] as f32, size[1] as f32);
            let draw = || picture_of_boxes(&image, &boxes, &classes()).unwrap();
            let picture = draw();
            assert_eq!([picture.width(), picture.height()], expected);
            assert_eq!(jpeg(&picture).unwrap(), jpeg(&draw()).unwrap());
        }
        assert!(picture_of_boxes(&RgbImage::new(0, 0), &[], &[]).is_ok());
    }

    #[test]
    fn pixels_outside_boxes_and_labels_do_not_change() {
        let image = photo(640, 480);
        let picture = picture_of_boxes(&image, &boxes(640.0, 480.0), &classes()).unwrap();
        assert_eq!(picture.get_pixel(100, 120), image.get_pixel(100, 120));
        // The colour of class 0, on the left side of its box.
        assert_eq!(picture.get_pixel(0, 100), &Rgb([0xe6, 0x9f, 0x00]));
        assert_eq!(picture_of_boxes(&image, &[], &[]).unwrap(), image);
    }
}
