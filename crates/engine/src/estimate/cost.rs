//! What a piece of work takes, by the number of images in a batch.

use serde::{Deserialize, Serialize};

use crate::bench::Sample;

/// `fixed + each · images`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub fixed: f64,
    pub each: f64,
}

impl Line {
    /// Through the last point of some at growing numbers of images, as steep as from the first one to it, but not so
    /// flat that less than `least` of the last point's value grows with the images, nor steeper than through the
    /// origin: two measurements of a noisy machine may be off by a little, the line far out by much.
    pub fn through(points: &[(usize, f64)], least: f64) -> Self {
        let Some(&(images, value)) = points.last() else { return Self::default() };
        let (images, value) = (images.max(1) as f64, value.max(0.0));
        let steepest = value / images;
        let each = match points.first() {
            Some(&(fewer, less)) if (fewer as f64) < images => (value - less) / (images - fewer as f64),
            _ => steepest,
        };
        let each = each.clamp(least * steepest, steepest);
        // Rounding may leave a little less than nothing where the line goes through the origin.
        Self { fixed: (value - each * images).max(0.0), each }
    }

    pub fn at(&self, images: usize) -> f64 {
        self.fixed + self.each * images as f64
    }
}

/// What a piece of work on one batch takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub seconds: Line,
    /// Of memory, beyond the weights and the batch itself.
    pub bytes: Line,
    /// Numbers that come out for each image.
    pub outputs: usize,
}

impl Cost {
    /// From samples at growing numbers of images; at least one.
    pub fn of(samples: &[Sample]) -> Self {
        let points = |value: fn(&Sample) -> f64| -> Vec<(usize, f64)> {
            samples.iter().map(|sample| (sample.images, value(sample))).collect()
        };
        Self {
            seconds: Line::through(&points(|sample| sample.seconds), 0.7),
            bytes: Line::through(&points(|sample| sample.bytes as f64), 0.0),
            outputs: samples.last().map_or(0, |sample| sample.outputs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_through_the_last_point_and_is_neither_too_flat_nor_too_steep() {
        assert_eq!(Line::through(&[(2, 5.0), (4, 9.0)], 0.0), Line { fixed: 1.0, each: 2.0 });
        assert_eq!(Line::through(&[(2, 5.0), (4, 9.0)], 0.0).at(32), 65.0);
        assert_eq!(Line::through(&[(2, 9.0), (4, 8.0)], 0.75), Line { fixed: 2.0, each: 1.5 }, "noise");
        assert_eq!(Line::through(&[(2, 1.0), (4, 8.0)], 0.0), Line { fixed: 0.0, each: 2.0 }, "noise");
        assert_eq!(Line::through(&[(8, 4.0)], 0.0), Line { fixed: 0.0, each: 0.5 });
        assert_eq!(Line::through(&[], 0.0).at(9), 0.0);
        let through_the_origin = |tenths: u32| Line::through(&[(49, f64::from(tenths) / 10.0)], 0.7);
        assert!(
            (1..100).all(|tenths| through_the_origin(tenths).fixed >= 0.0),
            "less than nothing is no cost"
        );
    }
}
