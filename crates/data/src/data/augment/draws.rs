//! The random changes to a training image: torchvision's transforms with our own random numbers.
//!
//! All random values are drawn before any change is applied, each at a fixed position in the sample's stream.
//! Switching one change on or off therefore leaves the draws of all others as they were. The order is crop, flips,
//! rotation, HSV, color jitter, greyscale, blur, RandAugment; erasing follows normalisation. HSV, greyscale with the
//! choice of jitter, blur, RandAugment and erasing each draw from a separate stream. Mosaic and affine come before all of these: the module `composition`.

use image::RgbImage;

use super::affine::{Affine, AffineMove};
use super::gaussian_blur::BlurDraw;
use super::hsv::HsvChange;
use super::rand_augment::RandAugmentOp;
use super::random_erasing::ErasedRectangle;
use super::{photometric, photometric_float};
use crate::data::Region;
use crate::data::geometry::{Geometry, GeometryChain};
use crate::data::image::Raster;
use crate::pipeline::{Augment, ColorJitter, RandomResizedCrop};
use crate::random::{Purpose, Stream};

/// The number of random crops to try before the central crop is used, as in torchvision.
const CROP_TRIES: usize = 10;

/// All random values of one image in one epoch, except those of the crop.
#[derive(Debug, PartialEq)]
pub struct AugmentDraws {
    flip_horizontal: bool,
    flip_vertical: bool,
    /// Degrees, counter-clockwise.
    angle: f64,
    brightness: f64,
    contrast: f64,
    saturation: f64,
    hue: f64,
    /// The order of brightness, contrast, saturation, hue.
    order: Vec<usize>,
    hsv: Option<HsvChange>,
    /// Whether brightness, contrast, saturation and hue change.
    jitters: bool,
    grey: bool,
    blur: Option<BlurDraw>,
    changes: Vec<RandAugmentOp>,
    erasure: Option<ErasedRectangle>,
}

impl AugmentDraws {
    /// Draws the same number of values in the same order for all settings. The crop draws next from the
    /// stream. `side` is the side of the square in pixels.
    pub fn new(augment: &Augment, side: usize, stream: &mut Stream) -> Self {
        let changes = augment.rand_augment.as_ref().map_or_else(Vec::new, |settings| {
            RandAugmentOp::draw(settings, &mut stream.with_purpose(Purpose::RandAugment))
        });
        let hsv = augment
            .hsv
            .as_ref()
            .map(|settings| HsvChange::draw(settings, &mut stream.with_purpose(Purpose::Hsv)));
        let erasing = augment.random_erasing.as_ref();
        let erasure = erasing
            .and_then(|settings| ErasedRectangle::draw(settings, side, stream.with_purpose(Purpose::Erase)));
        let blur = augment
            .gaussian_blur
            .as_ref()
            .and_then(|settings| BlurDraw::draw(settings, &mut stream.with_purpose(Purpose::GaussianBlur)));
        let still =
            ColorJitter { brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0, probability: 1.0 };
        let jitter = augment.color_jitter.as_ref().unwrap_or(&still);
        let mut recolor = stream.with_purpose(Purpose::Recolor);
        let jitters = recolor.uniform_f64() < jitter.probability;
        let grey = recolor.uniform_f64() < augment.grayscale;
        let mut between = |low: f64, high: f64| low + (high - low) * stream.uniform_f64();
        let mut factor = |most: f64| between((1.0 - most).max(0.0), 1.0 + most);
        let (brightness, contrast, saturation) =
            (factor(jitter.brightness), factor(jitter.contrast), factor(jitter.saturation));
        Self {
            brightness,
            contrast,
            saturation,
            hue: between(-jitter.hue, jitter.hue),
            angle: between(-augment.rotation, augment.rotation),
            flip_horizontal: between(0.0, 1.0) < augment.horizontal_flip,
            flip_vertical: between(0.0, 1.0) < augment.vertical_flip,
            order: stream.permutation(4),
            hsv,
            jitters,
            grey,
            blur,
            changes,
            erasure,
        }
    }

