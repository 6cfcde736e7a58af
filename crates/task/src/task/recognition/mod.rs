//! Recognition: images compared by their embeddings. Pairs are verified, and queries are looked up in a gallery.
//!
//! The identity of an image is its class in the data set of the evaluation, which may have other classes than the head was
//! trained on. Models are trained for it by classification; the folder trains nothing.

mod embedded;
mod evaluator;
mod report;
mod spec;

pub use report::{METRICS, REPORTING};
pub use spec::{GallerySearch, PairVerification, RecognitionSpec};
