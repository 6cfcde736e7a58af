//! Loops of attention over rows of scores: the softmax and its gradient.

use super::float::Float;
use super::row_sums::{MAX_LANES, sum_lanes};
use super::vector::{Registers, Vector, Vectorised};

/// The padded length of a row of scores: `tokens` rounded up to whole vectors of any width.
pub fn padded(tokens: usize) -> usize {
    tokens.next_multiple_of(MAX_LANES)
}

/// Converts rows of scores to probabilities: p = e^(scale · (s − max)), divided by the row's sum.
pub struct Softmax<'a, T> {
    pub scores: &'a mut [T],
    pub tokens: usize,
    /// The padded length of a row, at least `tokens`.
    pub columns: usize,
    pub scale: T,
}

impl<T: Float> Vectorised for Softmax<'_, T> {
    type Number = T;
    type Output = ();

    #[inline(always)]
    fn compute<V: Vector<Number = T>>(self, v: Registers<V>) {
        let Self { scores, tokens, columns, scale } = self;
        assert!(columns.is_multiple_of(MAX_LANES) && tokens <= columns && tokens > 0);
        let nothing = T::ZERO - T::from_f64(f64::INFINITY);
        for row in scores.chunks_exact_mut(columns) {
            row[tokens..].fill(nothing);
            let mut largest = [nothing; MAX_LANES];
            over::<V>(
                row,
                #[inline(always)]
                |at, x| {
                    // SAFETY: `over` passes whole vectors of the row, and there are as many lanes as the widest
                    // vector has.
                    unsafe {
                        let lanes = largest.as_mut_ptr().add(at % MAX_LANES);
                        V::load(v, x).at_least(V::load(v, lanes)).store(lanes);
                    }
                },
            );
            let largest = largest.into_iter().fold(nothing, |most, x| if x > most { x } else { most });
            let (largest, scale) = (V::splat(v, largest), V::splat(v, scale));
            let mut sums = [T::ZERO; MAX_LANES];
            over::<V>(
                row,
                #[inline(always)]
                // SAFETY: as above.
                |at, x| unsafe {
                    let exponential = V::load(v, x).sub(largest).mul(scale).exponential();
                    exponential.store(x);
                    let lanes = sums.as_mut_ptr().add(at % MAX_LANES);
                    V::load(v, lanes).add(exponential).store(lanes);
                },
            );
            let share = V::splat(v, T::ONE / sum_lanes(sums));
            over::<V>(
                row,
                #[inline(always)]
                // SAFETY: `over` passes whole vectors of the row.
                |_, x| unsafe { V::load(v, x).mul(share).store(x) },
            );
        }
    }
}

/// Computes the gradients of scores from those of the probabilities p: scale · p · (g − Σ p · g).
pub struct ScoreGradient<'a, T> {
    pub probabilities: &'a [T],
    /// The gradients of the probabilities, overwritten with those of the scores.
    pub gradients: &'a mut [T],
    /// The padded length of a row.
    pub columns: usize,
    pub scale: T,
}

impl<T: Float> Vectorised for ScoreGradient<'_, T> {
    type Number = T;
    type Output = ();

    #[inline(always)]
    fn compute<V: Vector<Number = T>>(self, v: Registers<V>) {
        let Self { probabilities, gradients, columns, scale } = self;
        assert!(columns.is_multiple_of(MAX_LANES) && probabilities.len() == gradients.len());
        let rows = probabilities.chunks_exact(columns).zip(gradients.chunks_exact_mut(columns));
        for (probabilities, gradients) in rows {
            let probabilities = probabilities.as_ptr();
            let mut sums = [T::ZERO; MAX_LANES];
            over::<V>(
                gradients,
                #[inline(always)]
                |at, gradient| {
                    // SAFETY: both rows have this length, with as many lanes as the widest vector.
                    unsafe {
                        let lanes = sums.as_mut_ptr().add(at % MAX_LANES);
                        let sum = V::load(v, probabilities.add(at))
                            .fused_multiply_add(V::load(v, gradient), V::load(v, lanes));
                        sum.store(lanes);
                    }
                },
            );
            let (sum, scale) = (V::splat(v, sum_lanes(sums)), V::splat(v, scale));
            over::<V>(
                gradients,
                #[inline(always)]
                |at, gradient| {
                    // SAFETY: both rows have this length.
                    unsafe {
                        let weighed = V::load(v, probabilities.add(at)).mul(V::load(v, gradient).sub(sum));
                        weighed.mul(scale).store(gradient);
                    }
                },
            );
        }
    }
}

/// Passes a row to `take`, vector by vector, with the offset. The row is padded to the widest vectors. `take`
/// must be `#[inline(always)]`: a function that is not inlined is compiled without the profile's instructions.
#[inline(always)]
fn over<V: Vector>(row: &mut [V::Number], mut take: impl FnMut(usize, *mut V::Number)) {
    let start = row.as_mut_ptr();
    for at in (0..row.len() / MAX_LANES * MAX_LANES).step_by(MAX_LANES) {
        for lane in (0..MAX_LANES).step_by(V::LANES) {
            take(at + lane, start.wrapping_add(at + lane));
        }
    }
}