    /// Whether flips are the only changes to the pixels of a cropped image.
    pub fn only_flip(&self, augment: &Augment) -> bool {
        augment.rotation == 0.0
            && self.hsv.is_none()
            && augment.color_jitter.is_none()
            && augment.rand_augment.is_none()
            && !self.grey
            && self.blur.is_none()
    }

    /// Whether the image is flipped horizontally and vertically.
    pub fn flips(&self) -> (bool, bool) {
        (self.flip_horizontal, self.flip_vertical)
    }

    /// Erases a rectangle of normalised values of shape [side, side, channels].
    pub fn erase(&self, [side, channels]: [usize; 2], numbers: &mut [f32]) {
        if let Some(erasure) = &self.erasure {
            erasure.clone().apply([side, channels], numbers);
        }
    }

    /// Applies flips, rotation, HSV, color jitter, greyscale and blur to floats. `background` is the value of pixels from outside the image.
    pub fn apply_to_raster(&self, augment: &Augment, raster: Raster, background: f32) -> Raster {
        let moves = self.moves(augment, (raster.width, raster.height));
        let mut raster = moves.fold(raster, |raster, change| change.apply_to_raster(&raster, background));
        if let Some(hsv) = &self.hsv {
            raster = hsv.apply_to_raster(raster);
        }
        if let Some(jitter) = augment.color_jitter.as_ref().filter(|_| self.jitters) {
            for change in &self.order {
                match change {
                    0 if jitter.brightness > 0.0 => {
                        photometric_float::brightness(&mut raster, self.brightness as f32)
                    }
                    1 if jitter.contrast > 0.0 => {
                        photometric_float::contrast(&mut raster, self.contrast as f32)
                    }
                    2 if jitter.saturation > 0.0 => {
                        photometric_float::saturation(&mut raster, self.saturation as f32)
                    }
                    3 if jitter.hue > 0.0 => photometric_float::hue(&mut raster, self.hue as f32),
                    _ => {}
                }
            }
        }
        if self.grey {
            raster = photometric_float::grayscale(raster);
        }
        match &self.blur {
            Some(blur) => blur.apply_to_raster(raster),
            None => raster,
        }
    }

    /// Applies flips, rotation, HSV, color jitter, greyscale, blur and RandAugment, in this order.
    pub fn apply(&self, augment: &Augment, image: RgbImage) -> RgbImage {
        let moves = self.moves(augment, image.dimensions());
        let mut image = moves.fold(image, |image, change| change.apply(image));
        if let Some(hsv) = &self.hsv {
            hsv.apply(&mut image);
        }
        if let Some(jitter) = augment.color_jitter.as_ref().filter(|_| self.jitters) {
            for change in &self.order {
                match change {
                    0 if jitter.brightness > 0.0 => {
                        photometric::brightness(&mut image, self.brightness as f32)
                    }
                    1 if jitter.contrast > 0.0 => photometric::contrast(&mut image, self.contrast as f32),
                    2 if jitter.saturation > 0.0 => {
                        photometric::saturation(&mut image, self.saturation as f32)
                    }
                    3 if jitter.hue > 0.0 => photometric::hue(&mut image, self.hue),
                    _ => {}
                }
            }
        }
        if self.grey {
            photometric::grayscale(&mut image);
        }
        if let Some(blur) = &self.blur {
            image = blur.apply(image);
        }
        self.changes.iter().fold(image, |image, change| change.apply(image))
    }

    /// `before`, followed by the geometric changes of [`AugmentDraws::apply`].
    pub fn after(&self, augment: &Augment, before: Geometry) -> GeometryChain {
        let [width, height] = before.output;
        let drawn =
            self.changes.iter().filter_map(|change| change.affine((width, height))).map(AffineMove::Affine);
        let moves = self.moves(augment, (width, height)).chain(drawn);
        moves.fold(GeometryChain(vec![before]), |moves, change| change.follow(moves))
    }

