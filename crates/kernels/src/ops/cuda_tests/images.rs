//! Operations on images: elementwise, windows, convolutions; and the linear layer.

use std::slice::from_ref;

use candle_core::{DType, Device, Tensor};

use super::check::{HalfSupport, LONG, SHORT, check, gpu};
use crate::ops::testing::{normal, relative_error};
use crate::ops::*;

#[test]
#[ignore = "asks for a GPU"]
fn cuda_elementwise() {
    let x = normal("x", &[3, 4, 5, 37]);
    let once = HalfSupport { f32: &[], roundings: &[1, 1] };
    for kind in [
        Activation::Relu,
        Activation::Relu6,
        Activation::Silu,
        Activation::Sigmoid,
        Activation::Gelu,
        Activation::HardSwish,
        Activation::HardSigmoid,
    ] {
        check(&format!("{kind:?}"), from_ref(&x), SHORT, &once, &|tape, x| activation(tape, &x[0], kind));
    }
    let sum = HalfSupport { f32: &[], roundings: &[1, 0, 0] };
    check("sum", &[x.clone(), normal("y", &[3, 4, 5, 37])], 0.0, &sum, &|tape, x| add(tape, &x[0], &x[1]));
    // Doubling is exact.
    check("a sum of one", from_ref(&x), 0.0, &once, &|tape, x| {
        let twice = add(tape, &x[0], &x[0])?;
        add(tape, &twice, &x[0])
    });
    let half = HalfSupport { f32: &[], roundings: &[1, 1, 1] };
    check("scale", &[x, normal("scale", &[3, 37])], LONG, &half, &|tape, x| {
        scale_channels(tape, &x[0], &x[1])
    });
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_pooling() {
    let x = normal("x", &[3, 9, 8, 35]);
    for (kernel, stride, padding) in [
        ([3, 3], [2, 2], [1; 4]),
        ([2, 2], [2, 2], [0; 4]),
        ([5, 5], [1, 1], [2; 4]),
        ([3, 2], [2, 1], [0, 0, 2, 1]),
    ] {
        let window = Window { kernel, stride, padding };
        // One pixel may be the maximum of several windows, whose gradients are added. Of equal values the first
        // counts, on both sides.
        let half = HalfSupport { f32: &[], roundings: &[0, 1] };
        check(&format!("{window:?}"), from_ref(&x), 0.0, &half, &|tape, x| max_pool2d(tape, &x[0], window));
    }
    let half = HalfSupport { f32: &[], roundings: &[1, 1] };
    check("average", &[x], SHORT, &half, &|tape, x| global_average_pool(tape, &x[0]));
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_channels_side_by_side() {
    // Copies are exact; the sum of two gradients of one part is rounded once.
    let parts = [normal("a", &[3, 4, 5, 7]), normal("b", &[3, 4, 5, 1]), normal("c", &[3, 4, 5, 33])];
    let half = HalfSupport { f32: &[], roundings: &[0, 0, 0, 0] };
    check("concatenation", &parts, 0.0, &half, &|tape, x| concat(tape, &x.iter().collect::<Vec<_>>()));
    let half = HalfSupport { f32: &[], roundings: &[0, 1] };
    for (groups, sizes) in [(1, [20, 7, 9]), (3, [4, 7, 1])] {
        check("split", from_ref(&normal("x", &[3, 4, 5, 36])), SHORT, &half, &|tape, x| {
            let parts = split_channels(tape, &x[0], groups, &sizes)?;
            concat(tape, &[&parts[2], &parts[0], &parts[0], &parts[1]])
        });
    }
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_upsampling() {
    let half = HalfSupport { f32: &[], roundings: &[0, 1] };
    check("twice the size", from_ref(&normal("x", &[3, 4, 5, 37])), SHORT, &half, &|tape, x| {
        upsample_nearest(tape, &x[0])
    });
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_linear() {
    // The product is rounded before the bias is added.
    for (rows, inputs, outputs) in [(5, 70, 33), (1, 4, 2), (32, 512, 10)] {
        let inputs = [normal("x", &[rows, inputs]), normal("w", &[outputs, inputs]), normal("b", &[outputs])];
        let half = HalfSupport { f32: &[1, 2], roundings: &[2, 1, 0, 0] };
        check("linear", &inputs, LONG, &half, &|tape, x| linear(tape, &x[0], &x[1], Some(&x[2])));
        let half = HalfSupport { f32: &[1], roundings: &[1, 1, 0] };
        check("linear without bias", &inputs[..2], LONG, &half, &|tape, x| linear(tape, &x[0], &x[1], None));
    }
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_convolution() {
    convolutions(&[
        ([2, 9, 7, 3, 8], [7, 7], [2, 2], [3; 4], 1),
        ([2, 8, 6, 12, 20], [1, 1], [1, 1], [0; 4], 1),
        ([2, 8, 6, 12, 20], [1, 1], [2, 2], [0; 4], 1),
        ([3, 8, 6, 33, 40], [3, 3], [1, 1], [1; 4], 1),
        ([2, 9, 7, 16, 8], [3, 3], [2, 2], [0, 0, 1, 1], 1),
        ([2, 9, 8, 37, 37], [3, 3], [1, 1], [1; 4], 37),
        ([2, 9, 8, 37, 37], [5, 5], [2, 2], [2; 4], 37),
        ([2, 10, 8, 8, 8], [5, 3], [2, 1], [1, 1, 2, 1], 8),
        ([2, 12, 12, 8, 8], [7, 7], [1, 1], [3; 4], 8),
    ]);
}

/// Groups that are neither one nor one per channel. No architecture here uses them, and only cuDNN computes
/// them.
#[test]
#[ignore = "asks for a GPU"]
fn cuda_convolution_in_groups() {
    convolutions(&[([2, 6, 6, 8, 12], [3, 3], [1, 1], [1; 4], 4)]);
}

/// [images, height, width, inputs, outputs], kernel, stride, padding, groups
type Convolution = ([usize; 5], [usize; 2], [usize; 2], [usize; 4], usize);

#[track_caller]
fn convolutions(cases: &[Convolution]) {
    for &([images, height, width, inputs, outputs], kernel, stride, padding, groups) in cases {
        let window = Window { kernel, stride, padding };
        let x = normal("x", &[images, height, width, inputs]);
        let weight = normal("w", &[outputs, inputs / groups, kernel[0], kernel[1]]);
        let bias = normal("b", &[outputs]);
        let what = format!("{window:?} over [{images}, {height}, {width}, {inputs}] in {groups} groups");
        // Where cuDNN has no algorithm, the input's gradient is a sum of rounded patches. The gradients of
        // depthwise and product weights are written as f32; cuDNN writes those of others as bf16.
        let of_weight = if groups == inputs || kernel == [1, 1] && stride == [1, 1] { 0 } else { 1 };
        let half = HalfSupport { f32: &[1], roundings: &[1, 2, of_weight] };
        check(&what, &[x.clone(), weight.clone()], LONG, &half, &|tape, x| {
            conv2d(tape, &x[0], &x[1], None, window, groups)
        });
        let half = HalfSupport { f32: &[1, 2], roundings: &[2, 2, of_weight, 0] };
        check(&format!("{what}, a bias"), &[x, weight, bias], LONG, &half, &|tape, x| {
            conv2d(tape, &x[0], &x[1], Some(&x[2]), window, groups)
        });
    }
}

/// Inference, which always runs in f32.
#[test]
#[ignore = "asks for a GPU"]
fn cuda_folded_convolution() {
    let device = gpu();
    for groups in [1, 12] {
        let window = Window { kernel: [3, 3], stride: [1, 1], padding: [1; 4] };
        let place = |tensor: &Tensor, dtype: DType, device: &Device| {
            tensor.to_dtype(dtype).unwrap().to_device(device).unwrap()
        };
        let x = normal("x", &[2, 7, 6, 12]);
        let weight = normal("w", &[12, 12 / groups, 3, 3]);
        let vectors = ["weight", "bias", "mean", "variance"].map(|name| normal(name, &[12]).abs().unwrap());
        let residual = normal("residual", &[2, 7, 6, 12]);
        let run = |dtype, device: &Device| {
            let [weights, bias, mean, variance] =
                vectors.each_ref().map(|vector| place(vector, dtype, device));
            let norm =
                FoldedNorm { weight: &weights, bias: &bias, mean: &mean, variance: &variance, eps: 1e-3 };
            let folded =
                FoldedConv::new(&place(&weight, dtype, device), Some(norm), None, window, groups).unwrap();
            let (x, residual) = (place(&x, dtype, device), place(&residual, dtype, device));
            folded.forward(&x, Activation::Relu6, Some(&residual)).unwrap().to_device(&Device::Cpu).unwrap()
        };
        let error = relative_error(&run(DType::F32, &device), &run(DType::F64, &Device::Cpu));
        assert!(error <= LONG, "{error:e}");
    }
}
