//! Timings: steps of a network on synthetic images, and images on their way into tensors.
//!
//! What is timed is what stages run: the training loop, the inference pass, the image loader. The room keeps no clock
//! of its own and judges nothing: it hands back seconds.

mod images;
mod network;
mod pieces;
mod settings;
mod synthetic;
mod timing;

pub use images::{ImagesSettings, time_images};
pub use network::{NetworkBench, StepWork};
pub use pieces::{Meter, Piece, Pieces, Sample, Sight};
pub use settings::{Mode, NetworkSettings, arch, precision};
pub use timing::{Clock, Timing};