    /// The flips and the rotation for an image of this size.
    fn moves(&self, augment: &Augment, size: (u32, u32)) -> impl Iterator<Item = AffineMove> + use<> {
        let rotation = augment.rotation > 0.0;
        let moves = [
            self.flip_horizontal.then_some(AffineMove::FlipHorizontal),
            self.flip_vertical.then_some(AffineMove::FlipVertical),
            rotation.then(|| AffineMove::Affine(Affine::rotation(size, self.angle))),
        ];
        moves.into_iter().flatten()
    }
}

/// The region of a random resized crop: torchvision's `RandomResizedCrop.get_params`.
///
/// The area is uniform and the aspect ratio is log-uniform (Szegedy et al. 2015, *Going Deeper with Convolutions*,
/// §6). If ten tries do not fit, the result is the largest central region with an allowed ratio.
pub fn random_region(crop: &RandomResizedCrop, width: u32, height: u32, stream: &mut Stream) -> Region {
    let area = f64::from(width) * f64::from(height);
    let (narrow, wide) = (libm::log(crop.ratio[0]), libm::log(crop.ratio[1]));
    for _ in 0..CROP_TRIES {
        let target = area * (crop.scale[0] + (crop.scale[1] - crop.scale[0]) * stream.uniform_f64());
        let ratio = libm::exp(narrow + (wide - narrow) * stream.uniform_f64());
        let crop_width = (target * ratio).sqrt().round_ties_even() as u32;
        let crop_height = (target / ratio).sqrt().round_ties_even() as u32;
        if (1..=width).contains(&crop_width) && (1..=height).contains(&crop_height) {
            let top = stream.below(height - crop_height + 1);
            let left = stream.below(width - crop_width + 1);
            return Region { left, top, width: crop_width, height: crop_height };
        }
    }
    central_region(crop.ratio, width, height)
}

