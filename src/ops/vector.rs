//! Vectors of numbers as the processor has them, for kernels that compute in registers.
//!
//! Plain loops over slices are left to the compiler (`multiversion`); what holds many values at once, as transforms and
//! direct convolutions do, is written over [`Vector`] and run by [`vectorised`] with the widest one of the profile.
//! Lanes never meet, so the width decides nothing about the bits.

use super::float::Float;
use super::profile::Profile;

/// Some numbers side by side, in one register.
///
/// Its functions compile to instructions that the machine must have: vectors wider than one number come into being in
/// [`vectorised`] alone, which asks the profile.
pub trait Vector: Copy {
    type Number: Float;
    const LANES: usize;

    fn splat(number: Self::Number) -> Self;

    /// # Safety
    /// `LANES` numbers are readable at `from`.
    unsafe fn load(from: *const Self::Number) -> Self;

    /// The first `count` lanes, at most all of them; the others are zero.
    ///
    /// # Safety
    /// `count` numbers are readable at `from`.
    unsafe fn load_some(from: *const Self::Number, count: usize) -> Self;

    /// # Safety
    /// `LANES` numbers are writable at `to`.
    unsafe fn store(self, to: *mut Self::Number);

    /// Stores past the caches, what the memory keeps of this cache line never having been read: for results that are
    /// larger than the caches. Such stores may be seen late: [`Vector::fence`] ends them.
    ///
    /// # Safety
    /// As for `store`, and `to` is a multiple of the vector's size.
    unsafe fn stream(self, to: *mut Self::Number) {
        // SAFETY: passed on to the caller.
        unsafe { self.store(to) }
    }

    /// All that was streamed on this thread is seen before all that is stored after.
    fn fence() {}

    /// # Safety
    /// `count` numbers, at most `LANES`, are writable at `to`.
    unsafe fn store_some(self, to: *mut Self::Number, count: usize);

    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// self · a + b, rounded once.
    fn fused_multiply_add(self, a: Self, b: Self) -> Self;
    /// `bound` where it is greater. NaN stays NaN.
    fn at_least(self, bound: Self) -> Self;
    /// `bound` where it is less. NaN stays NaN.
    fn at_most(self, bound: Self) -> Self;

    /// 1 / (1 + e^−self), as [`Float::sigmoid`].
    fn sigmoid(self) -> Self;

    /// e^self, as [`Float::exponential`].
    fn exponential(self) -> Self;

    /// The standard normal distribution, as [`Float::normal`].
    fn normal(self) -> [Self; 2];

    /// self where x lies between the bounds, 0 at them and beyond.
    fn between(self, x: Self, low: Self, high: Self) -> Self;

    /// sums += self
    ///
    /// # Safety
    /// There are `LANES` sums.
    unsafe fn add_to(self, sums: *mut f64);

    /// sums += self · (x − centre)
    ///
    /// # Safety
    /// There are `LANES` sums and centres.
    unsafe fn add_product_to(self, x: Self, centre: *const f64, sums: *mut f64);

    /// first += self − centre, and second += (self − centre)²
    ///
    /// # Safety
    /// There are `LANES` sums of each and centres.
    unsafe fn add_moments_to(self, centre: *const f64, first: *mut f64, second: *mut f64);
}

/// A computation over vectors of any width.
pub trait Vectorised {
    type Number: Float;
    type Output;

    /// To be `#[inline(always)]`, as all that it calls: what is not inlined lacks the profile's instructions.
    fn compute<V: Vector<Number = Self::Number>>(self) -> Self::Output;
}

/// Runs `work` with the vectors of `profile`, which the machine has.
#[inline(always)]
pub fn vectorised<W: Vectorised>(profile: Profile, work: W) -> W::Output {
    match profile {
        Profile::X86V4 => profile.run(
            #[inline(always)]
            || work.compute::<<W::Number as Float>::Widest>(),
        ),
        Profile::X86V3 => profile.run(
            #[inline(always)]
            || work.compute::<<W::Number as Float>::Wide>(),
        ),
        Profile::Scalar => work.compute::<Single<W::Number>>(),
    }
}

/// An array of vectors, made one by one. (`std::array::from_fn` is not sure to be inlined.)
#[inline(always)]
pub fn each<V: Vector, const COUNT: usize>(mut make: impl FnMut(usize) -> V) -> [V; COUNT] {
    let mut vectors = [V::splat(V::Number::ZERO); COUNT];
    for (index, vector) in vectors.iter_mut().enumerate() {
        *vector = make(index);
    }
    vectors
}

/// The first `count` lanes; whole vectors go without a mask.
///
/// # Safety
/// `count` numbers, at most all lanes, are readable at `from`.
#[inline(always)]
pub unsafe fn load<V: Vector>(from: *const V::Number, count: usize) -> V {
    // SAFETY: passed on to the caller, here and below.
    unsafe { if count == V::LANES { V::load(from) } else { V::load_some(from, count) } }
}

