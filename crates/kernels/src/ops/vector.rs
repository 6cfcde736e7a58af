//! SIMD vectors for kernels that compute in registers.
//!
//! Simple loops over slices are left to the compiler (`multiversion`). Code that holds many values at once, such
//! as transforms and direct convolutions, is written over [`Vector`], and [`vectorised`] runs it with the widest
//! vector of the profile. Lanes never interact, so the width does not affect the bits.

use std::marker::PhantomData;

use super::float::Float;
use super::profile::Profile;

/// Proof that this machine has the registers of `V` and their instructions. [`vectorised`] makes one after
/// checking the profile; an existing vector is a proof too.
///
/// It has no size. Code without it cannot create a vector, so it cannot run an instruction that the machine
/// lacks.
#[derive(Clone, Copy)]
pub struct Registers<V>(PhantomData<V>);

impl<V: Vector> Registers<V> {
    /// # Safety
    /// The machine must have them.
    #[inline(always)]
    unsafe fn exist() -> Self {
        Self(PhantomData)
    }
}

/// Kernels rely on the properties of a [`Vector`], so only this module implements it.
pub(super) mod sealed {
    pub trait Sealed {}
}

/// Several numbers in one register.
///
/// A value can only be made from [`Registers`] or from other values, so code that has one may use the
/// instructions of its type.
pub trait Vector: Copy + sealed::Sealed {
    type Number: Float;
    const LANES: usize;

    fn splat(registers: Registers<Self>, number: Self::Number) -> Self;

    /// Broadcasts `number` to every lane, with another vector as proof.
    #[inline(always)]
    fn filled(self, number: Self::Number) -> Self {
        // SAFETY: an existing vector proves that the machine has the registers.
        Self::splat(unsafe { Registers::exist() }, number)
    }

    /// # Safety
    /// `LANES` numbers are readable at `from`.
    unsafe fn load(registers: Registers<Self>, from: *const Self::Number) -> Self;

    /// The first `count` lanes; the others are zero.
    ///
    /// # Safety
    /// `count` numbers are readable at `from`.
    unsafe fn load_some(registers: Registers<Self>, from: *const Self::Number, count: usize) -> Self;

    /// # Safety
    /// `LANES` numbers are writable at `to`.
    unsafe fn store(self, to: *mut Self::Number);

    /// Stores past the caches, without reading the cache line first: for results larger than the caches. Such
    /// stores may become visible late; [`Vector::fence`] orders them.
    ///
    /// # Safety
    /// As for `store`, and `to` is a multiple of the vector's size.
    unsafe fn stream(self, to: *mut Self::Number) {
        // SAFETY: the caller's contract is passed on.
        unsafe { self.store(to) }
    }

    /// Makes all streamed stores of this thread visible before later stores.
    fn fence() {}

    /// # Safety
    /// `count` numbers, at most `LANES`, are writable at `to`.
    unsafe fn store_some(self, to: *mut Self::Number, count: usize);

    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// self · a + b, rounded once.
    fn fused_multiply_add(self, a: Self, b: Self) -> Self;
    /// `bound` if self is greater. NaN stays NaN.
    fn at_least(self, bound: Self) -> Self;
    /// `bound` if self is less. NaN stays NaN.
    fn at_most(self, bound: Self) -> Self;

    /// 1 / (1 + e^−self), as [`Float::sigmoid`].
    fn sigmoid(self) -> Self;

    /// e^self, as [`Float::exponential`].
    fn exponential(self) -> Self;

    /// The standard normal distribution, as [`Float::normal`].
    fn normal(self) -> [Self; 2];

    /// self if x is strictly between the bounds, else 0.
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

/// A computation that is generic over the vector width.
pub trait Vectorised {
    type Number: Float;
    type Output;

