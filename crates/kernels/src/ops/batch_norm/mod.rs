//! Batch normalization, fused with the addition and activation that follow it in a residual block.
//!
//! Ioffe and Szegedy, *Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
//! Shift* (ICML 2015). With a residual, y = act(norm(x) · weight + bias + residual). This module never updates
//! running statistics: training returns the batch's statistics, and the caller decides.

mod backward;
#[cfg(feature = "cuda")]
mod cuda;
mod forward;
#[cfg(test)]
mod tests;
mod without_residual;

pub use forward::{BatchStatistics, batch_norm_frozen, batch_norm_training, update_running_statistic};
