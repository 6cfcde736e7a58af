//! Activations as functions of one number, used by every loop with a fused activation.

use candle_core::WithDType;

use super::float::Float;
use super::normal::MAX_ABS;
use super::vector::{Single, Vector};

/// The activation of a normalization or a folded convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    None,
    Relu,
    Relu6,
    /// x · sigmoid(x): Elfwing et al., *Sigmoid-Weighted Linear Units for Neural Network Function Approximation* (2018);
    /// also known as swish.
    Silu,
    /// 1 / (1 + e^−x)
    Sigmoid,
    /// x · Φ(x), Φ being the standard normal distribution: Hendrycks and Gimpel, *Gaussian Error Linear Units* (2016), exact
    /// and not by a hyperbolic tangent, as is PyTorch's default.
    Gelu,
    /// x · min(max(x + 3, 0), 6) / 6: Howard et al., *Searching for MobileNetV3* (2019), §5.2.
    HardSwish,
    /// min(max(x + 3, 0), 6) / 6
    HardSigmoid,
}

impl Activation {
    /// Whether it is a clamp. The gradient of a clamp can be computed from its output, which the next operation
    /// saves in any case; the gradient of other activations needs the input.
    pub fn is_clamp(self) -> bool {
        matches!(self, Self::None | Self::Relu | Self::Relu6)
    }

    /// The activation of one vector of any width, at the end of a kernel. All widths give the same bits.
    #[inline(always)]
    pub fn of<V: Vector>(self, x: V) -> V {
        let zero = x.filled(V::Number::ZERO);
        match self {
            Self::None => x,
            Self::Relu => x.at_least(zero),
            Self::Relu6 => x.at_least(zero).at_most(x.filled(V::Number::from_f64(6.0))),
            Self::Silu => x.mul(x.sigmoid()),
            Self::Sigmoid => x.sigmoid(),
            // Far below zero, the factor must not underflow as fast as x grows.
            Self::Gelu => x.at_least(x.filled(V::Number::from_f64(-MAX_ABS))).mul(x.normal()[0]),
            Self::HardSwish => x.mul(hard_sigmoid(x)),
            Self::HardSigmoid => hard_sigmoid(x),
        }
    }

    /// The gradient of x from that of the activation, with the same bits as [`ActivationFn::gradient`].
    #[inline(always)]
    pub fn gradient_of<V: Vector>(self, grad: V, x: V) -> V {
        let one = x.filled(V::Number::ONE);
        let clamp = Clamp::<V::Number>::of(self);
        match self {
            Self::Silu => {
                let sigmoid = x.sigmoid();
                grad.mul(sigmoid).mul(one.add(x.mul(one.sub(sigmoid))))
            }
            Self::Sigmoid => {
                let sigmoid = x.sigmoid();
                grad.mul(one.sub(sigmoid)).mul(sigmoid)
            }
            Self::Gelu => {
                let [share, density] = x.normal();
                let edge = V::Number::from_f64(MAX_ABS);
                let x = x.at_least(x.filled(V::Number::ZERO - edge)).at_most(x.filled(edge));
                grad.mul(share.add(x.mul(density)))
            }
            // Zero up to −3, x / 3 + 1/2 between, and one from 3 on.
            Self::HardSwish => {
                let number = |number: f64| x.filled(V::Number::from_f64(number));
                let slope = x.mul(number(1.0 / 3.0)).add(number(0.5));
                let sloped = grad.mul(slope).between(x, number(-3.0), number(3.0));
                let below = grad.between(x.at_least(number(-4.0)), number(-5.0), number(3.0));
                sloped.add(grad.sub(below))
            }
            Self::HardSigmoid => {
                let number = |number: f64| x.filled(V::Number::from_f64(number));
                grad.mul(number(1.0 / 6.0)).between(x, number(-3.0), number(3.0))
            }
            _ => grad.between(x, x.filled(clamp.low), x.filled(clamp.high)),
        }
    }
}

#[inline(always)]
fn hard_sigmoid<V: Vector>(x: V) -> V {
    let number = |number: f64| x.filled(V::Number::from_f64(number));
    x.add(number(3.0)).at_least(number(0.0)).at_most(number(6.0)).mul(number(1.0 / 6.0))
}