    /// Must be `#[inline(always)]`, like everything it calls: code that is not inlined lacks the profile's
    /// instructions.
    fn compute<V: Vector<Number = Self::Number>>(self, v: Registers<V>) -> Self::Output;
}

/// Runs `work` with the vectors of `profile`.
///
/// # Panics
/// The machine does not support the profile.
#[inline(always)]
pub fn vectorised<W: Vectorised>(profile: Profile, work: W) -> W::Output {
    match profile {
        Profile::X86V4 => profile.run(
            #[inline(always)]
            // SAFETY: `run` has checked that the machine supports the profile, and so the vectors that `Float`
            // lists for it.
            || work.compute::<<W::Number as Float>::Widest>(unsafe { Registers::exist() }),
        ),
        Profile::X86V3 => profile.run(
            #[inline(always)]
            // SAFETY: likewise.
            || work.compute::<<W::Number as Float>::Wide>(unsafe { Registers::exist() }),
        ),
        // SAFETY: scalars need no vector instructions.
        Profile::Scalar => work.compute::<Single<W::Number>>(unsafe { Registers::exist() }),
    }
}

/// An array of vectors, made one by one. (`std::array::from_fn` is not always inlined.)
#[inline(always)]
pub fn each<V: Vector, const COUNT: usize>(v: Registers<V>, mut make: impl FnMut(usize) -> V) -> [V; COUNT] {
    let mut vectors = [V::splat(v, V::Number::ZERO); COUNT];
    for (index, vector) in vectors.iter_mut().enumerate() {
        *vector = make(index);
    }
    vectors
}

/// Loads the first `count` lanes; a whole vector needs no mask.
///
/// # Safety
/// `count` numbers, at most all lanes, are readable at `from`.
#[inline(always)]
pub unsafe fn load<V: Vector>(v: Registers<V>, from: *const V::Number, count: usize) -> V {
    // SAFETY: the caller's contract is passed on.
    unsafe { if count == V::LANES { V::load(v, from) } else { V::load_some(v, from, count) } }
}

/// Stores the first `count` lanes; a whole vector needs no mask.
///
/// # Safety
/// `count` numbers, at most all lanes, are writable at `to`.
#[inline(always)]
pub unsafe fn store<V: Vector>(vector: V, to: *mut V::Number, count: usize) {
    // SAFETY: the caller's contract is passed on.
    unsafe { if count == V::LANES { vector.store(to) } else { vector.store_some(to, count) } }
}

/// A vector with one lane.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Single<T>(pub T);

impl<T> sealed::Sealed for Single<T> {}

impl<T: Float> Vector for Single<T> {
    type Number = T;
    const LANES: usize = 1;

    #[inline(always)]
    fn splat(_: Registers<Self>, number: T) -> Self {
        Self(number)
    }

    #[inline(always)]
    unsafe fn load(_: Registers<Self>, from: *const T) -> Self {
        // SAFETY: the caller's contract is passed on.
        Self(unsafe { *from })
    }

    #[inline(always)]
    unsafe fn load_some(_: Registers<Self>, from: *const T, count: usize) -> Self {
        // SAFETY: the caller's contract is passed on.
        Self(if count == 0 { T::ZERO } else { unsafe { *from } })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut T) {
        // SAFETY: the caller's contract is passed on.
        unsafe { *to = self.0 }
    }

    #[inline(always)]
    unsafe fn store_some(self, to: *mut T, count: usize) {
        if count > 0 {
            // SAFETY: the caller's contract is passed on.
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
        // SAFETY: the caller's contract is passed on.
        unsafe { *sums += self.0.widen() }
    }

    #[inline(always)]
    unsafe fn add_product_to(self, x: Self, centre: *const f64, sums: *mut f64) {
        // SAFETY: the caller's contract is passed on.
        unsafe { *sums += self.0.widen() * (x.0.widen() - *centre) }
    }

    #[inline(always)]
    unsafe fn add_moments_to(self, centre: *const f64, first: *mut f64, second: *mut f64) {
        // SAFETY: the caller's contract is passed on.
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

    /// (x + 1) · x − 2, clamped to [0, 5], with a remainder.
    struct Polynomial<'a, T>(&'a [T], &'a mut [T]);

    impl<T: Float> Vectorised for Polynomial<'_, T> {
        type Number = T;
        type Output = usize;

        #[inline(always)]
        fn compute<V: Vector<Number = T>>(self, v: Registers<V>) -> usize {
            let [one, two, five] = [1.0, 2.0, 5.0].map(|x| V::splat(v, T::from_f64(x)));
            let mut at = 0;
            while at < self.0.len() {
                let count = V::LANES.min(self.0.len() - at);
                // SAFETY: both slices have the same length, and `count` elements are left.
                unsafe {
                    let x = V::load_some(v, self.0.as_ptr().add(at), count);
                    let y = x.add(one).fused_multiply_add(x, x.filled(T::ZERO).sub(two).mul(one));
                    let y = y.at_least(x.filled(T::ZERO)).at_most(five);
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
