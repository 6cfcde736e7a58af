//! A grid of images with the outlines of their boxes.

use std::io::Cursor;
use std::path::Path;

use defrost::data::LabelledBox;
use defrost::stage::PreviewImage;
use defrost::{Error, Result};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{ImageFormat, Rgb, RgbImage};

/// The side of a cell, and the space between cells, in pixels.
const CELLS: [u32; 2] = [96, 480];
const WIDTH: u32 = 1680;
const GAP: u32 = 8;
/// Classes take these colours in turn: Okabe and Ito's, for all kinds of colour vision.
const COLOURS: [[u8; 3]; 7] = [
    [230, 159, 0],
    [86, 180, 233],
    [0, 158, 115],
    [240, 228, 66],
    [0, 114, 178],
    [213, 94, 0],
    [204, 121, 167],
];

/// The format of a file of this name.
///
/// # Errors
/// It is none that is written.
pub fn format_of(path: &Path) -> Result<ImageFormat> {
    match ImageFormat::from_path(path) {
        Ok(format) if format.writing_enabled() => Ok(format),
        _ => Err(Error::usage(format!("`--out` is `{}`, which is no picture file", path.display()))
            .hint("use a name such as `sheet.jpg` or `sheet.png`")),
    }
}

/// The bytes of a picture with all images in equal cells, row by row.
///
/// # Errors
/// The picture cannot be encoded.
pub fn sheet(images: &[PreviewImage], format: ImageFormat) -> Result<Vec<u8>> {
    let columns = (1u32..).find(|columns| (columns * columns) as usize >= images.len()).unwrap_or(1);
    let rows = (images.len() as u32).div_ceil(columns);
    let cell = (WIDTH / columns).saturating_sub(GAP).clamp(CELLS[0], CELLS[1]);
    let side = |cells: u32| GAP + cells * (cell + GAP);
    let mut picture = RgbImage::from_pixel(side(columns), side(rows), Rgb([255; 3]));
    for (place, shown) in images.iter().enumerate() {
        let [width, height] = shown.size;
        let image = RgbImage::from_raw(width, height, shown.pixels.clone());
        let image = image.ok_or_else(|| Error::bug("a preview whose pixels do not have its size"))?;
        let mut image = imageops::resize(&image, cell, cell, FilterType::Triangle);
        for object in shown.boxes.iter().flatten() {
            outline(&mut image, object);
        }
        let (column, row) = (place as u32 % columns, place as u32 / columns);
        imageops::replace(&mut picture, &image, side(column).into(), side(row).into());
    }
    let mut bytes = Vec::new();
    let written = match format {
        ImageFormat::Jpeg => JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(&picture),
        format => picture.write_to(&mut Cursor::new(&mut bytes), format),
    };
    written.map_err(|error| Error::failed(format!("cannot encode the sheet: {error}")))?;
    Ok(bytes)
}

/// Draws the edges of a box, two pixels wide.
fn outline(image: &mut RgbImage, object: &LabelledBox) {
    let colour = Rgb(COLOURS[object.class as usize % COLOURS.len()]);
    let (width, height) = image.dimensions();
    let place = |share: f64, length: u32| (share.clamp(0.0, 1.0) * f64::from(length)) as u32;
    let area = object.area;
    let (left, right) = (place(area.left, width), place(area.right, width).max(1) - 1);
    let (top, bottom) = (place(area.top, height), place(area.bottom, height).max(1) - 1);
    for y in top..=bottom.min(height - 1) {
        for x in left..=right.min(width - 1) {
            let edge = (x - left).min(right.saturating_sub(x)).min((y - top).min(bottom.saturating_sub(y)));
            if edge < 2 {
                image.put_pixel(x, y, colour);
            }
        }
    }
}
