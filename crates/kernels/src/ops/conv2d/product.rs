//! The forward pass and the input gradient of dense and grouped convolution, as products.

use std::mem::MaybeUninit;

use super::geometry::ConvGeometry;
use super::patches::Patches;
use super::weights::ConvWeights;
use crate::ops::float::Float;
use crate::ops::gemm::{Epilogue, Output, Packed, Product, Right, RowOffsets};
use crate::ops::profile::Profile;

impl ConvGeometry {
    /// The patches of one group.
    pub(super) fn patches<'a, T: Float>(&self, group: usize, x: &'a [T]) -> Patches<'a, T> {
        let [channels, _] = self.group_channels();
        let channels = group * channels..(group + 1) * channels;
        if self.is_pointwise() {
            return Patches::pixels(x, self.channels[0], channels);
        }
        let [top, left, ..] = self.window.padding;
        Patches {
            image: x,
            size: self.input,
            pixel: self.channels[0],
            channels,
            kernel: self.window.kernel,
            stride: self.window.stride,
            origin: [-(top as isize), -(left as isize)],
            grid: self.output,
            first: 0,
        }
    }
}

/// The weights of each group, packed for [`forward`].
pub(super) fn pack<T: Float>(profile: Profile, geometry: &ConvGeometry, weight: &[T]) -> Vec<Packed<T>> {
    let [inputs, outputs] = geometry.group_channels();
    let taps = geometry.taps();
    (0..geometry.groups)
        .map(|group| {
            let source = ConvWeights {
                data: &weight[group * outputs * inputs * taps..],
                taps: (0..taps).collect(),
                inner: inputs,
                inner_stride: taps,
                column_stride: inputs * taps,
            };
            Packed::new(profile, taps * inputs, outputs, &source)
        })
        .collect()
}

/// Writes all of `output`, [N, H, W, O].
pub(super) fn forward<T: Float>(
    profile: Profile,
    geometry: &ConvGeometry,
    x: &[T],
    weights: &[Packed<T>],
    epilogue: Epilogue<'_, T>,
    output: &mut [MaybeUninit<T>],
) {
    let [inputs, outputs] = geometry.group_channels();
    for (group, packed) in weights.iter().enumerate() {
        let bias = epilogue.bias.map(|bias| &bias[group * outputs..][..outputs]);
        Product {
            profile,
            rows: geometry.output_pixels(),
            columns: outputs,
            depth: geometry.taps() * inputs,
            left: &geometry.patches(group, x),
            right: Right::Packed(packed),
            epilogue: Epilogue { bias, ..epilogue },
        }
        .compute(Output::uninitialized(
            output,
            RowOffsets::Even { start: group * outputs, stride: geometry.channels[1] },
        ));
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
    let [inputs, outputs] = geometry.group_channels();
    let ([height, width], [stride_y, stride_x]) = (geometry.input, geometry.window.stride);
    let pixel = geometry.channels[0];
    for group in 0..geometry.groups {
        for y in geometry.phases(0) {
            for x in geometry.phases(1) {
                let places = y.taps.iter().flat_map(|y| x.taps.iter().map(move |x| (y, x)));
                let source = ConvWeights {
                    data: &weight[group * outputs * inputs * geometry.taps()..],
                    taps: places.map(|(y, x)| y * geometry.window.kernel[1] + x).collect(),
                    inner: outputs,
                    inner_stride: inputs * geometry.taps(),
                    column_stride: geometry.taps(),
                };
                let depth = y.taps.len() * x.taps.len() * outputs;
                let packed = Packed::new(profile, depth, inputs, &source);
                let channels = group * outputs..(group + 1) * outputs;
                let patches = if geometry.is_pointwise() {
                    Patches::pixels(gradient, geometry.channels[1], channels)
                } else {
                    Patches {
                        image: gradient,
                        size: geometry.output,
                        pixel: geometry.channels[1],
                        channels,
                        kernel: [y.taps.len(), x.taps.len()],
                        stride: [1, 1],
                        origin: [y.origin, x.origin],
                        grid: [y.count, x.count],
                        first: 0,
                    }
                };
                Product {
                    profile,
                    rows: geometry.images * y.count * x.count,
                    columns: inputs,
                    depth,
                    left: &patches,
                    right: Right::Packed(&packed),
                    epilogue: Epilogue::NONE,
                }
                .compute(Output::uninitialized(
                    output,
                    RowOffsets::Grid {
                        start: (y.first * width + x.first) * pixel + group * inputs,
                        height: y.count,
                        width: x.count,
                        image: height * width * pixel,
                        y: stride_y * width * pixel,
                        x: stride_x * pixel,
                    },
                ));
            }
        }
    }
}
