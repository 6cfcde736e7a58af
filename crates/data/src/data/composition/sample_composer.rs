//! Composes training images: mosaic, then affine, then mixup of images with boxes.
//!
//! The values of an image are drawn from a stream at the address (seed, epoch, path of the sample), each at a fixed
//! position: switching one change on or off leaves the draws of the others as they were. An image that is mixed in
//! draws its own composition from a separate stream. The other images of a mosaic are drawn by their index among all
//! training images, in the order of their paths.

use std::borrow::Cow;
use std::sync::Arc;

use image::RgbImage;

use super::affine_draw::AffineDraw;
use super::mosaic::{self, MosaicPoint};
use super::warp::{Samples, WarpSample, warp};
use crate::data::LabelKind;
use crate::data::geometry::{Geometry, GeometryChain};
use crate::data::image::{Image, PixelData, Raster, Region};
use crate::data::loader::{Composed, Composer, Composition};
use crate::data::transform::{PreparedImage, Transform};
use crate::pipeline::{Affine, Augment, Mixup, Mosaic};
use crate::random::{Purpose, Stream};

/// Composes the images of a train stage.
pub struct SampleComposer {
    mosaic: Option<Mosaic>,
    affine: Affine,
    mixup: Option<Mixup>,
    /// The first epoch without mosaic and mixup.
    closing: u32,
    /// The training images.
    samples: Arc<[usize]>,
    /// The side of the network's input.
    side: u32,
    /// The value where no image is, where 255 is full range.
    pad: f64,
}

/// The composition of one image.
struct DrawnComposition {
    parts: Vec<usize>,
    layout: Layout,
    /// The composition that is mixed in, and the weight of the image itself.
    partner: Option<(Layout, f64)>,
    side: u32,
    pad: f64,
}

/// How some images are put together.
struct Layout {
    /// Of four images; `None` for one.
    mosaic: Option<MosaicPoint>,
    affine: AffineDraw,
}

impl SampleComposer {
    /// `None` if no image is composed. Mosaics and mixed compositions are only for data sets with boxes: other labels
    /// are mixed by [`BatchMixer`](crate::data::BatchMixer). `samples` are the training images and `epochs` the number of
    /// epochs of the stage.
    pub fn new(
        augment: &Augment,
        transform: &Transform,
        labels: LabelKind,
        samples: Vec<usize>,
        epochs: u32,
    ) -> Option<Self> {
        let has_boxes = labels == LabelKind::Boxes && !samples.is_empty();
        let mosaic = augment.mosaic.clone().filter(|_| has_boxes);
        let mixup = augment.mixup.clone().filter(|_| has_boxes);
        let composes = mosaic.is_some() || mixup.is_some() || augment.affine.is_some();
        composes.then(|| Self {
            mosaic,
            affine: augment.affine.clone().unwrap_or(Affine::CENTRED),
            mixup,
            closing: epochs.saturating_sub(augment.close_mosaic),
            samples: samples.into(),
            side: transform.image_size() as u32,
            pad: transform.pad(),
        })
    }

    /// A training image, uniformly drawn with one value.
    fn any(&self, stream: &mut Stream) -> usize {
        let place = (stream.uniform_f64() * self.samples.len() as f64) as usize;
        self.samples[place.min(self.samples.len() - 1)]
    }

    /// Draws the layout of a sample with its images. The number of draws is the same for all settings.
    fn layout(&self, sample: usize, closed: bool, stream: &mut Stream) -> (Layout, Vec<usize>) {
        let affine = AffineDraw::draw(&self.affine, stream);
        let (chance, point) = (stream.uniform_f64(), MosaicPoint::draw(self.side, stream));
        let shown = self.mosaic.as_ref().is_some_and(|mosaic| !closed && chance < mosaic.probability);
        match shown {
            true => {
                let others = (1..mosaic::PARTS).map(|_| self.any(stream));
                let parts = std::iter::once(sample).chain(others).collect();
                (Layout { mosaic: Some(point), affine }, parts)
            }
            false => (Layout { mosaic: None, affine }, vec![sample]),
        }
    }
}

impl Composer for SampleComposer {
    fn draw(&self, sample: usize, epoch: u32, stream: &Stream) -> Box<dyn Composition> {
        let closed = epoch >= self.closing;
        let (layout, mut parts) = self.layout(sample, closed, &mut stream.with_purpose(Purpose::Compose));
        let partner = self.mixup.as_ref().filter(|_| !closed).and_then(|mixup| {
            let mut stream = stream.with_purpose(Purpose::ComposePartner);
            if stream.uniform_f64() >= mixup.probability {
                return None;
            }
            let partner = self.any(&mut stream);
            let (layout, others) = self.layout(partner, closed, &mut stream);
            parts.extend(others);
            // Last, because the number of its draws varies.
            Some((layout, stream.beta(mixup.alpha)))
        });
        Box::new(DrawnComposition { parts, layout, partner, side: self.side, pad: self.pad })
    }
}

