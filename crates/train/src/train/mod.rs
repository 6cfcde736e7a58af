//! Training: the loop, optimizers, schedules, accumulation, averaging, early stopping, checkpoints.
//!
//! The loop never depends on tasks or files: it receives batches, a loss, and a place for checkpoints.

mod arithmetic;
mod batch;
mod checkpoint;
pub mod code_paths;
mod context;
mod early_stop;
mod ema;
mod finite_checks;
mod fit;
mod gradients;
mod loss_scale;
mod lr_range_test;
mod optimizer;
mod plateau;
mod precision;
mod round;
mod shared_round;
mod shared_validation;
mod slices;
mod task;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trajectory;

pub use checkpoint::{BestWeights, EpochRow, TrainCheckpoint, TrainProgress};
pub use context::{LossTerm, NoCallbacks, StepReport, TrainCallbacks, TrainContext};
pub use early_stop::BestTracker;
pub use ema::EmaWeights;
pub use fit::fit;
pub use gradients::AccumulatedGradients;
pub use loss_scale::LossScale;
pub use lr_range_test::{LrPoint, LrRange, LrRangeTest, lr_range_test};
pub use optimizer::{Optimizer, OptimizerParameter, StepRates, WarmupRates};
pub use plateau::Plateau;
pub use precision::{half_precision, precisions, set_matmul_precision};
pub use task::{BatchLoss, BatchSource, Batches, Readings, Scores, TrainBatch, TrainTask, next_of_index};
