//! What was found in an image, and what is to be found: as a column of numbers, for other ranks.

use crate::error::{Error, Result};
use crate::metrics::detection::{Detection, GroundTruth};

/// The boxes of an image, in pixels of its picture.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundInImage {
    pub found: Vec<Detection>,
    pub truth: Vec<GroundTruth>,
}

/// The numbers of a detection, and of an object.
const FOUND: usize = 6;
const OBJECT: usize = 8;

impl FoundInImage {
    /// The number of detections, their numbers, and those of the objects.
    pub fn to_column(&self) -> Vec<f64> {
        let mut column = vec![self.found.len() as f64];
        for Detection { class, score, corners } in &self.found {
            column.extend([f64::from(*class), f64::from(*score)]);
            column.extend(corners);
        }
        for GroundTruth { class, corners, area, crowd, ignored } in &self.truth {
            column.push(f64::from(*class));
            column.extend(corners);
            column.extend([*area, f64::from(u8::from(*crowd)), f64::from(u8::from(*ignored))]);
        }
        column
    }

    /// The opposite of [`Self::to_column`].
    ///
    /// # Errors
    /// A bug: another column.
    pub fn of_column(column: &[f64]) -> Result<Self> {
        let other = || Error::bug("readings of another task");
        let (count, numbers) = column.split_first().ok_or_else(other)?;
        let (found, truth) = numbers.split_at_checked(*count as usize * FOUND).ok_or_else(other)?;
        if truth.len() % OBJECT != 0 {
            return Err(other());
        }
        let corners = |numbers: &[f64]| [numbers[0], numbers[1], numbers[2], numbers[3]];
        let detection = |each: &[f64]| Detection {
            class: each[0] as u32,
            score: each[1] as f32,
            corners: corners(&each[2..]),
        };
        let object = |each: &[f64]| GroundTruth {
            class: each[0] as u32,
            corners: corners(&each[1..]),
            area: each[5],
            crowd: each[6] != 0.0,
            ignored: each[7] != 0.0,
        };
        Ok(Self {
            found: found.chunks_exact(FOUND).map(detection).collect(),
            truth: truth.chunks_exact(OBJECT).map(object).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_come_back_with_all_their_bits() {
        let found = |class, score| Detection { class, score, corners: [0.1, -2.0, 1e-300, f64::from(score)] };
        let object = |crowd, ignored| GroundTruth { class: 9, corners: [0.3; 4], area: 7.25, crowd, ignored };
        for (found, truth) in [
            (
                vec![found(3, 0.1), found(0, f32::MIN_POSITIVE)],
                vec![object(true, false), object(false, true)],
            ),
            (vec![], vec![object(false, false)]),
            (vec![found(1, 0.7)], vec![]),
            (vec![], vec![]),
        ] {
            let image = FoundInImage { found, truth };
            let column = image.to_column();
            assert_eq!(FoundInImage::of_column(&column).unwrap(), image);
            assert!(column.len() == 1 || FoundInImage::of_column(&column[..column.len() - 1]).is_err());
        }
        assert!(FoundInImage::of_column(&[]).is_err());
    }
}
