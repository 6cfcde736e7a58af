//! Convolution in use: folded for inference, and recorded.

use candle_core::{Device, Tensor};

use super::reference::{CASES, error, exact, geometry, numbers};
use crate::autograd::{Tape, Value};
use crate::ops::conv2d::geometry::ConvGeometry;
use crate::ops::conv2d::{FoldedConv, FoldedNorm, conv2d};
use crate::ops::float::tensor;
use crate::ops::{Activation, Window};

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
        let relu6 = |x: f64| x.clamp(0.0, 6.0);
        let silu = |x: f64| x / (1.0 + libm::exp(-x));
        let relu = |x: f64| x.max(0.0);
        let functions: [&dyn Fn(f64) -> f64; 3] = [&relu, &relu6, &silu];
        for (activation, function) in
            [Activation::Relu, Activation::Relu6, Activation::Silu].into_iter().zip(functions)
        {
            let expected: Vec<f64> = (0..convolved.len())
                .map(|i| {
                    let c = i % outputs;
                    let normal = (convolved[i] - mean[c]) / (variance[c] + 1e-3).sqrt();
                    function(normal * scale[c] + shift[c] + residual[i])
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
        // A second convolution over the whole image reduces everything to one number.
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
    assert!(ConvGeometry::new(&[1, 2, 5, 4], &[8, 4, 3, 3], window, 1).is_err());
    assert!(ConvGeometry::new(&[1, 5, 5, 4], &[8, 3, 3, 3], window, 1).is_err());
    assert!(ConvGeometry::new(&[1, 5, 5, 4], &[8, 2, 3, 3], window, 2).is_ok());
    assert!(ConvGeometry::new(&[1, 5, 5, 4], &[9, 2, 3, 3], window, 2).is_err());

    let ones = |shape: &[usize]| Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
    let (x, weight, short) = (ones(&[1, 5, 5, 4]), ones(&[8, 4, 3, 3]), ones(&[7]));
    assert!(FoldedConv::new(&weight, None, Some(&short), window, 1).is_err());
    let conv = FoldedConv::new(&weight, None, None, window, 1).unwrap();
    assert!(conv.forward(&x, Activation::None, Some(&x)).is_err());
    let [x, weight, short] = [x, weight, short].map(Value::constant);
    assert!(conv2d(&mut Tape::new(), &x, &weight, Some(&short), window, 1).is_err());
}
