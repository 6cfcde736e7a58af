//! RandAugment: a few changes drawn from a fixed list, all of one strength (Cubuk et al. 2020, *RandAugment: Practical
//! Automated Data Augmentation with a Reduced Search Space*), as torchvision has it on PIL images.

use image::RgbImage;

use super::{affine, color, tones};
use crate::pipeline::RandAugment;
use crate::random::Stream;

/// The list, in torchvision's order, which the draws choose from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
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

const KINDS: [Kind; 14] = [
    Kind::Identity,
    Kind::ShearX,
    Kind::ShearY,
    Kind::TranslateX,
    Kind::TranslateY,
    Kind::Rotate,
    Kind::Brightness,
    Kind::Color,
    Kind::Contrast,
    Kind::Sharpness,
    Kind::Posterize,
    Kind::Solarize,
    Kind::AutoContrast,
    Kind::Equalize,
];

/// One change, drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    kind: Kind,
    /// The strength, from 0 to 1.
    strength: f64,
    /// Whether a change that has two directions goes the other way.
    negative: bool,
}

impl Change {
    /// Draws as many as are to be done one after the other: for each the kind, then the direction, needed or not.
    pub fn draw(settings: &RandAugment, stream: &mut Stream) -> Vec<Self> {
        let strength = f64::from(settings.magnitude) / f64::from(settings.num_magnitude_bins - 1);
        let one = |_| Self {
            kind: KINDS[stream.below(KINDS.len() as u32) as usize],
            strength,
            negative: stream.below(2) == 1,
        };
        (0..settings.num_ops).map(one).collect()
    }

    pub fn apply(self, mut image: RgbImage) -> RgbImage {
        let Self { strength, negative, .. } = self;
        let signed = |most: f64| if negative { -most * strength } else { most * strength };
        let factor = 1.0 + signed(0.9) as f32;
        // A share of the side: 150 pixels of the 331 of the images it was found with.
        let pixels = |side: u32| signed(150.0 / 331.0 * f64::from(side)) as i32;
        match self.kind {
            Kind::Identity => {}
            Kind::ShearX => image = affine::shear_x(&image, signed(0.3)),
            Kind::ShearY => image = affine::shear_y(&image, signed(0.3)),
            Kind::TranslateX => image = affine::translate(&image, pixels(image.width()), 0),
            Kind::TranslateY => image = affine::translate(&image, 0, pixels(image.height())),
            Kind::Rotate => image = affine::rotate(&image, signed(30.0)),
            Kind::Brightness => color::brightness(&mut image, factor),
            Kind::Color => color::saturation(&mut image, factor),
            Kind::Contrast => color::contrast(&mut image, factor),
            Kind::Sharpness => tones::sharpness(&mut image, factor),
            Kind::Posterize => tones::posterize(&mut image, 8 - (4.0 * strength).round_ties_even() as u32),
            Kind::Solarize => tones::solarize(&mut image, 255.0 - 255.0 * strength),
            Kind::AutoContrast => tones::autocontrast(&mut image),
            Kind::Equalize => tones::equalize(&mut image),
        }
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fixtures::Fixtures;
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
            let change = Change { kind, strength: magnitude.abs() / 30.0, negative: magnitude < 0.0 };
            assert!(change.apply(source.clone()) == fixtures.image(&name), "{name} differs");
            compared += 1;
        }
        assert_eq!(compared, 54);
    }

    #[test]
    fn every_kind_is_drawn_both_ways() {
        let settings = RandAugment { num_ops: 2, magnitude: 9, num_magnitude_bins: 31 };
        let mut stream = Stream::new(1, Purpose::RandAugment, 0, 0);
        let drawn: Vec<Change> = (0..1400).flat_map(|_| Change::draw(&settings, &mut stream)).collect();
        for kind in KINDS {
            for negative in [false, true] {
                let count = drawn.iter().filter(|change| change.kind == kind && change.negative == negative);
                assert!(count.count().abs_diff(100) < 40, "{kind:?} {negative}");
            }
        }
        assert!(drawn.iter().all(|change| change.strength == 0.3));
    }
}
