//! Images composed of several samples, such as a mosaic.

use std::sync::Arc;

use crate::data::image::Image;
use crate::data::transform::PreparedImage;
use crate::data::{BoxFilter, Dataset, GeometryChain, LabelledBox};
use crate::random::Stream;

/// Decides how the image of a sample is composed in an epoch. The random changes of the transform follow.
pub trait Composer: Send + Sync {
    /// Draws a composition. `stream` is the sample's in this epoch; draws are made from streams of other purposes at
    /// the same address.
    fn draw(&self, sample: usize, epoch: u32, stream: &Stream) -> Box<dyn Composition>;
}

/// The composition of one image.
pub trait Composition {
    /// The samples to combine, in order.
    fn parts(&self) -> &[usize];

    /// Combines the prepared images of the parts to an image of the size of the network's input.
    fn compose(&self, parts: &[Arc<PreparedImage>]) -> Composed;
}

/// An image of several parts.
pub struct Composed {
    pub image: Image,
    /// For each part, the geometric changes from its prepared image to this one.
    pub moves: Vec<GeometryChain>,
    /// How many of these changes only cut boxes, as a mosaic does. Boxes that the later changes move out of the image
    /// are dropped.
    pub cutting: usize,
}

/// A sample that is part of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct ComposedPart {
    pub sample: usize,
    /// The geometric changes from its upright picture to the image.
    pub moves: GeometryChain,
    /// Which of its boxes remain.
    pub filter: BoxFilter,
}

impl ComposedPart {
    /// The boxes of the sample in the image, in fractions of its width and height.
    pub fn boxes(&self, dataset: &Dataset) -> Vec<LabelledBox> {
        self.moves.kept_boxes(dataset.samples[self.sample].label.boxes(), &self.filter)
    }
}
