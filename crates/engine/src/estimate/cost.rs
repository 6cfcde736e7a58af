//! The cost of a part of a stage's work, as a function of the batch size.

use serde::{Deserialize, Serialize};

use crate::bench::ProbeSample;

/// `fixed + each · images`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinearCost {
    pub fixed: f64,
    pub each: f64,
}

impl LinearCost {
    /// The line through the last of several points at increasing numbers of images, with the slope from the first
    /// point. At least the share `least` of the last value grows with the number of images. The line is not steeper
    /// than the one through the origin. Otherwise small errors of two measurements would change it strongly.
    pub fn fit(points: &[(usize, f64)], least: f64) -> Self {
        let Some(&(images, value)) = points.last() else { return Self::default() };
        let (images, value) = (images.max(1) as f64, value.max(0.0));
        let steepest = value / images;
        let each = match points.first() {
            Some(&(fewer, less)) if (fewer as f64) < images => (value - less) / (images - fewer as f64),
            _ => steepest,
        };
        let each = each.clamp(least * steepest, steepest);
        // Rounding may give a small negative value if the line goes through the origin.
        Self { fixed: (value - each * images).max(0.0), each }
    }

    pub fn at(&self, images: usize) -> f64 {
        self.fixed + self.each * images as f64
    }
}

/// The cost of a part of a stage's work for one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BatchCost {
    pub seconds: LinearCost,
    /// The peak memory beyond the weights and the batch.
    pub bytes: LinearCost,
    /// The number of output values per image.
    pub outputs: usize,
}

impl BatchCost {
    /// From samples at growing numbers of images; at least one sample.
    pub fn of(samples: &[ProbeSample]) -> Self {
        let points = |value: fn(&ProbeSample) -> f64| -> Vec<(usize, f64)> {
            samples.iter().map(|sample| (sample.images, value(sample))).collect()
        };
        Self {
            seconds: LinearCost::fit(&points(|sample| sample.seconds), 0.7),
            bytes: LinearCost::fit(&points(|sample| sample.bytes as f64), 0.0),
            outputs: samples.last().map_or(0, |sample| sample.outputs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_through_the_last_point_and_is_neither_too_flat_nor_too_steep() {
        assert_eq!(LinearCost::fit(&[(2, 5.0), (4, 9.0)], 0.0), LinearCost { fixed: 1.0, each: 2.0 });
        assert_eq!(LinearCost::fit(&[(2, 5.0), (4, 9.0)], 0.0).at(32), 65.0);
        assert_eq!(
            LinearCost::fit(&[(2, 9.0), (4, 8.0)], 0.75),
            LinearCost { fixed: 2.0, each: 1.5 },
            "noise"
        );
        assert_eq!(
            LinearCost::fit(&[(2, 1.0), (4, 8.0)], 0.0),
            LinearCost { fixed: 0.0, each: 2.0 },
            "noise"
        );
        assert_eq!(LinearCost::fit(&[(8, 4.0)], 0.0), LinearCost { fixed: 0.0, each: 0.5 });
        assert_eq!(LinearCost::fit(&[], 0.0).at(9), 0.0);
        let through_the_origin = |tenths: u32| LinearCost::fit(&[(49, f64::from(tenths) / 10.0)], 0.7);
        assert!(
            (1..100).all(|tenths| through_the_origin(tenths).fixed >= 0.0),
            "less than nothing is no cost"
        );
    }
}
