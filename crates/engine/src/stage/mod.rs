//! The stage kinds, one file each: recipe and execution.
//!
//! A stage reads checkpoints and writes files into one folder. It never depends on stores, keys or run
//! directories, except for the feature cache that it shares with other stages.

mod batch_source;
mod callbacks;
mod class_coverage;
mod context;
mod evaluate;
mod examples;
mod feature_cache_status;
mod features;
mod frozen_backbone;
mod image_sheets;
mod init_weights;
mod inputs;
mod load_weights;
mod lr_range_test;
mod model_spec;
mod oom;
mod picture_sizes;
mod prefix;
mod preview;
mod recipe;
mod resolved;
mod sampling;
mod shared_evaluation;
mod subsets;
mod teacher;
#[cfg(test)]
mod tests;
mod train;

pub(crate) use class_coverage::require_classes;
pub use context::{ADAPTER, BEST, BROKEN_IMAGES, Checkpoints, LAST, MODEL, StageContext};
pub use evaluate::{EnsembleMember, EvaluateStage};
pub use feature_cache_status::FeatureCacheStatus;
pub(crate) use frozen_backbone::INFERENCE_BATCH;
pub use init_weights::InitWeightsStage;
pub use inputs::{Digested, DigestedWeights, Digester, Inputs, Located, LocatedWeights};
pub use load_weights::LoadWeightsStage;
pub use model_spec::{ModelSpec, Preprocess};
pub use prefix::FrozenPrefix;
pub use preview::PreviewImage;
pub use resolved::{PlannedStage, ResolvedStage};
pub use subsets::{MaskFile, SubsetDivision, SubsetSpec};
pub use train::TrainStage;
