//! Corrects and counts the faults of boxes that cannot change what a label means.

use std::collections::HashSet;

use super::{FoundImage, Units};
use crate::Error;
use crate::data::BoxArea;
use crate::error::InputErrors;

/// Boxes that reach further than this beyond their image are counted; less is rounding. In fractions of a side.
const OVERHANG: f64 = 1e-3;

/// COCO's limits of small and medium objects, in pixels².
const SMALL: f64 = 32.0 * 32.0;
const MEDIUM: f64 = 96.0 * 96.0;

/// The corrections of one kind: their number, and the first image.
#[derive(Default)]
struct Corrections {
    count: usize,
    first: String,
}

impl Corrections {
    fn add(&mut self, image: &str) {
        if self.count == 0 {
            self.first = image.to_owned();
        }
        self.count += 1;
    }

    fn in_words(&self, one: &str, several: &str) -> Option<String> {
        let what = if self.count == 1 { one } else { several };
        (self.count > 0).then(|| format!("{} {what}, such as in `{}`", self.count, self.first))
    }
}

/// The corrections of a data set.
#[derive(Default)]
pub struct Cleaning {
    repeated: Corrections,
    clipped: Corrections,
    empty: Corrections,
}

impl Cleaning {
    /// Clips boxes to their image, and drops repeated and empty ones. The others keep their order.
    pub fn clean(&mut self, image: &mut FoundImage, numbered: &str, mistakes: &mut InputErrors) {
        let mut seen = HashSet::new();
        let mut kept = std::mem::take(&mut image.objects);
        // Fractions of YOLO's files were already checked; boxes in pixels may be anywhere.
        let is_in_pixels = image.units != Units::Fractions;
        kept.retain_mut(|found| {
            let object = &mut found.object;
            let BoxArea { left, top, right, bottom } = object.area;
            if is_in_pixels
                && (right <= 0.0 || bottom <= 0.0 || left >= 1.0 || top >= 1.0)
                && right > left
                && bottom > top
            {
                let error = Error::usage(format!("the box is outside of `{}`", image.path))
                    .within(image.place(numbered, found.number))
                    .hint("correct it: boxes are probably those of another image, or of another size of it");
                mistakes.add("box outside of its image", error);
                return false;
            }
            if left.min(top) < -OVERHANG || right.max(bottom) > 1.0 + OVERHANG {
                self.clipped.add(&image.path);
            }
            let clip = |place: f64| place.clamp(0.0, 1.0);
            object.area =
                BoxArea { left: clip(left), top: clip(top), right: clip(right), bottom: clip(bottom) };
            let BoxArea { left, top, right, bottom } = object.area;
            if right <= left || bottom <= top {
                self.empty.add(&image.path);
                return false;
            }
            let bits = [left, top, right, bottom].map(f64::to_bits);
            if !seen.insert((object.class, bits, object.crowd, object.difficult)) {
                self.repeated.add(&image.path);
                return false;
            }
            true
        });
        image.objects = kept;
    }

    /// The warnings.
    pub fn in_words(&self) -> Vec<String> {
        let all = [
            self.repeated
                .in_words("box is listed twice and used once", "boxes are listed again and used once"),
            self.clipped.in_words(
                "box reaches beyond its image and is clipped",
                "boxes reach beyond their images and are clipped",
            ),
            self.empty.in_words("box has no area and is left out", "boxes have no area and are left out"),
        ];
        all.into_iter().flatten().collect()
    }
}

/// The numbers of small, medium and large boxes. `sizes` are those of the images.
pub fn box_sizes(images: &[FoundImage], sizes: &[[u32; 2]]) -> [usize; 3] {
    let mut counts = [0; 3];
    for (image, &size) in images.iter().zip(sizes) {
        for found in &image.objects {
            let area = found.object.area_in(size);
            counts[usize::from(area >= SMALL) + usize::from(area >= MEDIUM)] += 1;
        }
    }
    counts
}
