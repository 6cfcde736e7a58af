//! Images of a batch that are made of several samples, such as a mosaic.

use std::sync::Arc;

use crate::data::image::Image;
use crate::data::transform::PreparedImage;
use crate::data::{Dataset, GeometryChain, LabelledBox};
use crate::random::Stream;

/// Decides which samples an image of a batch shows, and puts them together. The random changes follow.
pub trait Composer: Send + Sync {
    /// The samples that fill the place of a sample. `draw` is a stream of that sample's own.
    fn parts(&self, sample: usize, draw: &mut Stream) -> Vec<usize>;

    /// One image of several parts; the loader does not call this where the sample alone is shown. Without a random crop,
    /// the image has the size of the network's input.
    fn compose(&self, parts: &[Arc<PreparedImage>], draw: &mut Stream) -> Composed;
}

/// An image of several parts.
pub struct Composed {
    pub image: Image,
    /// Of each part, the moves from its prepared image to this one.
    pub moves: Vec<GeometryChain>,
}

/// A sample that an image shows.
#[derive(Clone, Debug, PartialEq)]
pub struct ComposedPart {
    pub sample: usize,
    /// From its upright picture to the image.
    pub moves: GeometryChain,
}

impl ComposedPart {
    /// The boxes of the sample in the image, as of [`GeometryChain::boxes`].
    pub fn boxes(&self, dataset: &Dataset, least_visible: f64) -> Vec<LabelledBox> {
        self.moves.boxes(dataset.samples[self.sample].label.boxes(), least_visible)
    }
}
