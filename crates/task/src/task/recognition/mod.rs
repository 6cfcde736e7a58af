//! Recognition: compares images by their embeddings. It verifies pairs, and looks up queries in a gallery.
//!
//! The identity of an image is its class in the evaluation's data set, which may differ from the classes of the head.
//! Classification trains the models; this folder trains nothing.

mod embedded;
mod evaluator;
mod report;
mod spec;

pub use report::{METRICS, REPORTING};
pub use spec::{GallerySearch, PairVerification, RecognitionSpec};