/// One activation as its own type, so that loops are compiled and vectorised for it.
pub trait ActivationFn<T>: Copy + Send + Sync {
    fn value(self, x: T) -> T;

    /// The gradient of x from that of the value. For a clamp, the value may be passed instead of x.
    fn gradient(self, grad: T, x: T) -> T;
}

/// Runs `$body` with `$curve` bound to the activation's [`ActivationFn`] for `$float`.
macro_rules! dispatch_activation {
    ($activation:expr, $float:ty, $activation_fn:ident => $body:expr) => {{
        use $crate::ops::activation_fn::{Activation, Clamp, Gelu, HardSigmoid, HardSwish, Sigmoid, Silu};
        match $activation {
            Activation::Silu => {
                let $activation_fn = Silu;
                $body
            }
            Activation::Sigmoid => {
                let $activation_fn = Sigmoid;
                $body
            }
            Activation::Gelu => {
                let $activation_fn = Gelu;
                $body
            }
            Activation::HardSwish => {
                let $activation_fn = HardSwish;
                $body
            }
            Activation::HardSigmoid => {
                let $activation_fn = HardSigmoid;
                $body
            }
            clamp => {
                let $activation_fn = Clamp::<$float>::of(clamp);
                $body
            }
        }
    }};
}
pub(crate) use dispatch_activation;

/// Runs `$body` with `$fixed` bound to the activation as a compile-time constant, so that a loop over vectors is
/// compiled once per activation.
macro_rules! specialised {
    ($activation:expr, $fixed:ident => $body:expr) => {{
        use $crate::ops::activation_fn::Activation;
        macro_rules! one {
            ($name:ident) => {{
                let $fixed = Activation::$name;
                $body
            }};
        }
        match $activation {
            Activation::None => one!(None),
            Activation::Relu => one!(Relu),
            Activation::Relu6 => one!(Relu6),
            Activation::Silu => one!(Silu),
            Activation::Sigmoid => one!(Sigmoid),
            Activation::Gelu => one!(Gelu),
            Activation::HardSwish => one!(HardSwish),
            Activation::HardSigmoid => one!(HardSigmoid),
        }
    }};
}
pub(crate) use specialised;

/// max(low, min(high, x)), but NaN stays NaN: hiding it would hide that training has failed.
#[derive(Clone, Copy)]
pub struct Clamp<T> {
    low: T,
    high: T,
}

impl<T: Float> Clamp<T> {
    /// `Activation::None` is a clamp with infinite bounds.
    #[inline(always)]
    pub fn of(activation: Activation) -> Self {
        let infinity = T::from_f64(f64::INFINITY);
        match activation {
            Activation::Relu => Self { low: T::ZERO, high: infinity },
            Activation::Relu6 => Self { low: T::ZERO, high: T::from_f64(6.0) },
            _ => Self { low: T::ZERO - infinity, high: infinity },
        }
    }
}

impl<T: Float> ActivationFn<T> for Clamp<T> {
    #[inline(always)]
    fn value(self, x: T) -> T {
        let x = if x < self.low { self.low } else { x };
        if self.high < x { self.high } else { x }
    }

    /// The gradient is zero where it clamps, and at the bounds, as in PyTorch.
    #[inline(always)]
    fn gradient(self, grad: T, x: T) -> T {
        if self.low < x && x < self.high { grad } else { T::ZERO }
    }
}

#[derive(Clone, Copy)]
pub struct Sigmoid;

impl<T: Float> ActivationFn<T> for Sigmoid {
    #[inline(always)]
    fn value(self, x: T) -> T {
        x.sigmoid()
    }

    #[inline(always)]
    fn gradient(self, grad: T, x: T) -> T {
        let sigmoid = self.value(x);
        grad * (T::ONE - sigmoid) * sigmoid
    }
}

#[derive(Clone, Copy)]
pub struct Silu;

impl<T: Float> ActivationFn<T> for Silu {
    #[inline(always)]
    fn value(self, x: T) -> T {
        x * x.sigmoid()
    }

    #[inline(always)]
    fn gradient(self, grad: T, x: T) -> T {
        let sigmoid: T = Sigmoid.value(x);
        grad * sigmoid * (T::ONE + x * (T::ONE - sigmoid))
    }
}

