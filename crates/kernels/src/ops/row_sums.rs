//! Sums along a row, in an order that does not depend on the vector width.

use super::float::Float;
use super::vector::{Registers, Vector};

/// The number of lanes of the widest vector. Element i of a row goes to sum i modulo this number, for every
/// vector width, and the sums are added in one fixed order.
pub const MAX_LANES: usize = 16;

/// A row of numbers to sum.
pub struct RowSums<'a, T>(pub &'a [T]);

impl<T: Float> RowSums<'_, T> {
    /// Σ (x − shift) and Σ (x − shift)², in f64.
    #[inline(always)]
    pub fn moments<V: Vector<Number = T>>(&self, v: Registers<V>, shift: T) -> [f64; 2] {
        let centre = [shift.widen(); MAX_LANES];
        let (mut first, mut second) = ([0.0; MAX_LANES], [0.0; MAX_LANES]);
        self.chunks(
            shift,
            #[inline(always)]
            |_, x| {
                for lane in (0..MAX_LANES).step_by(V::LANES) {
                    // SAFETY: there are as many elements, sums and centres as the widest vector has lanes.
                    unsafe {
                        V::load(v, x.add(lane)).add_moments_to(
                            centre.as_ptr().add(lane),
                            first.as_mut_ptr().add(lane),
                            second.as_mut_ptr().add(lane),
                        );
                    }
                }
            },
        );
        [sum_lanes(first), sum_lanes(second)]
    }

    /// Σ grad · weight and Σ grad · weight · (x − mean) · scale, for the moments [mean, scale], in f64.
    #[inline(always)]
    pub fn weighted_sums<V: Vector<Number = T>>(
        &self,
        v: Registers<V>,
        grad: &[T],
        weight: &[T],
        [mean, scale]: [T; 2],
    ) -> [f64; 2] {
        let (mut first, mut second) = ([0.0; MAX_LANES], [0.0; MAX_LANES]);
        let length = self.0.len();
        assert!(grad.len() == length && weight.len() == length);
        let mut padded = [[T::ZERO; MAX_LANES]; 2];
        self.chunks(
            mean,
            #[inline(always)]
            |at, x| {
                let [grad, weight] = if at + MAX_LANES <= length {
                    [grad[at..].as_ptr(), weight[at..].as_ptr()]
                } else {
                    padded[0][..length - at].copy_from_slice(&grad[at..]);
                    padded[1][..length - at].copy_from_slice(&weight[at..]);
                    [padded[0].as_ptr(), padded[1].as_ptr()]
                };
                for lane in (0..MAX_LANES).step_by(V::LANES) {
                    // SAFETY: as above.
                    unsafe {
                        let product = V::load(v, grad.add(lane)).mul(V::load(v, weight.add(lane)));
                        let normal = V::load(v, x.add(lane)).sub(V::splat(v, mean)).mul(V::splat(v, scale));
                        product.add_to(first.as_mut_ptr().add(lane));
                        product.mul(normal).add_to(second.as_mut_ptr().add(lane));
                    }
                }
            },
        );
        [sum_lanes(first), sum_lanes(second)]
    }

    /// Passes the row to `take` in pieces of [`MAX_LANES`], with their offsets; the last is padded with `rest`.
    /// `take` must be `#[inline(always)]`: it is called in two places, and code that is not inlined lacks the
    /// profile's instructions.
    #[inline(always)]
    fn chunks(&self, rest: T, mut take: impl FnMut(usize, *const T)) {
        let whole = self.0.len() / MAX_LANES * MAX_LANES;
        for at in (0..whole).step_by(MAX_LANES) {
            take(at, self.0[at..at + MAX_LANES].as_ptr());
        }
        if whole < self.0.len() {
            let mut last = [rest; MAX_LANES];
            last[..self.0.len() - whole].copy_from_slice(&self.0[whole..]);
            take(whole, last.as_ptr());
        }
    }
}

/// The sum of all lanes, by halving.
#[inline(always)]
pub fn sum_lanes<S: Copy + std::ops::Add<Output = S>>(mut sums: [S; MAX_LANES]) -> S {
    let mut half = MAX_LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] = sums[lane] + sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}
