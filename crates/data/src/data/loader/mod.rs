//! Loads batches: several threads read and transform images, and batches are returned in order.
//!
//! A batch never depends on which thread loads which sample.

mod batch_buffer;
mod batch_loader;
mod cache_budget;
mod composer;
mod epoch_sampler;
mod images;

#[cfg(test)]
mod tests;

pub use batch_loader::{EpochOrder, ImageBatch, Loader};
pub use cache_budget::CacheBudget;
pub use composer::{Composed, ComposedPart, Composer, Composition};
pub use epoch_sampler::{EpochSampler, occurrences, shuffled};
pub use images::{Images, LARGEST_IMAGE};
