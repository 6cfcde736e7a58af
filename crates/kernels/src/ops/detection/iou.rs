//! Complete IoU of two boxes: Zheng et al., *Distance-IoU Loss* (AAAI 2020, arXiv 1911.08287), eq. 10.
//!
//! CIoU = IoU − ρ²/c² − α·v, where ρ is the distance of the centres, c the diagonal of the enclosing box, and v
//! compares aspect ratios.

use std::array;
use std::f64::consts::PI;

/// Keeps quotients finite.
const EPSILON: f64 = 1e-7;

/// left, top, right, bottom
pub type Corners = [f64; 4];

/// arctan of width / height.
pub fn aspect(corners: &Corners) -> f64 {
    let [width, height] = sides(corners);
    libm::atan(width / height)
}

/// Only the height gets ε: the numbers shall be those of other implementations.
fn sides(corners: &Corners) -> [f64; 2] {
    [corners[2] - corners[0], corners[3] - corners[1] + EPSILON]
}

/// Two boxes, and the parts of their CIoU.
pub struct Ciou<'a> {
    target: &'a Corners,
    predicted: &'a Corners,
    /// Of the intersection; zero if there is none.
    overlap: [f64; 2],
    union: f64,
    /// Of the enclosing box.
    enclosing: [f64; 2],
    diagonal: f64,
    /// Twice the distance of the centres along each axis.
    offset: [f64; 2],
    distance: f64,
    /// The difference of the aspect angles.
    turn: f64,
    v: f64,
    alpha: f64,
}

