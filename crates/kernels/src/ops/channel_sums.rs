//! Sums over rows for batch normalization: one column per channel, vectorised over channels.
//!
//! Each task handles some rows. The sums of the tasks are added in task order.

use super::activation_fn::{Activation, specialised};
use super::channels::Affine;
use super::float::Float;
use super::row_sums::MAX_LANES;
use super::vector::{Registers, Vector, Vectorised, load};

/// Two sums per channel, in f64, so that neither the number of rows nor the split costs precision. The loops are
/// memory-bound in any case.
pub struct Sums {
    pub first: Vec<f64>,
    pub second: Vec<f64>,
}

impl Sums {
    pub fn zero(channels: usize) -> Self {
        Self { first: vec![0.0; channels], second: vec![0.0; channels] }
    }

    /// The sums of the first `channels` channels, without padding.
    pub fn of(mut self, channels: usize) -> Self {
        self.first.truncate(channels);
        self.second.truncate(channels);
        self
    }

    /// Adds the sums of all tasks, in order.
    pub fn total(tasks: impl IntoIterator<Item = Self>, channels: usize) -> Self {
        let mut total = Self::zero(channels);
        for task in tasks {
            for channel in 0..channels {
                total.first[channel] += task.first[channel];
                total.second[channel] += task.second[channel];
            }
        }
        total
    }
}

/// One number per channel, padded with zeros to whole vectors of any width.
pub fn padded(numbers: &[f64]) -> Vec<f64> {
    let mut padded = numbers.to_vec();
    padded.resize(numbers.len().next_multiple_of(MAX_LANES), 0.0);
    padded
}

/// Σ (x − shift) and Σ (x − shift)². With any value of the channel as the shift, the variance loses no precision
/// to a large mean (Chan, Golub and LeVeque, *Algorithms for Computing the Sample Variance*, 1983, §3).
pub struct Moments<'a, T> {
    pub x: &'a [T],
    pub channels: usize,
    /// [`padded`]
    pub shift: &'a [f64],
}

impl<T: Float> Vectorised for Moments<'_, T> {
    type Number = T;
    type Output = Sums;

    #[inline(always)]
    fn compute<V: Vector<Number = T>>(self, v: Registers<V>) -> Sums {
        let Self { x, channels, shift } = self;
        let mut sums = Sums::zero(shift.len());
        assert!(shift.len() == channels.next_multiple_of(MAX_LANES) && V::LANES <= MAX_LANES);
        for row in x.chunks_exact(channels) {
            let mut channel = 0;
            while channel < channels {
                let count = V::LANES.min(channels - channel);
                // SAFETY: the row has `count` channels left; sums and shifts are padded to whole vectors.
                unsafe {
                    load(v, row.as_ptr().add(channel), count).add_moments_to(
                        shift.as_ptr().add(channel),
                        sums.first.as_mut_ptr().add(channel),
                        sums.second.as_mut_ptr().add(channel),
                    );
                }
                channel += V::LANES;
            }
        }
        sums.of(channels)
    }
}

/// Σ g and Σ g · (x − mean), with the gradient g before the activation. If that is a function of x alone, g is
/// recomputed from the gradient after it, which is cheaper than saving it.
pub struct GradientSums<'a, T> {
    pub grad: &'a [T],
    pub x: &'a [T],
    pub channels: usize,
    /// [`padded`]
    pub mean: &'a [f64],
    pub activation: Activation,
    /// `None` if `grad` is already the gradient before the activation.
    pub affine: Option<&'a Affine<T>>,
}

impl<T: Float> Vectorised for GradientSums<'_, T> {
    type Number = T;
    type Output = Sums;

    #[inline(always)]
    fn compute<V: Vector<Number = T>>(self, v: Registers<V>) -> Sums {
        specialised!(self.activation, activation => self.rows(activation, v))
    }
}

impl<T: Float> GradientSums<'_, T> {
    #[inline(always)]
    fn rows<V: Vector<Number = T>>(self, activation: Activation, v: Registers<V>) -> Sums {
        let Self { grad, x, channels, mean, affine, .. } = self;
        let mut sums = Sums::zero(mean.len());
        assert!(mean.len() == channels.next_multiple_of(MAX_LANES) && V::LANES <= MAX_LANES);
        let fits = |affine: &Affine<T>| affine.centre.len() == channels && affine.scale.len() == channels;
        assert!(affine.is_none_or(|affine| fits(affine) && affine.offset.len() == channels));
        for (grad, x) in grad.chunks_exact(channels).zip(x.chunks_exact(channels)) {
            let mut channel = 0;
            while channel < channels {
                let count = V::LANES.min(channels - channel);
                // SAFETY: each row has `count` channels left; sums and means are padded to whole vectors, and
                // lanes beyond the channels are zero.
                unsafe {
                    let mut grad = load(v, grad.as_ptr().add(channel), count);
                    let x = load(v, x.as_ptr().add(channel), count);
                    if let Some(Affine { centre, scale, offset }) = affine {
                        let argument = x
                            .sub(load(v, centre.as_ptr().add(channel), count))
                            .mul(load(v, scale.as_ptr().add(channel), count))
                            .add(load(v, offset.as_ptr().add(channel), count));
                        grad = activation.gradient_of(grad, argument);
                    }
                    grad.add_to(sums.first.as_mut_ptr().add(channel));
                    let products = sums.second.as_mut_ptr().add(channel);
                    grad.add_product_to(x, mean.as_ptr().add(channel), products);
                }
                channel += V::LANES;
            }
        }
        sums.of(channels)
    }
}
