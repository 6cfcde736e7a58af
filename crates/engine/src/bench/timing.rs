//! The duration of steps, and statistics.

use crate::error::{Error, Result};

/// Seconds since a fixed moment.
pub type Clock<'a> = &'a (dyn Fn() -> f64 + Sync);

/// The duration of each of several equal steps, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// In ascending order; at least one value.
    seconds: Vec<f64>,
}

impl Timing {
    /// From the start moment and the end of each step. The first `warmup` steps are ignored.
    ///
    /// # Errors
    /// No step is left.
    pub(super) fn between(moments: &[f64], warmup: usize) -> Result<Self> {
        let mut seconds: Vec<f64> =
            moments.windows(2).skip(warmup).map(|pair| (pair[1] - pair[0]).max(1e-9)).collect();
        if seconds.is_empty() {
            return Err(Error::bug("no step was timed"));
        }
        seconds.sort_by(f64::total_cmp);
        Ok(Self { seconds })
    }

    pub fn median(&self) -> f64 {
        let middle = self.seconds.len() / 2;
        match self.seconds.len() % 2 {
            0 => (self.seconds[middle - 1] + self.seconds[middle]) / 2.0,
            _ => self.seconds[middle],
        }
    }

    pub fn min(&self) -> f64 {
        self.seconds[0]
    }

    pub fn max(&self) -> f64 {
        self.seconds[self.seconds.len() - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_times_between_moments_without_the_warmup() {
        let timing = Timing::between(&[0.0, 9.0, 10.0, 13.0, 15.0, 19.0], 1).unwrap();
        assert_eq!((timing.min(), timing.median(), timing.max()), (1.0, 2.5, 4.0));
        assert_eq!(Timing::between(&[0.0, 9.0, 10.0, 13.0], 0).unwrap().median(), 3.0);
        assert!(Timing::between(&[0.0, 1.0], 1).is_err());
    }
}
