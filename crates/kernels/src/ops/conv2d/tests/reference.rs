//! The test cases, and reference results from explicit sums.

use std::mem::MaybeUninit;

use crate::ops::Window;
use crate::ops::conv2d::geometry::ConvGeometry;
use crate::ops::conv2d::gradient::column_sums;
use crate::ops::conv2d::method::{Prepared, input_gradient, weight_gradient};
use crate::ops::float::Float;
use crate::ops::gemm::{Epilogue, written};
use crate::ops::profile::Profile;

/// Reproducible numbers around zero.
pub fn numbers<T: Float>(seed: u64, count: usize) -> Vec<T> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        T::from_f64((state >> 40) as f64 / (1u64 << 23) as f64 - 1.0)
    })
    .take(count)
    .collect()
}

/// Images, height, width, channels in and out, groups, kernel, stride, padding.
pub type Case = (usize, [usize; 2], [usize; 2], usize, [usize; 2], [usize; 2], [usize; 4]);

pub const CASES: [Case; 17] = [
    (2, [5, 7], [3, 4], 1, [3, 3], [1, 1], [1, 1, 1, 1]),
    (3, [6, 5], [20, 33], 1, [1, 1], [1, 1], [0, 0, 0, 0]),
    (2, [7, 10], [17, 70], 1, [1, 1], [2, 2], [0, 0, 0, 0]),
    (2, [12, 9], [3, 16], 1, [7, 7], [2, 2], [3, 3, 3, 3]),
    (1, [9, 8], [40, 35], 1, [3, 3], [2, 2], [1, 1, 1, 1]),
    (2, [8, 6], [5, 6], 1, [3, 2], [2, 3], [0, 1, 1, 0]),
    (1, [4, 11], [6, 8], 2, [3, 3], [1, 2], [1, 0, 2, 1]),
    (2, [5, 5], [12, 9], 3, [1, 1], [1, 1], [0, 0, 0, 0]),
    (1, [3, 3], [2, 3], 1, [2, 2], [3, 3], [2, 2, 2, 2]),
    (2, [7, 6], [45, 45], 45, [3, 3], [1, 1], [1, 1, 1, 1]),
    (1, [9, 12], [33, 33], 33, [5, 5], [2, 2], [2, 1, 1, 2]),
    (2, [8, 5], [8, 8], 8, [3, 2], [2, 1], [0, 1, 1, 0]),
    (3, [20, 19], [2, 1], 1, [3, 3], [1, 1], [1, 1, 1, 1]),
    (1, [2, 2], [300, 260], 1, [1, 1], [1, 1], [0, 0, 0, 0]),
    (3, [6, 9], [35, 40], 1, [3, 3], [1, 1], [1, 1, 1, 1]),
    (1, [5, 7], [32, 51], 1, [3, 3], [1, 1], [0, 2, 1, 0]),
    (2, [4, 4], [140, 33], 1, [3, 3], [1, 1], [2, 1, 0, 1]),
];

pub fn geometry(
    &(images, [h, w], [inputs, outputs], groups, kernel, stride, padding): &Case,
) -> ConvGeometry {
    let window = Window { kernel, stride, padding };
    let weight = [outputs, inputs / groups, kernel[0], kernel[1]];
    ConvGeometry::new(&[images, h, w, inputs], &weight, window, groups).expect("the case is sound")
}

/// Calls `meet` with the indices of x, weight and output in each product of the sum.
pub fn for_each_product(geometry: &ConvGeometry, mut meet: impl FnMut(usize, usize, usize)) {
    let ([height, width], [inputs, outputs]) = (geometry.input, geometry.group_channels());
    let ([kernel_y, kernel_x], [top, left, ..]) = (geometry.window.kernel, geometry.window.padding);
    for output in 0..geometry.output_length() {
        let (pixel, channel) = (output / geometry.channels[1], output % geometry.channels[1]);
        let (line, ox) = (pixel / geometry.output[1], pixel % geometry.output[1]);
        let (image, oy) = (line / geometry.output[0], line % geometry.output[0]);
        for tap in 0..kernel_y * kernel_x {
            let y = (oy * geometry.window.stride[0] + tap / kernel_x).wrapping_sub(top);
            let x = (ox * geometry.window.stride[1] + tap % kernel_x).wrapping_sub(left);
            if y < height && x < width {
                for input in 0..inputs {
                    let pixel = (image * height + y) * width + x;
                    let place = pixel * geometry.channels[0] + channel / outputs * inputs + input;
                    meet(place, (channel * inputs + input) * kernel_y * kernel_x + tap, output);
                }
            }
        }
    }
}

pub struct Results<T> {
    pub output: Vec<T>,
    pub x: Vec<T>,
    pub weight: Vec<T>,
    pub bias: Vec<T>,
}

pub fn exact<T: Float>(
    geometry: &ConvGeometry,
    x: &[T],
    weight: &[T],
    bias: &[T],
    gradient: &[T],
) -> Results<f64> {
    let mut results = Results {
        output: (0..geometry.output_length()).map(|i| bias[i % bias.len()].to_f64()).collect(),
        x: vec![0.0; x.len()],
        weight: vec![0.0; weight.len()],
        bias: vec![0.0; bias.len()],
    };
    for_each_product(geometry, |i, w, o| {
        results.output[o] += x[i].to_f64() * weight[w].to_f64();
        results.x[i] += weight[w].to_f64() * gradient[o].to_f64();
        results.weight[w] += x[i].to_f64() * gradient[o].to_f64();
    });
    gradient.iter().enumerate().for_each(|(o, g)| results.bias[o % bias.len()] += g.to_f64());
    results
}

pub fn computed<T: Float>(
    profile: Profile,
    geometry: &ConvGeometry,
    x: &[T],
    weight: &[T],
    bias: &[T],
    gradient: &[T],
) -> Results<T> {
    let epilogue = Epilogue { bias: Some(bias), ..Epilogue::NONE };
    let write = |length: usize, fill: &dyn Fn(&mut [MaybeUninit<T>])| {
        // SAFETY: unwritten elements are NaN here, and fail the test.
        unsafe { written(length, |output| fill(output)) }
    };
    let prepared = Prepared::new(profile, geometry, weight);
    Results {
        output: write(geometry.output_length(), &|output| {
            prepared.forward(profile, geometry, x, epilogue, output)
        }),
        x: write(x.len(), &|output| input_gradient(profile, geometry, gradient, weight, output)),
        weight: weight_gradient(profile, geometry, x, gradient),
        bias: column_sums(profile, bias.len(), gradient),
    }
}

/// max|Δ| / max|reference|
pub fn error<T: Float>(found: &[T], reference: &[f64]) -> f64 {
    assert_eq!(found.len(), reference.len());
    let largest = reference.iter().fold(1e-3, |largest: f64, x| largest.max(x.abs()));
    let differences =
        found.iter().zip(reference).map(|(found, reference)| (found.to_f64() - reference).abs());
    differences.fold(0.0, |worst, d| if d.is_nan() { f64::NAN } else { d.max(worst) }) / largest
}
