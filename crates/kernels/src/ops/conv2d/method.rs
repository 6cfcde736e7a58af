//! Selects the method of a convolution, and runs its three passes.

use std::mem::MaybeUninit;

use super::geometry::ConvGeometry;
use super::winograd::{self, ConvDirection, Tiles, TransformedWeights};
use super::{depthwise, depthwise_gradient, gradient, product};
use crate::ops::float::Float;
use crate::ops::gemm::{Epilogue, Packed};
use crate::ops::profile::Profile;

/// The number of channels from which Winograd's products save more than its transforms cost.
const WINOGRAD_CHANNELS: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Product,
    Winograd,
    Depthwise,
}

impl Method {
    /// The shapes of weights and window alone decide, so the method is the same for every image and batch.
    fn of(geometry: &ConvGeometry) -> Self {
        if geometry.is_depthwise() {
            return Self::Depthwise;
        }
        let window = &geometry.window;
        let winograd = (window.kernel, window.stride, geometry.groups) == ([3; 2], [1; 2], 1)
            && window.padding.iter().all(|&padding| padding <= 2)
            && geometry.channels.iter().all(|&channels| channels >= WINOGRAD_CHANNELS);
        if winograd { Self::Winograd } else { Self::Product }
    }
}

/// Weights in the layout of the forward pass.
pub(super) enum Prepared<T> {
    Product(Vec<Packed<T>>),
    Winograd(TransformedWeights<T>),
    Depthwise(Vec<T>),
}

impl<T: Float> Prepared<T> {
    /// From a weight [O, I, kH, kW]; the image size does not matter.
    pub fn new(profile: Profile, geometry: &ConvGeometry, weight: &[T]) -> Self {
        match Method::of(geometry) {
            Method::Product => Self::Product(product::pack(profile, geometry, weight)),
            Method::Winograd => Self::Winograd(TransformedWeights::new(
                profile,
                weight,
                geometry.channels,
                ConvDirection::Forward,
            )),
            Method::Depthwise => Self::Depthwise(depthwise::pack(geometry, weight)),
        }
    }

    /// Writes all of `output`, [N, H', W', O], from `x`, [N, H, W, C].
    pub fn forward(
        &self,
        profile: Profile,
        geometry: &ConvGeometry,
        x: &[T],
        epilogue: Epilogue<'_, T>,
        output: &mut [MaybeUninit<T>],
    ) {
        match self {
            Self::Product(weights) => product::forward(profile, geometry, x, weights, epilogue, output),
            Self::Winograd(weights) => {
                winograd::forward(profile, &Tiles::forward(geometry), x, weights, epilogue, output);
            }
            Self::Depthwise(weights) => depthwise::forward(profile, geometry, x, weights, epilogue, output),
        }
    }
}

/// Writes all of `output`, [N, H, W, C], from the gradient of the convolution's output.
pub(super) fn input_gradient<T: Float>(
    profile: Profile,
    geometry: &ConvGeometry,
    gradient: &[T],
    weight: &[T],
    output: &mut [MaybeUninit<T>],
) {
    match Method::of(geometry) {
        Method::Product => product::input_gradient(profile, geometry, gradient, weight, output),
        Method::Winograd => {
            let weights =
                TransformedWeights::new(profile, weight, geometry.channels, ConvDirection::Backward);
            winograd::forward(
                profile,
                &Tiles::backward(geometry),
                gradient,
                &weights,
                Epilogue::NONE,
                output,
            );
        }
        Method::Depthwise => {
            let weights = depthwise::pack(geometry, weight);
            depthwise::input_gradient(profile, geometry, gradient, &weights, output);
        }
    }
}

/// The gradient of the weight, [O, I, kH, kW].
pub(super) fn weight_gradient<T: Float>(
    profile: Profile,
    geometry: &ConvGeometry,
    x: &[T],
    gradient: &[T],
) -> Vec<T> {
    match Method::of(geometry) {
        Method::Product => gradient::weight_gradient(profile, geometry, x, gradient),
        Method::Winograd => winograd::weight_gradient(profile, geometry, x, gradient),
        Method::Depthwise => depthwise_gradient::weight_gradient(profile, geometry, x, gradient),
    }
}