impl<'a> Ciou<'a> {
    /// The aspects are those of [`aspect`].
    #[inline]
    pub fn of(
        (target, target_aspect): (&'a Corners, f64),
        (predicted, predicted_aspect): (&'a Corners, f64),
    ) -> Self {
        let ([a_width, a_height], [b_width, b_height]) = (sides(target), sides(predicted));
        // Minima and maxima lose NaN, because comparisons with it are false. The areas keep it.
        let overlap = array::from_fn(|axis| {
            let length = least(predicted[axis + 2], target[axis + 2]) - most(predicted[axis], target[axis]);
            most(length, 0.0)
        });
        let intersection: f64 = overlap.iter().product();
        let union = a_width * a_height + b_width * b_height - intersection + EPSILON;
        let enclosing: [f64; 2] = array::from_fn(|axis| {
            most(predicted[axis + 2], target[axis + 2]) - least(predicted[axis], target[axis])
        });
        let diagonal = enclosing[0] * enclosing[0] + enclosing[1] * enclosing[1] + EPSILON;
        let centre = |corners: &Corners, axis: usize| corners[axis] + corners[axis + 2];
        let offset: [f64; 2] = array::from_fn(|axis| centre(predicted, axis) - centre(target, axis));
        let distance = (offset[0] * offset[0] + offset[1] * offset[1]) / 4.0;
        let turn = predicted_aspect - target_aspect;
        let v = 4.0 / (PI * PI) * turn * turn;
        let alpha = v / (1.0 - intersection / union + v + EPSILON);
        Self { target, predicted, overlap, union, enclosing, diagonal, offset, distance, turn, v, alpha }
    }

    #[inline]
    pub fn value(&self) -> f64 {
        self.overlap[0] * self.overlap[1] / self.union - self.distance / self.diagonal - self.alpha * self.v
    }

    /// The gradient of the value for the predicted corners; α counts as a constant, as in the paper. Where two
    /// coordinates are equal, a minimum or maximum passes half of its gradient to each.
    pub fn gradient(&self) -> Corners {
        let [width, height] = sides(self.predicted);
        let intersection = self.overlap[0] * self.overlap[1];
        let mut gradient = [0.0; 4];
        let turned = self.alpha * 8.0 / (PI * PI) * self.turn / (width * width + height * height);
        for axis in 0..2 {
            let other = 1 - axis;
            // d value / d side, by the union and by v; d angle / d side has opposite signs for width and height.
            let (across, sign) = if axis == 0 { (height, 1.0) } else { (width, -1.0) };
            let side = -intersection / (self.union * self.union) * across - turned * across * sign;
            // d value / d intersection, which the union contains too.
            let shared = (self.union + intersection) / (self.union * self.union);
            let shared = if self.meets(axis) { shared * self.overlap[other] } else { 0.0 };
            let enclosing = 2.0 * self.distance / (self.diagonal * self.diagonal) * self.enclosing[axis];
            let centre = -self.offset[axis] / 2.0 / self.diagonal;
            let (low, high) = (axis, axis + 2);
            let (p, t) = (self.predicted, self.target);
            gradient[low] =
                -side - shared * passes(p[low], t[low]) - enclosing * passes(t[low], p[low]) + centre;
            gradient[high] =
                side + shared * passes(t[high], p[high]) + enclosing * passes(p[high], t[high]) + centre;
        }
        gradient
    }

    /// Whether the boxes overlap or touch along an axis.
    fn meets(&self, axis: usize) -> bool {
        let (p, t) = (self.predicted, self.target);
        least(p[axis + 2], t[axis + 2]) >= most(p[axis], t[axis])
    }
}

/// The part of its gradient that a maximum of `a` and `b`, or a minimum of −a and −b, passes to `a`.
fn passes(a: f64, b: f64) -> f64 {
    if a > b {
        1.0
    } else if a == b {
        0.5
    } else {
        0.0
    }
}

fn most(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

fn least(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ciou(target: &Corners, predicted: &Corners) -> f64 {
        Ciou::of((target, aspect(target)), (predicted, aspect(predicted))).value()
    }

    /// The value with α of the boxes as they are, for finite differences.
    fn with_alpha(target: &Corners, predicted: &Corners, alpha: f64) -> f64 {
        let of = Ciou::of((target, aspect(target)), (predicted, aspect(predicted)));
        of.value() + (of.alpha - alpha) * of.v
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let target = [1.0, 2.0, 5.0, 4.5];
        for predicted in [
            [1.5, 1.0, 6.0, 4.0],
            [0.0, 0.0, 9.0, 9.0],
            [2.0, 2.5, 3.0, 4.0],
            [6.0, 1.0, 8.0, 3.0],
            [7.0, 8.0, 9.0, 9.5],
            [5.0, 3.0, 4.0, 2.75],
        ] {
            let of = Ciou::of((&target, aspect(&target)), (&predicted, aspect(&predicted)));
            for (corner, found) in of.gradient().into_iter().enumerate() {
                let moved = |by: f64| {
                    let mut predicted = predicted;
                    predicted[corner] += by;
                    with_alpha(&target, &predicted, of.alpha)
                };
                let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((found - expected).abs() < 1e-8, "{predicted:?} {corner}: {found} for {expected}");
            }
        }
    }

    #[test]
    fn equal_boxes_have_one_and_ties_half_of_the_slope() {
        let target = [1.0, 2.0, 5.0, 4.5];
        assert!((ciou(&target, &target) - 1.0).abs() < 1e-7);
        // To the left of a tie the boxes shrink apart, to the right they grow apart.
        let slopes = Ciou::of((&target, aspect(&target)), (&target, aspect(&target))).gradient();
        let moved = |by: f64| ciou(&target, &[1.0 + by, 2.0, 5.0, 4.5]);
        let expected = (moved(1e-6) - moved(-1e-6)) / 2e-6;
        assert!((slopes[0] - expected).abs() < 1e-5, "{} for {expected}", slopes[0]);
    }

    #[test]
    fn no_numbers_are_hidden() {
        let target = [1.0, 2.0, 5.0, 4.5];
        for corner in 0..4 {
            let mut predicted = target;
            predicted[corner] = f64::NAN;
            assert!(ciou(&target, &predicted).is_nan());
        }
        assert!(ciou(&target, &[2.0; 4]).is_finite() && ciou(&[2.0; 4], &[2.0; 4]).is_finite());
    }
}
