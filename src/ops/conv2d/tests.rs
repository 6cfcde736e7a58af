//! Every profile against sums written out in f64, samples against themselves in other batches, finite differences
//! through the tape, and PyTorch.

use std::mem::MaybeUninit;

use candle_core::{Device, Tensor};

use super::geometry::Geometry;
use super::gradient::{column_sums, weight_gradient};
use super::{FoldedConv, FoldedNorm, conv2d, depthwise, product};
use crate::autograd::{Tape, Value};
use crate::ops::float::{Float, tensor};
use crate::ops::gemm::{Epilogue, written};
use crate::ops::profile::Profile;
use crate::ops::{Activation, Window};

/// Reproducible numbers around zero.
fn numbers<T: Float>(seed: u64, count: usize) -> Vec<T> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        T::from_f64((state >> 40) as f64 / (1u64 << 23) as f64 - 1.0)
    })
    .take(count)
    .collect()
}

/// Images, height, width, channels in and out, groups, kernel, stride, padding.
type Case = (usize, [usize; 2], [usize; 2], usize, [usize; 2], [usize; 2], [usize; 4]);

const CASES: [Case; 14] = [
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
];

fn geometry(&(images, [h, w], [inputs, outputs], groups, kernel, stride, padding): &Case) -> Geometry {
    let window = Window { kernel, stride, padding };
    let weight = [outputs, inputs / groups, kernel[0], kernel[1]];
    Geometry::new(&[images, h, w, inputs], &weight, window, groups).expect("the case is sound")
}