impl Composition for DrawnComposition {
    fn parts(&self) -> &[usize] {
        &self.parts
    }

    fn compose(&self, parts: &[Arc<PreparedImage>]) -> Composed {
        let (own, others) = parts.split_at(self.layout.parts().min(parts.len()));
        let mut moves = self.layout.moves(own, self.side);
        if let Some((layout, _)) = &self.partner {
            moves.extend(layout.moves(others, self.side));
        }
        let bytes: Option<Vec<Samples<u8>>> = parts.iter().map(|part| bytes(&part.image)).collect();
        let image = match bytes {
            Some(parts) => {
                let blend = |own: u8, other: u8, share: f64| {
                    // Truncated, as detectors are trained.
                    (f64::from(own) * share + f64::from(other) * (1.0 - share)) as u8
                };
                let pixels = self.pixels(&parts, self.pad.round() as u8, blend);
                let image = RgbImage::from_raw(self.side, self.side, pixels);
                Image::Rgb8(image.expect("the pixels are of this size"))
            }
            None => {
                let floats: Vec<Cow<[f32]>> = parts.iter().map(|part| floats(&part.image)).collect();
                let mut samples = Vec::with_capacity(parts.len());
                for (part, values) in parts.iter().zip(&floats) {
                    let (size, channels) = (part.image.dimensions(), part.image.channels());
                    samples.push(Samples { size, channels, values });
                }
                let blend =
                    |own: f32, other: f32, share: f64| own * share as f32 + other * (1.0 - share) as f32;
                let channels = samples.first().map_or(0, |part| part.channels);
                let samples = PixelData::F32(self.pixels(&samples, (self.pad / 255.0) as f32, blend));
                Image::Other(Raster { width: self.side, height: self.side, channels, samples })
            }
        };
        Composed { image, moves, cutting: 1 }
    }
}

impl DrawnComposition {
    fn pixels<T: WarpSample>(&self, parts: &[Samples<T>], pad: T, blend: impl Fn(T, T, f64) -> T) -> Vec<T> {
        let (own, others) = parts.split_at(self.layout.parts().min(parts.len()));
        let mut pixels = self.layout.pixels(own, self.side, pad);
        if let Some((layout, share)) = &self.partner {
            let others = layout.pixels(others, self.side, pad);
            pixels.iter_mut().zip(others).for_each(|(own, other)| *own = blend(*own, other, *share));
        }
        pixels
    }
}

impl Layout {
    fn parts(&self) -> usize {
        if self.mosaic.is_some() { mosaic::PARTS } else { 1 }
    }

    /// For each part: its place on the canvas, then the affine map.
    fn moves(&self, parts: &[Arc<PreparedImage>], side: u32) -> Vec<GeometryChain> {
        let chain = |(number, part): (usize, &Arc<PreparedImage>)| {
            let size = part.image.dimensions();
            let placed = match &self.mosaic {
                Some(point) => point.geometry(number, size),
                None => Geometry::identity(size),
            };
            let canvas @ (width, height) = placed.output.into();
            let map = self.affine.map((width, height), side);
            GeometryChain(vec![placed, Geometry::identity(canvas).then(map, (side, side))])
        };
        parts.iter().enumerate().map(chain).collect()
    }

    fn pixels<T: WarpSample>(&self, parts: &[Samples<T>], side: u32, pad: T) -> Vec<T> {
        let Some(&first) = parts.first() else { return Vec::new() };
        let canvas = self.mosaic.map(|point| point.pixels(parts, first.channels, pad));
        let source = match (&self.mosaic, &canvas) {
            (Some(point), Some(canvas)) => {
                Samples { size: (point.canvas, point.canvas), channels: first.channels, values: canvas }
            }
            _ => first,
        };
        warp(source, self.affine.map(source.size, side), side, pad)
    }
}

/// The bytes of an RGB8 image.
fn bytes(image: &Image) -> Option<Samples<'_, u8>> {
    match image {
        Image::Rgb8(image) => Some(Samples { size: image.dimensions(), channels: 3, values: image.as_raw() }),
        Image::Other(_) => None,
    }
}

/// The samples of an image; integers become fractions of their full range.
fn floats(image: &Image) -> Cow<'_, [f32]> {
    match image {
        Image::Rgb8(image) => image.as_raw().iter().map(|&value| f32::from(value) / 255.0).collect(),
        Image::Other(Raster { samples: PixelData::F32(samples), .. }) => Cow::Borrowed(samples),
        Image::Other(raster) => raster.floats(Region::whole((raster.width, raster.height))).into(),
    }
}
