//! Reduces the learning rate when the monitor stops improving.

use serde::{Deserialize, Serialize};

use crate::pipeline::{Monitor, ReduceOnPlateau};

/// Tracks the monitored value over the epochs, as PyTorch's `ReduceLROnPlateau`. Part of every checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// The current factor of the learning rate.
    scale: f64,
    best: Option<f64>,
    /// Epochs since the last improvement or reduction.
    waited: u32,
    /// Cooldown: epochs in which nothing is counted.
    cooling: u32,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { scale: 1.0, best: None, waited: 0, cooling: 0 }
    }
}

impl Plateau {
    /// The factor of the learning rate: 1 until the first reduction.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Adds the value of an epoch. A value that is not finite is no improvement.
    pub fn observe(&mut self, rule: &ReduceOnPlateau, monitor: Monitor, value: f64) {
        let gains = |best: f64| monitor.improvement(value, best) > rule.threshold * best.abs();
        if value.is_finite() && self.best.is_none_or(gains) {
            (self.best, self.waited) = (Some(value), 0);
        } else {
            self.waited += 1;
        }
        if self.cooling > 0 {
            (self.cooling, self.waited) = (self.cooling - 1, 0);
        }
        if self.waited > rule.patience {
            self.scale = (self.scale * rule.factor).max(rule.final_scale);
            (self.cooling, self.waited) = (rule.cooldown, 0);
        }
    }
}

#[cfg(test)]
mod tests;
