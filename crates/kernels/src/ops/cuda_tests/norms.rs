//! Batch normalization, fused with activation and residual.

use candle_core::{DType, Device, Tensor};

use super::check::{
    HalfSupport, LONG, Op, PassThrough, SHORT, check, gpu, nearest_half, on_device_of, one, rounding, to_gpu,
};
use crate::autograd::{Tape, Value};
use crate::ops::testing::{normal, numbers, relative_error};
use crate::ops::*;

const ACTIVATIONS: [Activation; 8] = [
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
#[ignore = "asks for a GPU"]
fn cuda_batch_norm() {
    for (shape, name) in [([2, 5, 4, 37], "few rows"), ([5, 17, 13, 3], "some chunks")] {
        let channels = shape[3];
        let x = normal("x", &shape).affine(2.0, 3.0).unwrap();
        let inputs =
            [x, normal("weight", &[channels]), normal("bias", &[channels]), normal("residual", &shape)];
        let (mean, variance) = (normal("mean", &[channels]), normal("variance", &[channels]).abs().unwrap());
        for kind in ACTIVATIONS {
            for residual in [false, true] {
                let what = format!("{name}, {kind:?}, residual: {residual}");
                let inputs = if residual { &inputs[..] } else { &inputs[..3] };
                // The gradient before the activation is written if a residual needs it, and the other gradients
                // start from it: sums of rounded values that partly cancel. Without an activation, the
                // residual's gradient is the output's.
                let roundings: &[u32] = match (residual, kind) {
                    (false, _) => &[1, 1, 0, 0],
                    (true, Activation::None) => &[1, 1, 0, 0, 0],
                    (true, _) => &[1, 3, 2, 2, 1],
                };
                let half = HalfSupport { f32: &[1, 2], roundings };
                let training = |tape: &mut Tape, x: &[Value]| {
                    Ok(batch_norm_training(tape, &x[0], &x[1], &x[2], 1e-5, kind, x.get(3))?.0)
                };
                check(&what, &clear_of_six(inputs, &training), LONG, &half, &training);
                let frozen = |tape: &mut Tape, x: &[Value]| {
                    let [mean, variance] =
                        [&mean, &variance].map(|tensor| on_device_of(x[0].tensor(), tensor));
                    batch_norm_frozen(tape, &x[0], &x[1], &x[2], &mean, &variance, 1e-5, kind, x.get(3))
                };
                check(&format!("{what}, frozen"), &clear_of_six(inputs, &frozen), LONG, &half, &frozen);
            }
        }
    }
}

/// Residuals shifted so that the result is just below 6. bf16 rounds it to 6, where ReLU6 passes no gradient.
fn clear_of_six(inputs: &[Tensor], op: Op) -> Vec<Tensor> {
    let mut inputs: Vec<Tensor> = inputs.iter().map(nearest_half).collect();
    if let Some(residual) = inputs.get(3) {
        let constants: Vec<Value> = inputs.iter().cloned().map(Value::constant).collect();
        let output = numbers(op(&mut Tape::new(), &constants).unwrap().tensor());
        let moved =
            |(residual, output): (f64, &f64)| residual - if (5.9..6.0).contains(output) { 0.5 } else { 0.0 };
        let moved: Vec<f64> = numbers(residual).into_iter().zip(&output).map(moved).collect();
        inputs[3] = Tensor::from_vec(moved, residual.shape(), &Device::Cpu).unwrap();
    }
    inputs
}

/// Gradients for some of the inputs only. Running statistics change as on the CPU; with bf16 they are f32.
#[test]
#[ignore = "asks for a GPU"]
fn cuda_batch_norm_of_constants_and_its_statistics() {
    let inputs = [normal("x", &[3, 4, 5, 6]), normal("w", &[6]), normal("b", &[6])].map(|x| nearest_half(&x));
    let weights = nearest_half(&normal("weights", &[3, 4, 5, 6]));
    let run = |device: &Device, dtype: DType, leaf: usize| {
        let place = |tensor, dtype| match device {
            Device::Cpu => on_device_of(&one(), tensor),
            _ => to_gpu(tensor, dtype),
        };
        let mut tape = Tape::new();
        let values: Vec<Value> = (inputs.iter().enumerate())
            .map(|(index, input)| {
                let input = place(input, if index == 0 { dtype } else { DType::F32 });
                if index == leaf { tape.leaf(input) } else { Value::constant(input) }
            })
            .collect();
        let (y, statistics) =
            batch_norm_training(&mut tape, &values[0], &values[1], &values[2], 1e-5, Activation::Relu, None)
                .unwrap();
        let weights = place(&weights, dtype);
        let loss = tape.record(&[&y], place(&one(), DType::F32), || PassThrough(weights));
        let gradient = tape.backward(&loss).unwrap().take(&values[leaf]).unwrap();
        let running = update_running_statistic(values[1].tensor(), &statistics.variance, 0.1).unwrap();
        [gradient, statistics.mean, running].map(|tensor| tensor.to_device(&Device::Cpu).unwrap())
    };
    for leaf in 0..3 {
        let [cpu, mean, running] = run(&Device::Cpu, DType::F32, leaf);
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let [found, other_mean, other] = run(&gpu(), dtype, leaf);
            let rounded = rounding(found.dtype());
            assert!(relative_error(&found, &cpu) <= LONG + rounded);
            assert!(relative_error(&other_mean, &mean) <= SHORT && relative_error(&other, &running) <= SHORT);
        }
    }
}
