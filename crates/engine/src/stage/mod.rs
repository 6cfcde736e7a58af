//! One file per stage kind: what its recipe is made of, and how it is executed.
//!
//! A stage reads one checkpoint at most, writes files into one folder, and knows nothing of stores, keys or run
//! directories, but for the features it shares with other stages.

mod context;
mod evaluate;
mod features;
mod feed;
mod found;
mod frozen;
mod host;
mod init_weights;
mod inputs;
mod load_weights;
mod lost;
mod prefix;
mod range_test;
mod recipe;
mod resolved;
mod room;
mod subject;
mod teacher;
#[cfg(test)]
mod tests;
mod train;

pub use context::{BEST, BROKEN_IMAGES, Checkpoints, Context, LAST, MODEL};
pub use evaluate::{Evaluate, Member};
pub use found::FeaturesFound;
pub(crate) use frozen::INFERENCE_BATCH;
pub use init_weights::InitWeights;
pub use inputs::{Digested, Digester, Found, FoundWeights, Inputs, WeightsFile};
pub use load_weights::LoadWeights;
pub(crate) use lost::require_classes;
pub use prefix::Prefix;
pub use resolved::{PlannedStage, ResolvedStage};
pub use subject::{Subject, View};
pub use train::Train;
