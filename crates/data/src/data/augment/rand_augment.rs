//! RandAugment: a few operations drawn from a fixed list, all with one magnitude (Cubuk et al. 2020,
//! *RandAugment: Practical Automated Data Augmentation with a Reduced Search Space*), as torchvision applies it
//! to PIL images.

use image::RgbImage;

use super::affine::Affine;
use super::photometric;
use crate::pipeline::RandAugment;
use crate::random::Stream;

/// The operations in torchvision's order, which the draws index.
#[derive(Clone, Copy, Debug, PartialEq)]
enum RandAugmentKind {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
}

const KINDS: [RandAugmentKind; 14] = [
    RandAugmentKind::Identity,
    RandAugmentKind::ShearX,
    RandAugmentKind::ShearY,
    RandAugmentKind::TranslateX,
    RandAugmentKind::TranslateY,
    RandAugmentKind::Rotate,
    RandAugmentKind::Brightness,
    RandAugmentKind::Color,
    RandAugmentKind::Contrast,
    RandAugmentKind::Sharpness,
    RandAugmentKind::Posterize,
    RandAugmentKind::Solarize,
    RandAugmentKind::AutoContrast,
    RandAugmentKind::Equalize,
];

/// One drawn operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandAugmentOp {
    kind: RandAugmentKind,
    /// The magnitude, from 0 to 1.
    strength: f64,
    /// The direction of an operation that has two.
    negative: bool,
}

impl RandAugmentOp {
    /// Draws the operations in the order in which they apply: for each, the kind and then the direction, used or not.
    pub fn draw(settings: &RandAugment, stream: &mut Stream) -> Vec<Self> {
        let strength = f64::from(settings.magnitude) / f64::from(settings.num_magnitude_bins - 1);
        let one = |_| Self {
            kind: KINDS[stream.below(KINDS.len() as u32) as usize],
            strength,
            negative: stream.below(2) == 1,
        };
        (0..settings.num_ops).map(one).collect()
    }

    /// `most` times the strength, with the sign of the drawn direction.
    fn signed(self, most: f64) -> f64 {
        if self.negative { -most * self.strength } else { most * self.strength }
    }

    /// The geometric change to an image of this size; `None` if the operation changes colours.
    pub fn affine(self, (width, height): (u32, u32)) -> Option<Affine> {
        // A fraction of the side: the operation was tuned as 150 pixels of images of 331.
        let pixels = |side: u32| self.signed(150.0 / 331.0 * f64::from(side)) as i32;
        match self.kind {
            RandAugmentKind::ShearX => Some(Affine::shear_x(self.signed(0.3))),
            RandAugmentKind::ShearY => Some(Affine::shear_y(self.signed(0.3))),
            RandAugmentKind::TranslateX => Some(Affine::translation(pixels(width), 0)),
            RandAugmentKind::TranslateY => Some(Affine::translation(0, pixels(height))),
            RandAugmentKind::Rotate => Some(Affine::rotation((width, height), self.signed(30.0))),
            _ => None,
        }
    }

    pub fn apply(self, mut image: RgbImage) -> RgbImage {
        if let Some(affine) = self.affine(image.dimensions()) {
            return affine.apply(&image);
        }
        let strength = self.strength;
        let factor = 1.0 + self.signed(0.9) as f32;
        match self.kind {
            RandAugmentKind::Identity
            | RandAugmentKind::ShearX
            | RandAugmentKind::ShearY
            | RandAugmentKind::TranslateX
            | RandAugmentKind::TranslateY
            | RandAugmentKind::Rotate => {}
            RandAugmentKind::Brightness => photometric::brightness(&mut image, factor),
            RandAugmentKind::Color => photometric::saturation(&mut image, factor),
            RandAugmentKind::Contrast => photometric::contrast(&mut image, factor),
            RandAugmentKind::Sharpness => photometric::sharpness(&mut image, factor),
            RandAugmentKind::Posterize => {
                photometric::posterize(&mut image, 8 - (4.0 * strength).round_ties_even() as u32)
            }
            RandAugmentKind::Solarize => photometric::solarize(&mut image, 255.0 - 255.0 * strength),
            RandAugmentKind::AutoContrast => photometric::autocontrast(&mut image),
            RandAugmentKind::Equalize => photometric::equalize(&mut image),
        }
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::augment::affine::AffineMove;
    use crate::data::fixtures::{
        Fixtures, assert_box_is_where_the_pixels_are, rectangle_box, with_rectangle,
    };
    use crate::data::geometry::{Geometry, GeometryChain};
    use crate::random::Purpose;

    #[test]
    fn every_change_is_bit_exact_with_torchvision_on_pil() {
        let fixtures = Fixtures::open("rand_augment.safetensors");
        let source = fixtures.image("source");
        let mut compared = 0;
        for name in fixtures.names() {
            let Some((name_of_kind, magnitude)) = name.split_once(':') else { continue };
            let magnitude: f64 = magnitude.parse().unwrap();
            let kind = *KINDS.iter().find(|kind| format!("{kind:?}") == name_of_kind).unwrap();
            let change = RandAugmentOp { kind, strength: magnitude.abs() / 30.0, negative: magnitude < 0.0 };
            assert!(change.apply(source.clone()) == fixtures.image(&name), "{name} differs");
            compared += 1;
        }
        assert_eq!(compared, 54);
    }

    #[test]
    fn every_kind_is_drawn_both_ways() {
        let settings = RandAugment { num_ops: 2, magnitude: 9, num_magnitude_bins: 31 };
        let mut stream = Stream::new(1, Purpose::RandAugment, 0, 0);
        let drawn: Vec<RandAugmentOp> =
            (0..1400).flat_map(|_| RandAugmentOp::draw(&settings, &mut stream)).collect();
        for kind in KINDS {
            for negative in [false, true] {
                let count = drawn.iter().filter(|change| change.kind == kind && change.negative == negative);
                assert!(count.count().abs_diff(100) < 40, "{kind:?} {negative}");
            }
        }
        assert!(drawn.iter().all(|change| change.strength == 0.3));
    }

    #[test]
    fn a_moved_image_and_its_boxes_stay_together() {
        let (size, rectangle) = ((90, 70), [40, 20, 65, 50]);
        let image = with_rectangle(size, rectangle);
        let mut moved = 0;
        for kind in KINDS {
            for (negative, strength) in [(false, 0.3), (true, 0.3), (true, 1.0), (false, 1.0)] {
                let change = RandAugmentOp { kind, strength, negative };
                let Some(affine) = change.affine(size) else { continue };
                let changed = change.apply(image.clone());
                let moves = AffineMove::Affine(affine).follow(GeometryChain(vec![Geometry::identity(size)]));
                let is_bright = |x: usize, y: usize| changed.get_pixel(x as u32, y as u32).0[0] > 0;
                let object = rectangle_box(size, rectangle);
                assert_box_is_where_the_pixels_are(&moves, object, is_bright, 1.5, &format!("{change:?}"));
                moved += 1;
            }
        }
        assert_eq!(moved, 20);
    }
}
