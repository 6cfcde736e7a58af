//! How the learning rate moves: a factor for each optimizer step, a pure function of its number.

use crate::pipeline::Schedule;

impl Schedule {
    /// What the learning rate is multiplied by in `step`, counted from 0 over the whole stage of `epochs` epochs.
    ///
    /// The first W = round(warmup_epochs · steps_per_epoch) steps rise linearly: (step + 1) / W, so that no step is
    /// wasted on a rate of 0 and the last of them has the full one. From there a cosine falls over the T − W steps that
    /// are left: s + (1 − s) · (1 + cos(π · (step − W) / (T − W))) / 2 with s the final scale, which step T would
    /// reach, as with PyTorch's `CosineAnnealingLR`. A warmup longer than the stage never ends.
    pub fn lr_factor(&self, step: u64, steps_per_epoch: u64, epochs: u32) -> f64 {
        let (warmup_epochs, final_scale) = match self {
            Self::Constant(constant) => (constant.warmup_epochs, 1.0),
            Self::Cosine(cosine) => (cosine.warmup_epochs, cosine.final_scale),
        };
        let warmup = (warmup_epochs * steps_per_epoch as f64).round() as u64;
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let rest = (steps_per_epoch * u64::from(epochs)).saturating_sub(warmup).max(1);
        let progress = ((step - warmup) as f64 / rest as f64).min(1.0);
        final_scale + (1.0 - final_scale) * (1.0 + libm::cos(std::f64::consts::PI * progress)) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Constant, Cosine};

    fn factors(schedule: &Schedule, steps_per_epoch: u64, epochs: u32) -> Vec<f64> {
        (0..steps_per_epoch * u64::from(epochs))
            .map(|step| schedule.lr_factor(step, steps_per_epoch, epochs))
            .collect()
    }

    #[track_caller]
    fn assert_near(actual: &[f64], expected: &[f64]) {
        assert_eq!(actual.len(), expected.len());
        let close = actual.iter().zip(expected).all(|(a, e)| (a - e).abs() < 1e-15);
        assert!(close, "{actual:?}, expected {expected:?}");
    }

    #[test]
    fn a_constant_is_one_after_its_warmup() {
        assert_eq!(factors(&Schedule::default(), 2, 2), [1.0; 4]);
        let warm = Schedule::Constant(Constant { warmup_epochs: 1.5 });
        assert_near(&factors(&warm, 2, 3), &[1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_cosine_falls_from_one_towards_its_final_scale() {
        let cosine = Schedule::Cosine(Cosine { warmup_epochs: 0.0, final_scale: 0.0 });
        let quarter = (1.0 + 0.5f64.sqrt()) / 2.0;
        assert_near(&factors(&cosine, 2, 2), &[1.0, quarter, 0.5, 1.0 - quarter]);
        assert_eq!(cosine.lr_factor(4, 2, 2), 0.0);
        let raised = Schedule::Cosine(Cosine { warmup_epochs: 1.0, final_scale: 0.2 });
        assert_near(&factors(&raised, 2, 2), &[0.5, 1.0, 1.0, 0.6]);
    }

    #[test]
    fn a_warmup_longer_than_the_stage_only_rises() {
        let endless = Schedule::Cosine(Cosine { warmup_epochs: 2.0, final_scale: 0.5 });
        assert_near(&factors(&endless, 2, 1), &[0.25, 0.5]);
        assert_near(&factors(&endless, 2, 2), &[0.25, 0.5, 0.75, 1.0]);
    }
}
