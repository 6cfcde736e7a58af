//! The sizes of pictures: those in their annotations against those in the headers of their files.
//!
//! Boxes are those of the upright picture. Tools that ignore the EXIF orientation of photos write sizes, and boxes, of
//! the picture as it is stored.

use rayon::prelude::*;

use super::{BoxedImages, BoxedRules, FoundImage, Units};
use crate::Error;
use crate::data::BoxArea;
use crate::data::image::{DecodeOptions, EncodedImage};
use crate::data::loader::LARGEST_IMAGE;
use crate::pipeline::Broken;
use crate::regular_file;

/// The largest number of headers that are read to compare sizes. Of larger data sets, this many images at equal
/// distances are compared.
const COMPARED: usize = 20_000;
/// Most headers are in this many bytes.
const HEADER: usize = 1 << 16;

/// The sizes of a picture in its file's header.
#[derive(Clone, Copy, Debug, PartialEq)]
struct HeaderSize {
    stored: [u32; 2],
    upright: [u32; 2],
}

/// Turns boxes in pixels into fractions, and compares the sizes that annotations state. Returns the sizes of all images
/// if they are known, and warnings.
pub fn into_fractions(found: &mut BoxedImages, rules: &BoxedRules) -> (Option<Vec<[u32; 2]>>, Vec<String>) {
    let headers = headers(found);
    let mut known = Vec::with_capacity(found.images.len());
    let mut headers = headers.into_iter();
    let (mut transposed, mut turned) = (Turned::default(), Turned::default());
    let (root, outside) = (&found.root, &found.outside);
    let (unreadable, mistakes) = (&mut found.unreadable, &mut found.mistakes);
    found.images.retain_mut(|image| {
        let header = headers.next().flatten();
        let header_size = header.map(|sizes| match rules.exif_orientation {
            true => sizes.upright,
            false => sizes.stored,
        });
        let stated = match image.units {
            Units::Fractions => {
                if header.is_some_and(|sizes| sizes.stored != sizes.upright) {
                    turned.add(&image.path);
                }
                known.push(header_size);
                return true;
            }
            Units::Pixels(stated) => stated,
        };
        let is_turned = |size: [u32; 2]| {
            header.is_some_and(|sizes| {
                sizes.stored != sizes.upright && [sizes.stored, sizes.upright].contains(&size)
            })
        };
        match (stated, header_size) {
            (Some(stated), Some(is)) if stated != is && is_turned(stated) => transposed.add(&image.path),
            (Some(stated), Some(is)) if stated != is => {
                let [[width, height], [stated_width, stated_height]] = [is, stated];
                let error = Error::usage(format!(
                    "`{}` has {width} × {height} pixels, but its annotations are for {stated_width} × {stated_height}",
                    image.path
                ));
                let hint = "use the images that were annotated, or scale the boxes with them";
                mistakes.add("size that disagrees", error.within(&image.listed_in).hint(hint));
            }
            _ => {}
        }
        let Some([width, height]) = stated.or(header_size) else {
            let cause = "neither its annotations nor its header have its size";
            if rules.broken == Broken::Skip {
                unreadable.push((image.path.clone(), cause.to_owned()));
                return false;
            }
            let file = outside.file(root, &image.path);
            let error = Error::usage(format!("cannot read `{}`: {cause}", file.display()));
            let hint = "restore or remove it, or set `broken = \"skip\"` to leave out such images";
            mistakes.add("image that cannot be read", error.hint(hint));
            return false;
        };
        scale(image, [width, height]);
        known.push(Some([width, height]));
        true
    });
    found.unreadable.sort();
    let warnings = [
        transposed.in_words(match rules.exif_orientation {
            true => {
                "the annotations have the width and height of the picture as it is stored, not upright. If the boxes were \
                 drawn on such pictures, set `exif_orientation = false`"
            }
            false => {
                "the annotations have the width and height of the upright picture, but the photos are not rotated. Set \
                 `exif_orientation = true`"
            }
        }),
        turned.in_words(match rules.exif_orientation {
            true => {
                "photos are rotated upright, and boxes must be those of the upright picture. If they were drawn on photos \
                 that were not rotated, set `exif_orientation = false`"
            }
            false => "photos are not rotated, and boxes must be those of the picture as it is stored",
        }),
    ];
    (known.into_iter().collect(), warnings.into_iter().flatten().collect())
}

/// Images whose EXIF data turn them by 90°.
#[derive(Default)]
struct Turned {
    count: usize,
    first: String,
}

impl Turned {
    fn add(&mut self, path: &str) {
        if self.count == 0 {
            self.first = path.to_owned();
        }
        self.count += 1;
    }

    fn in_words(&self, meaning: &str) -> Option<String> {
        let have = if self.count == 1 { "image has" } else { "images have" };
        let Self { count, first } = self;
        (self.count > 0)
            .then(|| format!("{count} {have} an EXIF orientation on its side, such as `{first}`: {meaning}"))
    }
}

fn scale(image: &mut FoundImage, [width, height]: [u32; 2]) {
    let [width, height] = [f64::from(width), f64::from(height)];
    for found in &mut image.objects {
        let BoxArea { left, top, right, bottom } = found.object.area;
        found.object.area =
            BoxArea { left: left / width, top: top / height, right: right / width, bottom: bottom / height };
    }
}

/// The size of each image in its header. `None` if it is not among those compared, or cannot be read: damaged files are
/// reported with their causes later.
fn headers(found: &BoxedImages) -> Vec<Option<HeaderSize>> {
    let step = found.images.len().div_ceil(COMPARED).max(1);
    let header = |(index, image): (usize, &FoundImage)| {
        let is_needed = image.units == Units::Pixels(None);
        (is_needed || index.is_multiple_of(step))
            .then(|| read(&found.outside.file(&found.root, &image.path)))
            .flatten()
    };
    found.images.par_iter().enumerate().map(header).collect()
}

fn read(file: &std::path::Path) -> Option<HeaderSize> {
    use std::io::Read;
    let mut start = Vec::new();
    regular_file::open(file).ok()?.take(HEADER as u64).read_to_end(&mut start).ok()?;
    match sizes_of(&start) {
        Some(sizes) => Some(sizes),
        None if start.len() < HEADER => None,
        None => sizes_of(&regular_file::read(file, LARGEST_IMAGE).ok()?),
    }
}

fn sizes_of(bytes: &[u8]) -> Option<HeaderSize> {
    let size = |exif_orientation: bool| {
        let options = DecodeOptions { exif_orientation, ..DecodeOptions::default() };
        let (width, height) = EncodedImage::open(bytes, options).ok()?.size();
        Some([width, height])
    };
    Some(HeaderSize { stored: size(false)?, upright: size(true)? })
}
