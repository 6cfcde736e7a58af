//! Batches: the images of a data set, read and transformed by several threads and handed over in order.
//!
//! Which thread loads which sample never shows in a batch.

mod batch_buffer;
mod batch_loader;
mod cache_budget;
mod composer;
mod images;

#[cfg(test)]
mod composer_tests;
#[cfg(test)]
mod tests;

pub use batch_loader::{EpochOrder, ImageBatch, Loader, shuffled};
pub use cache_budget::CacheBudget;
pub use composer::{Composed, ComposedPart, Composer};
pub use images::{Images, LARGEST_IMAGE};
