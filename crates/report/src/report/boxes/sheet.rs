//! A sheet: a grid of images with their boxes or captions, such as a batch of predictions.

use image::{Rgb, RgbImage, imageops};

use super::ImageBox;
use super::layer::{View, draw};
use super::picture::{lay_over, scaled};
use crate::error::Result;
use crate::report::png::pixels;
use crate::report::svg::{Anchor, Font, Paint, Svg};
use crate::report::text::fit;

/// A sheet shows at most this many images.
pub const MOST_IN_SHEET: usize = 100;

/// The width of a sheet, and the bounds of its cells.
const WIDTH: f64 = 1680.0;
const CELLS: [f64; 2] = [120.0, 420.0];
const MARGIN: f64 = 16.0;
const GAP: f64 = 10.0;
const LINE: f64 = 17.0;
/// The colour of a cell around its image: that of [`Paint::Grid`].
const UNUSED: Rgb<u8> = Rgb([0xe4, 0xe8, 0xec]);

/// An image of a sheet.
pub struct SheetImage<'a> {
    pub image: &'a RgbImage,
    /// Below the image; longer names are shortened in the middle.
    pub name: &'a str,
    /// Below the name, such as the class.
    pub caption: Option<&'a str>,
    /// In pixels of `image`.
    pub boxes: &'a [ImageBox],
}

struct Grid {
    columns: usize,
    cell: f64,
    /// The height of the text below a cell.
    text: f64,
    top: f64,
}

/// Draws the first [`MOST_IN_SHEET`] images in equal cells, row by row, below a title that may be empty.
///
/// # Errors
/// The layer of boxes and text cannot be rendered.
pub fn sheet(title: &str, images: &[SheetImage], classes: &[String]) -> Result<RgbImage> {
    let images = &images[..images.len().min(MOST_IN_SHEET)];
    let grid = Grid::of(title, images);
    let [width, height] = grid.size(images.len());
    let mut picture = RgbImage::from_pixel(width as u32, height as u32, Rgb([255; 3]));
    let mut svg = Svg::transparent(title, width, height);
    let font = Font::new(17.0, Paint::Ink, Anchor::Start).bold();
    svg.text([MARGIN, 32.0], &fit(title, font.size, (width - 2.0 * MARGIN) / 1.08), font);
    for (place, shown) in images.iter().enumerate() {
        let [x, y] = grid.corner(place);
        let area = RgbImage::from_pixel(grid.cell as u32, grid.cell as u32, UNUSED);
        imageops::replace(&mut picture, &area, x as i64, y as i64);
        let longer = f64::from(shown.image.width().max(shown.image.height()));
        if longer > 0.0 {
            let scale = grid.cell / longer;
            let small = scaled(shown.image, scale);
            let size = [small.width(), small.height()].map(f64::from);
            let at = [x + ((grid.cell - size[0]) / 2.0).floor(), y + ((grid.cell - size[1]) / 2.0).floor()];
            imageops::replace(&mut picture, &small, at[0] as i64, at[1] as i64);
            draw(&mut svg, View { at, size, scale }, shown.boxes, classes);
        }
        let font = Font::new(12.0, Paint::Muted, Anchor::Start);
        let below = y + grid.cell + 14.0;
        svg.text([x, below], &fit(shown.name, font.size, grid.cell), font);
        if let Some(caption) = shown.caption {
            let font = Font { paint: Paint::Ink, size: 13.0, ..font }.bold();
            svg.text([x, below + LINE], &fit(caption, font.size, grid.cell / 1.08), font);
        }
    }
    lay_over(&mut picture, &pixels(&svg, 1.0)?);
    Ok(picture)
}

impl Grid {
    /// As many columns as rows, or one more.
    fn of(title: &str, images: &[SheetImage]) -> Self {
        let columns = (1..).find(|columns| columns * columns >= images.len()).unwrap_or(1);
        let room = (WIDTH - 2.0 * MARGIN + GAP) / columns as f64 - GAP;
        let has_captions = images.iter().any(|image| image.caption.is_some());
        Self {
            columns,
            cell: room.floor().clamp(CELLS[0], CELLS[1]),
            text: if has_captions { 2.0 * LINE + 4.0 } else { LINE + 2.0 },
            top: if title.is_empty() { MARGIN } else { 48.0 },
        }
    }

    fn size(&self, images: usize) -> [f64; 2] {
        let (columns, rows) = (self.columns as f64, images.div_ceil(self.columns) as f64);
        let width = 2.0 * MARGIN - GAP + columns * (self.cell + GAP);
        [width, self.top + rows * (self.cell + self.text + GAP) + MARGIN - GAP]
    }

    fn corner(&self, place: usize) -> [f64; 2] {
        let (row, column) = ((place / self.columns) as f64, (place % self.columns) as f64);
        [MARGIN + column * (self.cell + GAP), self.top + row * (self.cell + self.text + GAP)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheets_of_any_number_have_bounded_sizes() {
        let sizes = [[160, 160], [64, 200], [300, 90], [1, 1], [700, 500]];
        let photo = |place: usize| {
            let [width, height] = sizes[place % sizes.len()];
            RgbImage::from_fn(width, height, |x, y| {
                Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, (place * 11) as u8])
            })
        };
        let classes = ["car".to_owned(), "cyclist with a trailer".to_owned()];
        for count in [0, 1, 4, 16, 250] {
            let photos: Vec<RgbImage> = (0..count).map(photo).collect();
            let boxes: Vec<[ImageBox; 2]> = photos
                .iter()
                .map(|photo| {
                    let [width, height] = [photo.width(), photo.height()].map(|side| side as f32);
                    [0, 1].map(|class| ImageBox {
                        class,
                        score: Some(0.75),
                        left: width * 0.2 * class as f32,
                        top: height * 0.3,
                        right: width * 0.7,
                        bottom: height * (0.6 + 0.4 * class as f32),
                    })
                })
                .collect();
            let images: Vec<SheetImage> = photos
                .iter()
                .zip(&boxes)
                .map(|(image, boxes)| SheetImage {
                    image,
                    name: "a folder of a data set/with long names/of images/0001.jpg",
                    caption: (count == 16).then_some("loggerhead 97 %"),
                    boxes: if count == 16 { &[] } else { boxes },
                })
                .collect();
            let draw = || sheet("validation, predicted", &images, &classes).unwrap();
            let picture = draw();
            assert!(picture.width() <= WIDTH as u32 && picture.height() <= 2_000, "{count}");
            assert_eq!(picture, draw());
        }
    }
}