/// Declares activations whose number is a vector of one lane.
macro_rules! of_one_lane {
    ($($name:ident),+) => {$(
        #[derive(Clone, Copy)]
        pub struct $name;

        impl<T: Float> ActivationFn<T> for $name {
            #[inline(always)]
            fn value(self, x: T) -> T {
                Activation::$name.of(Single(x)).0
            }

            #[inline(always)]
            fn gradient(self, grad: T, x: T) -> T {
                Activation::$name.gradient_of(Single(grad), Single(x)).0
            }
        }
    )+};
}

of_one_lane!(Gelu, HardSwish, HardSigmoid);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::profile::Profile;
    use crate::ops::vector::{Registers, Vectorised, vectorised};

    fn value<T: Float>(activation: Activation, x: T) -> T {
        dispatch_activation!(activation, T, activation_fn => activation_fn.value(x))
    }

    const ALL: [Activation; 8] = [
        Activation::None,
        Activation::Relu,
        Activation::Relu6,
        Activation::Silu,
        Activation::Sigmoid,
        Activation::Gelu,
        Activation::HardSwish,
        Activation::HardSigmoid,
    ];

    #[test]
    fn in_f32_they_are_what_they_are_in_f64() {
        for activation in ALL {
            // GELU's far tail, e^(−x²/2) of a rounded x², is compared relative to the value it is added to.
            let (size, units) = if activation == Activation::Gelu { (1.0, 2.0) } else { (1e-30, 1.5) };
            let (mut largest, mut slope) = (0.0f64, 0.0f64);
            for step in -4000..=4000 {
                let x = step as f32 / 160.0;
                let error = |found: f32, exact: f64| (f64::from(found) - exact).abs() / (size + exact.abs());
                largest = largest.max(error(value(activation, x), value(activation, f64::from(x))));
                let found =
                    dispatch_activation!(activation, f32, activation_fn => activation_fn.gradient(1.0, x));
                let exact: f64 = dispatch_activation!(activation, f64, activation_fn => activation_fn.gradient(1.0, f64::from(x)));
                // SiLU's gradient passes through zero, where the sigmoid's rounding is multiplied by x, as in
                // PyTorch.
                slope = slope.max((f64::from(found) - exact).abs());
            }
            let unit = f64::from(f32::EPSILON);
            assert!(
                largest <= units * unit && slope <= 10.0 * unit,
                "{activation:?}: {largest:e}, {slope:e}"
            );
        }
    }

    #[test]
    fn far_out_they_are_level() {
        let ends = [f32::NEG_INFINITY, -200.0, 200.0, f32::INFINITY];
        let near = |found: f32, expected: f32| (found - expected).abs() < 1e-33;
        let levels = ends.into_iter().zip([0.0, 0.0, 1.0, 1.0]);
        assert!(levels.into_iter().all(|(x, level)| near(value(Activation::Sigmoid, x), level)));
        assert!(near(value(Activation::Silu, -200f32), 0.0) && near(value(Activation::Silu, 200f32), 200.0));
        assert!(near(Silu.gradient(1.0, -200f32), 0.0) && near(Silu.gradient(1.0, 200f32), 1.0));
        for activation in ALL {
            assert!(value(activation, f32::NAN).is_nan(), "{activation:?}");
        }
    }

    struct ActivationKernel<'a>(Activation, &'a mut [f32]);

    impl Vectorised for ActivationKernel<'_> {
        type Number = f32;
        type Output = ();

        #[inline(always)]
        fn compute<V: Vector<Number = f32>>(self, v: Registers<V>) {
            for numbers in self.1.chunks_exact_mut(V::LANES) {
                let numbers = numbers.as_mut_ptr();
                // SAFETY: a chunk has the length of a vector.
                unsafe { self.0.of(V::load(v, numbers)).store(numbers) };
            }
        }
    }

    #[test]
    fn vectors_of_every_width_have_the_bits_of_single_numbers() {
        let x: Vec<f32> = (-800..800).map(|step| step as f32 / 40.0).collect();
        for activation in ALL {
            let expected: Vec<f32> = x.iter().map(|x| value(activation, *x)).collect();
            for profile in Profile::supported() {
                let mut found = x.clone();
                vectorised(profile, ActivationKernel(activation, &mut found));
                assert_eq!(found, expected, "{activation:?}, {profile}");
            }
        }
    }
}