/// Calls `meet` with the places of x, weight and output in each product of the sum.
fn for_each_product(geometry: &Geometry, mut meet: impl FnMut(usize, usize, usize)) {
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

struct Results<T> {
    output: Vec<T>,
    x: Vec<T>,
    weight: Vec<T>,
    bias: Vec<T>,
}

fn exact<T: Float>(geometry: &Geometry, x: &[T], weight: &[T], bias: &[T], gradient: &[T]) -> Results<f64> {
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

fn computed<T: Float>(
    profile: Profile,
    geometry: &Geometry,
    x: &[T],
    weight: &[T],
    bias: &[T],
    gradient: &[T],
) -> Results<T> {
    let epilogue = Epilogue { bias: Some(bias), ..Epilogue::NONE };
    let write = |length: usize, fill: &dyn Fn(&mut [MaybeUninit<T>])| {
        // SAFETY: what is not written reads as NaN here, and fails the test.
        unsafe { written(length, |output| fill(output)) }
    };
    if geometry.is_depthwise() {
        let packed = depthwise::pack(geometry, weight);
        Results {
            output: write(geometry.output_length(), &|output| {
                depthwise::forward(profile, geometry, x, &packed, epilogue, output)
            }),
            x: write(x.len(), &|output| {
                depthwise::input_gradient(profile, geometry, gradient, &packed, output)
            }),
            weight: depthwise::weight_gradient(profile, geometry, x, gradient),
            bias: column_sums(profile, bias.len(), gradient),
        }
    } else {
        let packed = product::pack(profile, geometry, weight);
        Results {
            output: write(geometry.output_length(), &|output| {
                product::forward(profile, geometry, x, &packed, epilogue, output)
            }),
            x: write(x.len(), &|output| product::input_gradient(profile, geometry, gradient, weight, output)),
            weight: weight_gradient(profile, geometry, x, gradient),
            bias: column_sums(profile, bias.len(), gradient),
        }
    }
}

/// max|Δ| / max|reference|
fn error<T: Float>(found: &[T], reference: &[f64]) -> f64 {
    assert_eq!(found.len(), reference.len());
    let largest = reference.iter().fold(1e-3, |largest: f64, x| largest.max(x.abs()));
    let differences =
        found.iter().zip(reference).map(|(found, reference)| (found.to_f64() - reference).abs());
    differences.fold(0.0, |worst, d| if d.is_nan() { f64::NAN } else { d.max(worst) }) / largest
}

fn check<T: Float>(bound: f64) {
    for case in &CASES {
        let geometry = geometry(case);
        let x = numbers::<T>(1, geometry.input_length());
        let weight = numbers::<T>(2, geometry.weight_length());
        let bias = numbers::<T>(3, geometry.channels[1]);
        let gradient = numbers::<T>(4, geometry.output_length());
        let exact = exact(&geometry, &x, &weight, &bias, &gradient);
        let scalar = computed(Profile::Scalar, &geometry, &x, &weight, &bias, &gradient);
        for (name, found, exact) in [
            ("output", &scalar.output, &exact.output),
            ("input gradient", &scalar.x, &exact.x),
            ("weight gradient", &scalar.weight, &exact.weight),
            ("bias gradient", &scalar.bias, &exact.bias),
        ] {
            let error = error(found, exact);
            assert!(error <= bound, "{name} of {case:?} is off by {error:e}");
        }
        for profile in Profile::supported() {
            let other = computed(profile, &geometry, &x, &weight, &bias, &gradient);
            assert!(other.output == scalar.output, "output of {case:?} on {profile}");
            assert!(other.x == scalar.x, "input gradient of {case:?} on {profile}");
            assert!(other.weight == scalar.weight, "weight gradient of {case:?} on {profile}");
            assert!(other.bias == scalar.bias, "bias gradient of {case:?} on {profile}");
        }
    }
}

#[test]
fn all_profiles_give_the_exact_sums_within_rounding_and_the_same_bits() {
    check::<f32>(1e-6);
    check::<f64>(2e-15);
}

#[test]
fn results_depend_on_no_thread_count() {
    let case = (4, [33, 40], [24, 24], 1, [3, 3], [1, 1], [1, 1, 1, 1]);
    for case in [case, (4, [33, 40], [24, 24], 24, [3, 3], [2, 2], [1, 1, 1, 1])] {
        let geometry = geometry(&case);
        let x = numbers::<f32>(1, geometry.input_length());
        let weight = numbers::<f32>(2, geometry.weight_length());
        let gradient = numbers::<f32>(4, geometry.output_length());
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
            let bias = vec![0.0; geometry.channels[1]];
            let results =
                pool.install(|| computed(Profile::current(), &geometry, &x, &weight, &bias, &gradient));
            [results.output, results.x, results.weight, results.bias]
        };
        let one = on(1);
        assert!(on(2) == one && on(3) == one, "{case:?}");
    }
}

#[test]
fn an_image_gives_the_same_bits_in_any_batch_at_any_place() {
    for case in &CASES {
        let geometry = geometry(&(7, case.1, case.2, case.3, case.4, case.5, case.6));
        let device = &Device::Cpu;
        let outputs = geometry.channels[1];
        let vector = |seed| tensor(numbers::<f32>(seed, outputs), outputs).unwrap();
        let weight = tensor(numbers::<f32>(2, geometry.weight_length()), geometry.weight_shape().as_slice());
        let norm = FoldedNorm {
            weight: &vector(5),
            bias: &vector(6),
            mean: &vector(7),
            variance: &Tensor::ones(outputs, candle_core::DType::F32, device).unwrap(),
            eps: 1e-5,
        };
        let conv =
            FoldedConv::new(&weight.unwrap(), Some(norm), None, geometry.window, geometry.groups).unwrap();
        let x =
            tensor(numbers::<f32>(1, geometry.input_length()), geometry.input_shape().as_slice()).unwrap();
        let residual =
            tensor(numbers::<f32>(8, geometry.output_length()), geometry.output_shape().as_slice()).unwrap();
        let run = |x: &Tensor, residual: &Tensor| {
            let y = conv.forward(x, Activation::Relu6, Some(residual)).unwrap();
            y.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let all = run(&x, &residual);
        let image = all.len() / 7;
        for (first, count) in [(0, 1), (3, 1), (6, 1), (2, 4)] {
            let part = run(&x.narrow(0, first, count).unwrap(), &residual.narrow(0, first, count).unwrap());
            assert!(part == all[first * image..][..count * image], "{count} from {first} of {case:?}");
        }
    }
}

#[test]
fn a_folded_convolution_is_the_convolution_then_the_norm_then_the_rest() {
    for case in &CASES {
        let geometry = geometry(case);
        let outputs = geometry.channels[1];
        let x = numbers::<f64>(1, geometry.input_length());
        let weight = numbers::<f64>(2, geometry.weight_length());
        let residual = numbers::<f64>(8, geometry.output_length());
        let [bias, scale, shift, mean] = [3, 5, 6, 7].map(|seed| numbers::<f64>(seed, outputs));
        let variance: Vec<f64> = numbers::<f64>(9, outputs).iter().map(|x| x.abs() + 0.1).collect();
        let convolved = exact(&geometry, &x, &weight, &bias, &residual).output;
        let vector = |numbers: &Vec<f64>| tensor(numbers.clone(), outputs).unwrap();
        let conv = FoldedConv::new(
            &tensor(weight.clone(), geometry.weight_shape().as_slice()).unwrap(),
            Some(FoldedNorm {
                weight: &vector(&scale),
                bias: &vector(&shift),
                mean: &vector(&mean),
                variance: &vector(&variance),
                eps: 1e-3,
            }),
            Some(&vector(&bias)),
            geometry.window,
            geometry.groups,
        )
        .unwrap();
        let x = tensor(x, geometry.input_shape().as_slice()).unwrap();
        let kept = tensor(residual.clone(), geometry.output_shape().as_slice()).unwrap();
        for (activation, high) in [(Activation::Relu, f64::INFINITY), (Activation::Relu6, 6.0)] {
            let expected: Vec<f64> = (0..convolved.len())
                .map(|i| {
                    let c = i % outputs;
                    let normal = (convolved[i] - mean[c]) / (variance[c] + 1e-3).sqrt();
                    (normal * scale[c] + shift[c] + residual[i]).clamp(0.0, high)
                })
                .collect();
            let found = conv.forward(&x, activation, Some(&kept)).unwrap().flatten_all().unwrap();
            let error = error(&found.to_vec1::<f64>().unwrap(), &expected);
            assert!(error < 1e-14, "{case:?}, {activation:?}: off by {error:e}");
        }
    }
}

#[test]
fn gradients_through_the_tape_are_finite_differences() {
    for case in &CASES[..13] {
        let geometry = geometry(case);
        let shape = geometry.output_shape();
        // A second convolution over the whole image makes one number of everything.
        let rest = numbers::<f64>(9, geometry.output_length() / geometry.images);
        let rest = Value::constant(tensor(rest, (1, shape[3], shape[1], shape[2])).unwrap());
        let whole = Window { kernel: [shape[1], shape[2]], stride: [1, 1], padding: [0; 4] };
        let loss = |tape: &mut Tape, inputs: &[Value; 3]| {
            let [x, weight, bias] = inputs;
            let y = conv2d(tape, x, weight, Some(bias), geometry.window, geometry.groups).unwrap();
            conv2d(tape, &y, &rest, None, whole, 1).unwrap()
        };
        let shapes = [geometry.input_shape().to_vec(), geometry.weight_shape().to_vec(), vec![shape[3]]];
        let values: Vec<Vec<f64>> =
            shapes.iter().zip(1..).map(|(shape, seed)| numbers(seed, shape.iter().product())).collect();
        let mut tape = Tape::new();
        let leaves = [0, 1, 2].map(|i| tape.leaf(tensor(values[i].clone(), shapes[i].as_slice()).unwrap()));
        let output = loss(&mut tape, &leaves);
        let mut gradients = tape.backward(&output).unwrap();
        for (input, leaf) in leaves.iter().enumerate() {
            let gradient = gradients.take(leaf).unwrap();
            assert_eq!(gradient.dims(), shapes[input].as_slice());
            let gradient = gradient.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            for place in (0..gradient.len()).step_by(gradient.len().div_ceil(6)) {
                let at = |step: f64| {
                    let constants = [0, 1, 2].map(|i| {
                        let mut numbers = values[i].clone();
                        if i == input {
                            numbers[place] += step;
                        }
                        Value::constant(tensor(numbers, shapes[i].as_slice()).unwrap())
                    });
                    let output = loss(&mut Tape::new(), &constants);
                    output.tensor().sum_all().unwrap().to_scalar::<f64>().unwrap()
                };
                let difference = (at(0.5) - at(-0.5)) / 1.0;
                let error = (difference - gradient[place]).abs();
                assert!(error < 1e-9, "input {input} of {case:?} at {place}: off by {error:e}");
            }
        }
    }
}

#[test]
fn a_constant_gets_no_gradient_and_keeps_no_input() {
    let ones = |shape: &[usize]| Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
    let window = Window { kernel: [3, 3], stride: [1, 1], padding: [1; 4] };
    let (x, weight) = (ones(&[1, 4, 4, 2]), ones(&[3, 2, 3, 3]));
    let mut tape = Tape::new();
    let x = tape.leaf(x);
    let y = conv2d(&mut tape, &x, &Value::constant(weight.clone()), None, window, 1).unwrap();
    assert!(!y.is_constant());
    assert_eq!(tape.backward(&y).unwrap().take(&x).unwrap().dims(), [1, 4, 4, 2]);
    let constant = conv2d(
        &mut Tape::new(),
        &Value::constant(x.into_tensor()),
        &Value::constant(weight),
        None,
        window,
        1,
    );
    assert!(constant.unwrap().is_constant());
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let window = Window { kernel: [3, 3], stride: [1, 1], padding: [0; 4] };
    assert!(Geometry::new(&[1, 2, 5, 4], &[8, 4, 3, 3], window, 1).is_err());
    assert!(Geometry::new(&[1, 5, 5, 4], &[8, 3, 3, 3], window, 1).is_err());
    assert!(Geometry::new(&[1, 5, 5, 4], &[8, 2, 3, 3], window, 2).is_ok());
    assert!(Geometry::new(&[1, 5, 5, 4], &[9, 2, 3, 3], window, 2).is_err());
}