/// The counterpart of [`load`].
///
/// # Safety
/// `count` numbers, at most all lanes, are writable at `to`.
#[inline(always)]
pub unsafe fn store<V: Vector>(vector: V, to: *mut V::Number, count: usize) {
    unsafe { if count == V::LANES { vector.store(to) } else { vector.store_some(to, count) } }
}

/// A vector of one number.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Single<T>(pub T);

impl<T: Float> Vector for Single<T> {
    type Number = T;
    const LANES: usize = 1;

    #[inline(always)]
    fn splat(number: T) -> Self {
        Self(number)
    }

    #[inline(always)]
    unsafe fn load(from: *const T) -> Self {
        // SAFETY: passed on to the caller, here and below.
        Self(unsafe { *from })
    }

    #[inline(always)]
    unsafe fn load_some(from: *const T, count: usize) -> Self {
        Self(if count == 0 { T::ZERO } else { unsafe { *from } })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut T) {
        unsafe { *to = self.0 }
    }

    #[inline(always)]
    unsafe fn store_some(self, to: *mut T, count: usize) {
        if count > 0 {
            unsafe { *to = self.0 }
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(self.0 * other.0)
    }

    #[inline(always)]
    fn fused_multiply_add(self, a: Self, b: Self) -> Self {
        Self(self.0.fused_multiply_add(a.0, b.0))
    }

    #[inline(always)]
    fn at_least(self, bound: Self) -> Self {
        Self(if bound.0 > self.0 { bound.0 } else { self.0 })
    }

    #[inline(always)]
    fn at_most(self, bound: Self) -> Self {
        Self(if bound.0 < self.0 { bound.0 } else { self.0 })
    }

    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self(self.0.sigmoid())
    }

    #[inline(always)]
    fn exponential(self) -> Self {
        Self(self.0.exponential())
    }

    #[inline(always)]
    fn normal(self) -> [Self; 2] {
        let [share, density] = self.0.normal();
        [Self(share), Self(density)]
    }

    #[inline(always)]
    fn between(self, x: Self, low: Self, high: Self) -> Self {
        if low.0 < x.0 && x.0 < high.0 { self } else { Self(T::ZERO) }
    }

    #[inline(always)]
    unsafe fn add_to(self, sums: *mut f64) {
        unsafe { *sums += self.0.widen() }
    }

    #[inline(always)]
    unsafe fn add_product_to(self, x: Self, centre: *const f64, sums: *mut f64) {
        unsafe { *sums += self.0.widen() * (x.0.widen() - *centre) }
    }

    #[inline(always)]
    unsafe fn add_moments_to(self, centre: *const f64, first: *mut f64, second: *mut f64) {
        unsafe {
            let deviation = self.0.widen() - *centre;
            *first += deviation;
            *second += deviation * deviation;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (x + 1) · x − 2, held between 0 and 5, with a tail.
    struct Polynomial<'a, T>(&'a [T], &'a mut [T]);

    impl<T: Float> Vectorised for Polynomial<'_, T> {
        type Number = T;
        type Output = usize;

        #[inline(always)]
        fn compute<V: Vector<Number = T>>(self) -> usize {
            let [one, two, five] = [1.0, 2.0, 5.0].map(|x| V::splat(T::from_f64(x)));
            let mut at = 0;
            while at < self.0.len() {
                let count = V::LANES.min(self.0.len() - at);
                // SAFETY: both slices are as long, and `count` numbers are left.
                unsafe {
                    let x = V::load_some(self.0.as_ptr().add(at), count);
                    let y = x.add(one).fused_multiply_add(x, V::splat(T::ZERO).sub(two).mul(one));
                    let y = y.at_least(V::splat(T::ZERO)).at_most(five);
                    y.store_some(self.1.as_mut_ptr().add(at), count);
                }
                at += count;
            }
            V::LANES
        }
    }

    #[test]
    fn every_width_gives_the_same() {
        let mut x: Vec<f32> = (0..37).map(|i| i as f32 * 0.11 - 2.0).collect();
        x[5] = f32::NAN;
        let expected: Vec<f32> = x.iter().map(|&x| (x + 1.0).mul_add(x, -2.0)).collect();
        for profile in Profile::supported() {
            let mut y = vec![-1.0; x.len() + 1];
            let lanes = vectorised(profile, Polynomial(&x, &mut y[..x.len()]));
            assert_eq!(y.pop(), Some(-1.0), "nothing beyond the end is written");
            for (found, expected) in y.iter().zip(&expected) {
                assert!(
                    found.is_nan() && expected.is_nan() || *found == expected.clamp(0.0, 5.0),
                    "{profile}"
                );
            }
            assert_eq!(lanes == 1, profile == Profile::Scalar);
        }
    }
}
