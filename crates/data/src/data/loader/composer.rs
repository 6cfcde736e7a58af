//! Images composed of several samples, such as a mosaic.

use std::sync::Arc;

use crate::data::image::Image;
use crate::data::transform::PreparedImage;
use crate::data::{Dataset, GeometryChain, LabelledBox};
use crate::random::Stream;

/// Chooses the samples of an image and combines them. The random changes follow.
pub trait Composer: Send + Sync {
    /// The samples to combine in place of a sample. `draw` is a stream of that sample.
    fn parts(&self, sample: usize, draw: &mut Stream) -> Vec<usize>;

    /// Combines several parts into one image. The loader does not call this if the sample is the only part. Without a
    /// random crop, the image has the size of the network's input.
    fn compose(&self, parts: &[Arc<PreparedImage>], draw: &mut Stream) -> Composed;
}

/// An image of several parts.
pub struct Composed {
    pub image: Image,
    /// For each part, the geometric changes from its prepared image to this one.
    pub moves: Vec<GeometryChain>,
}

/// A sample that is part of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct ComposedPart {
    pub sample: usize,
    /// The geometric changes from its upright picture to the image.
    pub moves: GeometryChain,
}

impl ComposedPart {
    /// The boxes of the sample in the image, as for [`GeometryChain::boxes`].
    pub fn boxes(&self, dataset: &Dataset, least_visible: f64) -> Vec<LabelledBox> {
        self.moves.boxes(dataset.samples[self.sample].label.boxes(), least_visible)
    }
}
