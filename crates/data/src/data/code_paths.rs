//! The numeric code paths of images. A change that alters a result must raise the version.

use super::image::IMAGE_FORMATS;
use super::{Dataset, Split};
use crate::code_path::{CodePath, code_paths};
use crate::pipeline::{Augment, Color, ImageSettings, Sampler};

code_paths! {
    /// Decoding at every scale, with all conversions to RGB8.
    JPEG = "jpeg", 3;
    /// As `JPEG`, for PNG.
    PNG = "png", 2;
    /// As `JPEG`, for WebP.
    WEBP = "webp", 1;
    /// As `JPEG`, for BMP.
    BMP = "bmp", 1;
    /// As `JPEG`, for TIFF.
    TIFF = "tiff", 1;
    /// As `JPEG`, for GIF.
    GIF = "gif", 1;
    /// As `JPEG`, for PBM, PGM and PPM.
    PNM = "pnm", 1;
    /// Pixels that keep their depth: the declared range, resizing and changes of colours in floats.
    STORED_PIXELS = "stored_pixels", 1;
    LOG_CHROMATICITY = "log_chromaticity", 1;
    /// Crop and scaling.
    RESIZE = "resize", 1;
    NORMALIZE = "normalize", 1;
    /// The random changes and the order of their draws.
    AUGMENT = "augment", 1;
    /// The order of an epoch.
    SHUFFLE = "shuffle", 1;
    /// The split that a path belongs to.
    SPLIT = "split", 1;
    RAND_AUGMENT = "rand_augment", 1;
    RANDOM_ERASING = "random_erasing", 1;
    /// Of batches, and of composed images with boxes.
    MIXUP = "mixup", 1;
    CUTMIX = "cutmix", 1;
    /// Mosaic, affine, and mixup of images with boxes: draws, pixels and kept boxes.
    COMPOSE = "compose", 1;
    HSV = "hsv", 1;
    MULTI_SCALE = "multi_scale", 1;
    GAUSSIAN_BLUR = "gaussian_blur", 1;
    /// Greyscale, and the choice of images whose colours are jittered.
    RECOLOR = "recolor", 1;
    /// The draws of the two views of an image.
    TWO_VIEWS = "two_views", 1;
    /// The versions of images, and their order. Predictions are merged by the code of their task.
    TEST_TIME_AUGMENTATION = "test_time_augmentation", 1;
    /// The choice of training images, and the draws of an image that comes again in an epoch.
    BALANCED_SAMPLER = "balanced_sampler", 1;
    /// As `BALANCED_SAMPLER`, for batches of P classes with K images.
    PK_SAMPLER = "pk_sampler", 1;
}

/// Part of the recipe of every stage that reads images.
pub const COMMON: &[CodePath] = &[JPEG, PNG, RESIZE, NORMALIZE, AUGMENT, SHUFFLE, SPLIT];

/// The additional code paths of the images of some splits: how their pixels are read, and the formats that their names
/// say.
pub fn of_images(images: &ImageSettings, dataset: &Dataset, parts: &[Split]) -> Vec<CodePath> {
    let paths = dataset.samples.iter().filter(|sample| parts.contains(&sample.split));
    let mut formats: Vec<CodePath> = paths
        .filter_map(|sample| format_of_name(&sample.path))
        .filter(|path| !COMMON.contains(path))
        .collect();
    formats.sort();
    formats.dedup();
    [of_pixels(images), formats].concat()
}

/// The additional code paths of the settings of pixels.
pub fn of_pixels(images: &ImageSettings) -> Vec<CodePath> {
    let taken = [
        images.keeps_depth().then_some(STORED_PIXELS),
        matches!(images.color, Color::LogChromaticity(_)).then_some(LOG_CHROMATICITY),
    ];
    taken.into_iter().flatten().collect()
}

/// The code paths of the formats of other image files, by their names.
pub fn of_files(names: impl Iterator<Item = impl AsRef<str>>) -> Vec<CodePath> {
    let mut formats: Vec<CodePath> = names.filter_map(|name| format_of_name(name.as_ref())).collect();
    formats.sort();
    formats.dedup();
    formats
}

/// The code paths of formats that not every recipe has.
pub fn of_formats() -> Vec<CodePath> {
    IMAGE_FORMATS.iter().map(|format| format.code_path).filter(|path| !COMMON.contains(path)).collect()
}

fn format_of_name(path: &str) -> Option<CodePath> {
    let (_, extension) = path.rsplit_once('.')?;
    let extension = extension.to_ascii_lowercase();
    let format = IMAGE_FORMATS.iter().find(|format| format.extensions.contains(&extension.as_str()))?;
    Some(format.code_path)
}

/// The code path of a sampler, if it is not the random one.
pub fn of_sampler(sampler: &Sampler) -> Option<CodePath> {
    match sampler {
        Sampler::Random(_) => None,
        Sampler::Balanced(_) => Some(BALANCED_SAMPLER),
        Sampler::PK(_) => Some(PK_SAMPLER),
    }
}

/// The additional code paths of random changes.
pub fn of_augment(augment: &Augment) -> Vec<CodePath> {
    let Augment {
        random_resized_crop: _,
        horizontal_flip: _,
        vertical_flip: _,
        rotation: _,
        color_jitter,
        grayscale,
        gaussian_blur,
        rand_augment,
        random_erasing,
        mixup,
        cutmix,
        mosaic,
        close_mosaic: _,
        affine,
        hsv,
        multi_scale,
    } = augment;
    let taken = [
        rand_augment.as_ref().map(|_| RAND_AUGMENT),
        random_erasing.as_ref().map(|_| RANDOM_ERASING),
        mixup.as_ref().map(|_| MIXUP),
        cutmix.as_ref().map(|_| CUTMIX),
        (mosaic.is_some() || affine.is_some()).then_some(COMPOSE),
        hsv.as_ref().map(|_| HSV),
        (*multi_scale > 0.0).then_some(MULTI_SCALE),
        gaussian_blur.as_ref().map(|_| GAUSSIAN_BLUR),
        (*grayscale > 0.0 || color_jitter.as_ref().is_some_and(|jitter| jitter.probability < 1.0))
            .then_some(RECOLOR),
    ];
    taken.into_iter().flatten().collect()
}