fn central_region([narrowest, widest]: [f64; 2], width: u32, height: u32) -> Region {
    let ratio = f64::from(width) / f64::from(height);
    let round = |length: f64, most: u32| (length.round_ties_even() as u32).clamp(1, most);
    let (crop_width, crop_height) = if ratio < narrowest {
        (width, round(f64::from(width) / narrowest, height))
    } else if ratio > widest {
        (round(f64::from(height) * widest, width), height)
    } else {
        (width, height)
    };
    let (left, top) = ((width - crop_width) / 2, (height - crop_height) / 2);
    Region { left, top, width: crop_width, height: crop_height }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fixtures::Fixtures;
    use crate::data::resize;
    use crate::random::Purpose;

    fn stream(sample: u64) -> Stream {
        Stream::new(7, Purpose::Augment, 3, sample)
    }

    #[test]
    fn rotations_and_crops_are_bit_exact_with_torchvision_on_pil() {
        let fixtures = Fixtures::open("transformed.safetensors");
        let source = fixtures.image("source");
        let mut compared = 0;
        for name in fixtures.names() {
            let parts: Vec<&str> = name.split(':').collect();
            let actual = match parts.as_slice() {
                ["rotate", angle] => {
                    Affine::rotation(source.dimensions(), angle.parse().unwrap()).apply(&source)
                }
                ["crop", numbers @ ..] => {
                    let numbers: Vec<u32> = numbers.iter().map(|number| number.parse().unwrap()).collect();
                    let [left, top, width, height] = numbers[..] else { panic!("four numbers") };
                    resize(&source, Region { left, top, width, height }, 16, 16)
                }
                _ => continue,
            };
            assert!(actual == fixtures.image(&name), "{name} differs");
            compared += 1;
        }
        assert_eq!(compared, 11);
    }

    #[test]
    fn flips_are_torchvisions() {
        let fixtures = Fixtures::open("transformed.safetensors");
        let flipped = |horizontal_flip, vertical_flip| {
            let augment = Augment { horizontal_flip, vertical_flip, ..Augment::default() };
            AugmentDraws::new(&augment, 16, &mut stream(0)).apply(&augment, fixtures.image("source"))
        };
        assert_eq!(flipped(1.0, 0.0), fixtures.image("flip_horizontal"));
        assert_eq!(flipped(0.0, 1.0), fixtures.image("flip_vertical"));
        assert_eq!(flipped(0.0, 0.0), fixtures.image("source"));
    }

    #[test]
    fn switching_one_change_on_leaves_the_others_as_they_were() {
        let jitter =
            ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1, probability: 1.0 };
        let one = Augment { rotation: 10.0, ..Augment::default() };
        let more = toml::from_str("rand_augment = {}\nrandom_erasing = {}").unwrap();
        let all = Augment { horizontal_flip: 0.5, rotation: 10.0, color_jitter: Some(jitter), ..more };
        let (mut after_one, mut after_all) = (stream(1), stream(1));
        let (one, all) =
            (AugmentDraws::new(&one, 16, &mut after_one), AugmentDraws::new(&all, 16, &mut after_all));
        assert_eq!((one.angle, one.order), (all.angle, all.order));
        assert_eq!(after_one.next_u32(), after_all.next_u32(), "the crop draws from the same place");
    }

    #[test]
    fn draws_are_spread_over_their_ranges() {
        let jitter =
            ColorJitter { brightness: 0.4, contrast: 2.0, saturation: 0.0, hue: 0.1, probability: 1.0 };
        let augment = Augment {
            horizontal_flip: 0.25,
            rotation: 30.0,
            color_jitter: Some(jitter),
            ..Augment::default()
        };
        let draws: Vec<AugmentDraws> =
            (0..2000).map(|sample| AugmentDraws::new(&augment, 16, &mut stream(sample))).collect();
        let range = |value: fn(&AugmentDraws) -> f64| {
            let values = draws.iter().map(value);
            values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)))
        };
        let near = |(low, high): (f64, f64), (least, most): (f64, f64)| {
            let slack = (most - least) * 0.01;
            low >= least && low <= least + slack && high <= most && high >= most - slack
        };
        assert!(near(range(|draws| draws.angle), (-30.0, 30.0)));
        assert!(near(range(|draws| draws.brightness), (0.6, 1.4)));
        assert!(near(range(|draws| draws.contrast), (0.0, 3.0)));
        assert!(near(range(|draws| draws.hue), (-0.1, 0.1)));
        assert_eq!(range(|draws| draws.saturation), (1.0, 1.0));
        let flipped = draws.iter().filter(|draws| draws.flip_horizontal).count();
        assert!(flipped.abs_diff(500) < 70, "{flipped} of 2000");
    }

    #[test]
    fn crops_keep_to_scale_and_ratio_and_fall_back_to_the_centre() {
        let crop = RandomResizedCrop { scale: [0.08, 1.0], ratio: [0.75, 4.0 / 3.0] };
        for sample in 0..500 {
            let region = random_region(&crop, 200, 150, &mut stream(sample));
            let (width, height) = (f64::from(region.width), f64::from(region.height));
            let area = width * height / 30_000.0;
            assert!((0.07..=1.01).contains(&area) && (0.73..=1.37).contains(&(width / height)), "{region:?}");
            assert!(region.left + region.width <= 200 && region.top + region.height <= 150);
        }
        let whole = RandomResizedCrop { scale: [1.0, 1.0], ratio: [0.75, 4.0 / 3.0] };
        let region = random_region(&whole, 400, 100, &mut stream(0));
        assert_eq!(region, Region { left: 133, top: 0, width: 133, height: 100 });
        let region = random_region(&whole, 90, 600, &mut stream(0));
        assert_eq!(region, Region { left: 0, top: 240, width: 90, height: 120 });
    }
}
