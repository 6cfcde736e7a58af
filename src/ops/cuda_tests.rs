//! Every operation on CUDA beside its CPU half. They ask for a GPU, or for the emulated one of tests/cuda/emulated:
//! `cuda/cargo test --lib -- --ignored cuda`.
//!
//! Both halves compute in f32 from the same numbers, and f64 on the CPU says what is right. The GPU's error, max|Δ| /
//! max|expected|, may be twice the CPU's, or what is stated where sums are long.

use std::slice::from_ref;

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::autograd::{Tape, Value};
use crate::error::Result;
use crate::ops::testing::{gradients, normal, numbers, relative_error};
use crate::random::{Purpose, Stream};

/// Where sums are short: 8 units in the last place.
const SHORT: f64 = 8.0 * f32::EPSILON as f64;
/// Products and sums over some thousand numbers.
const LONG: f64 = 4e-6;

fn gpu() -> Device {
    crate::device::choose("cuda:0").expect("a GPU, or tests/cuda/emulated").device
}

type Op<'a> = &'a dyn Fn(&mut Tape, &[Value]) -> Result<Value>;

/// The output and all gradients of `op` on the GPU, beside those in f64.
#[track_caller]
fn check(what: &str, inputs: &[Tensor], bound: f64, op: Op) {
    let constants: Vec<Value> = inputs.iter().cloned().map(Value::constant).collect();
    let output = op(&mut Tape::new(), &constants).unwrap();
    let weights = normal("weights of the output", output.tensor().dims());
    let run = |dtype: DType, device: &Device| {
        let place = |tensor: &Tensor| tensor.to_dtype(dtype).unwrap().to_device(device).unwrap();
        let inputs: Vec<Tensor> = inputs.iter().map(place).collect();
        if device.is_cpu() {
            let (output, mut all) = gradients(&inputs, &place(&weights), op);
            all.insert(0, output);
            return all;
        }
        // The loss Σ weights · output has the weights for a gradient; candle's kernels are left out of it.
        let mut tape = Tape::new();
        let leaves: Vec<Value> = inputs.iter().map(|input| tape.leaf(input.clone())).collect();
        let output = op(&mut tape, &leaves).unwrap();
        let weights = place(&weights);
        let one = Tensor::ones((), dtype, &Device::Cpu).unwrap().to_device(device).unwrap();
        let loss = tape.record(&[&output], one, || Given(weights));
        let mut grads = tape.backward(&loss).unwrap();
        let mut all = vec![output.into_tensor()];
        all.extend(leaves.iter().map(|leaf| grads.take(leaf).expect("a gradient")));
        all.iter().map(|tensor| tensor.to_device(&Device::Cpu).unwrap()).collect()
    };
    let (exact, near) = (run(DType::F64, &Device::Cpu), run(DType::F32, &Device::Cpu));
    let (found, again) = (run(DType::F32, &gpu()), run(DType::F32, &gpu()));
    for (index, ((exact, near), found)) in exact.iter().zip(&near).zip(&found).enumerate() {
        let (error, own) = (relative_error(found, exact), relative_error(near, exact));
        let name = if index == 0 { "output".to_owned() } else { format!("gradient of input {}", index - 1) };
        assert!(
            error <= bound.max(2.0 * own),
            "{what}, {name}: {error:e}, the CPU {own:e}, allowed {bound:e}"
        );
        assert_eq!(numbers(found), numbers(&again[index]), "{what}, {name}: two runs differ");
    }
}

/// Hands over the gradient it was given.
struct Given(Tensor);

impl crate::autograd::Backward for Given {
    fn backward(self: Box<Self>, _: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.0)])
    }
}

const ACTIVATIONS: [Activation; 6] = [
    Activation::None,
    Activation::Relu,
    Activation::Relu6,
    Activation::Silu,
    Activation::Sigmoid,
    Activation::Gelu,
];

#[test]
#[ignore = "asks for a GPU"]
fn cuda_elementwise() {
    let x = normal("x", &[3, 4, 5, 37]);
    for kind in &ACTIVATIONS[1..] {
        check(&format!("{kind:?}"), from_ref(&x), SHORT, &|tape, x| activation(tape, &x[0], *kind));
    }
    check("sum", &[x.clone(), normal("y", &[3, 4, 5, 37])], 0.0, &|tape, x| add(tape, &x[0], &x[1]));
    check("a sum of one", from_ref(&x), 0.0, &|tape, x| {
        let twice = add(tape, &x[0], &x[0])?;
        add(tape, &twice, &x[0])
    });
    check("scale", &[x, normal("scale", &[3, 37])], LONG, &|tape, x| scale_channels(tape, &x[0], &x[1]));
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
        check(&format!("{window:?}"), from_ref(&x), 0.0, &|tape, x| max_pool2d(tape, &x[0], window));
    }
    check("average", &[x], SHORT, &|tape, x| global_average_pool(tape, &x[0]));
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_linear() {
    for (rows, inputs, outputs) in [(5, 70, 33), (1, 4, 2), (32, 512, 10)] {
        let inputs = [normal("x", &[rows, inputs]), normal("w", &[outputs, inputs]), normal("b", &[outputs])];
        check("linear", &inputs, LONG, &|tape, x| linear(tape, &x[0], &x[1], Some(&x[2])));
        check("linear without bias", &inputs[..2], LONG, &|tape, x| linear(tape, &x[0], &x[1], None));
    }
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_convolution() {
    // [images, height, width, inputs, outputs], kernel, stride, padding, groups
    let cases = [
        ([2, 9, 7, 3, 8], [7, 7], [2, 2], [3; 4], 1),
        ([2, 8, 6, 12, 20], [1, 1], [1, 1], [0; 4], 1),
        ([2, 8, 6, 12, 20], [1, 1], [2, 2], [0; 4], 1),
        ([3, 8, 6, 33, 40], [3, 3], [1, 1], [1; 4], 1),
        ([2, 9, 7, 16, 8], [3, 3], [2, 2], [0, 0, 1, 1], 1),
        ([2, 6, 6, 8, 12], [3, 3], [1, 1], [1; 4], 4),
        ([2, 9, 8, 37, 37], [3, 3], [1, 1], [1; 4], 37),
        ([2, 9, 8, 37, 37], [5, 5], [2, 2], [2; 4], 37),
        ([2, 10, 8, 8, 8], [5, 3], [2, 1], [1, 1, 2, 1], 8),
        ([2, 12, 12, 8, 8], [7, 7], [1, 1], [3; 4], 8),
    ];
    for ([images, height, width, inputs, outputs], kernel, stride, padding, groups) in cases {
        let window = Window { kernel, stride, padding };
        let x = normal("x", &[images, height, width, inputs]);
        let weight = normal("w", &[outputs, inputs / groups, kernel[0], kernel[1]]);
        let bias = normal("b", &[outputs]);
        let what = format!("{window:?} over [{images}, {height}, {width}, {inputs}] in {groups} groups");
        check(&what, &[x.clone(), weight.clone()], LONG, &|tape, x| {
            conv2d(tape, &x[0], &x[1], None, window, groups)
        });
        check(&what, &[x, weight, bias], LONG, &|tape, x| {
            conv2d(tape, &x[0], &x[1], Some(&x[2]), window, groups)
        });
    }
}

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
                check(&what, inputs, LONG, &|tape, x| {
                    Ok(batch_norm_training(tape, &x[0], &x[1], &x[2], 1e-5, kind, x.get(3))?.0)
                });
                check(&format!("{what}, frozen"), inputs, LONG, &|tape, x| {
                    let like = x[0].tensor();
                    let place = |tensor: &Tensor| {
                        tensor.to_dtype(like.dtype()).unwrap().to_device(like.device()).unwrap()
                    };
                    let (mean, variance) = (place(&mean), place(&variance));
                    batch_norm_frozen(tape, &x[0], &x[1], &x[2], &mean, &variance, 1e-5, kind, x.get(3))
                });
            }
        }
    }
}

/// A gradient goes to some of the inputs alone, and statistics move as on the CPU, to the bit.
#[test]
#[ignore = "asks for a GPU"]
fn cuda_batch_norm_of_constants_and_its_statistics() {
    let run = |device: &Device, leaf: usize| {
        let place = |tensor: Tensor| tensor.to_dtype(DType::F32).unwrap().to_device(device).unwrap();
        let mut tape = Tape::new();
        let inputs = [normal("x", &[3, 4, 5, 6]), normal("w", &[6]), normal("b", &[6])].map(place);
        let values: Vec<Value> = (inputs.iter().enumerate())
            .map(
                |(i, input)| {
                    if i == leaf { tape.leaf(input.clone()) } else { Value::constant(input.clone()) }
                },
            )
            .collect();
        let (y, statistics) =
            batch_norm_training(&mut tape, &values[0], &values[1], &values[2], 1e-5, Activation::Relu, None)
                .unwrap();
        let weights = place(normal("weights", &[3, 4, 5, 6]));
        let one = Tensor::ones((), DType::F32, &Device::Cpu).unwrap().to_device(device).unwrap();
        let loss = tape.record(&[&y], one, || Given(weights));
        let gradient = tape.backward(&loss).unwrap().take(&values[leaf]).unwrap();
        let running = running_statistic(&inputs[1], &statistics.variance, 0.1).unwrap();
        [gradient, statistics.mean, running].map(|tensor| tensor.to_device(&Device::Cpu).unwrap())
    };
    for leaf in 0..3 {
        let ([cpu, mean, running], [gpu, other_mean, other]) = (run(&Device::Cpu, leaf), run(&gpu(), leaf));
        assert!(relative_error(&gpu, &cpu) <= LONG);
        assert!(relative_error(&other_mean, &mean) <= SHORT && relative_error(&other, &running) <= SHORT);
    }
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_losses_and_probabilities() {
    let labels = [2, 0, 299, 150, 7];
    for smoothing in [0.0, 0.1, 1.0] {
        let logits = (normal("logits", &[5, 300]) * 5.0).unwrap();
        check("cross-entropy", from_ref(&logits), LONG, &|tape, x| {
            Ok(cross_entropy(tape, &x[0], &labels, smoothing)?.0)
        });
        let run = |device: &Device| {
            let logits = logits.to_dtype(DType::F32).unwrap().to_device(device).unwrap();
            let losses =
                cross_entropy(&mut Tape::new(), &Value::constant(logits.clone()), &labels, smoothing)
                    .unwrap()
                    .1;
            (losses.read().unwrap(), softmax(&logits).unwrap().to_device(&Device::Cpu).unwrap())
        };
        let ((losses, probabilities), (expected, exact)) = (run(&gpu()), run(&Device::Cpu));
        assert!(
            losses.iter().zip(&expected).all(|(loss, expected)| (loss - expected).abs() <= 1e-12 * expected)
        );
        assert!(relative_error(&probabilities, &exact) <= SHORT);
    }
    let extreme = |logits: [f32; 3], device: &Device| {
        let logits =
            Value::constant(Tensor::new(&[logits], &Device::Cpu).unwrap().to_device(device).unwrap());
        cross_entropy(&mut Tape::new(), &logits, &[0], 0.0).unwrap().1.read().unwrap()[0]
    };
    let gpu = gpu();
    assert_eq!(extreme([1e38, -1e38, 0.0], &gpu), 0.0);
    assert!(
        extreme([f32::NAN, 0.0, 0.0], &gpu).is_nan() && extreme([0.0, f32::INFINITY, 0.0], &gpu).is_nan()
    );
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_transformers() {
    let rows = normal("x", &[3, 11, 70]).affine(2.0, 5.0).unwrap();
    let (weight, bias) = (normal("weight", &[70]), normal("bias", &[70]));
    check("layer norm", &[rows.clone(), weight.clone(), bias], LONG, &|tape, x| {
        layer_norm(tape, &x[0], &x[1], &x[2], 1e-6)
    });
    let gain = weight.reshape((70, 1, 1)).unwrap();
    check("layer scale", &[rows.clone(), gain, normal("residual", &[3, 11, 70])], LONG, &|tape, x| {
        layer_scale(tape, &x[0], &x[1], &x[2])
    });
    let inputs = [rows, normal("w", &[40, 70]), normal("b", &[40]), normal("r", &[3, 11, 40])];
    check("rows", &inputs, LONG, &|tape, x| pointwise(tape, &x[0], &x[1], &x[2], x.get(3)));
    check("rows without a residual", &inputs[..3], LONG, &|tape, x| {
        pointwise(tape, &x[0], &x[1], &x[2], None)
    });
    let inputs =
        [normal("patches", &[3, 2, 4, 24]), normal("token", &[1, 1, 24]), normal("places", &[1, 9, 24])];
    check("tokens", &inputs, SHORT, &|tape, x| tokens(tape, &x[0], &x[1], &x[2]));
    check("the first token", &[normal("tokens", &[3, 9, 24])], 0.0, &|tape, x| first_token(tape, &x[0]));
    for (tokens, heads) in [(9, 4), (150, 1), (1, 2)] {
        check(&format!("attention of {heads} heads"), &[normal("x", &[3, tokens, 72])], LONG, &|tape, x| {
            attention(tape, &x[0], heads)
        });
    }
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_cosines_and_their_losses() {
    let mut rows = normal("x", &[6, 300]);
    check("rows of a length", &[rows.clone()], SHORT, &|tape, x| normalize_rows(tape, &x[0], 16.0));
    rows = (normal("scores", &[6, 9]).tanh().unwrap() * 12.0).unwrap();
    let targets: Vec<Mixture> =
        (0..6).map(|row| Mixture { classes: [row, row + 3], share: 1.0 / f64::from(row + 1) }).collect();
    let arcface = Margin::Angle { margin: 0.5, easy: false };
    check("arcface", &[rows.clone()], LONG, &|tape, x| {
        let loss = MarginLoss { margin: arcface, scale: 16.0, class_weights: None };
        Ok(class_loss(tape, &x[0], &targets, &loss)?.mean)
    });
    check("focal", &[rows], LONG, &|tape, x| {
        Ok(class_loss(tape, &x[0], &targets, &Focal { gamma: 2.0, class_weights: None })?.mean)
    });
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_losses_of_labels_and_of_teachers() {
    let logits = (normal("logits", &[5, 7]) * 4.0).unwrap();
    let targets: Vec<f32> = (0..35u8).map(|place| f32::from(place % 3) / 2.0).collect();
    let weights = [0.5, 1.0, 2.0, 3.0, 1.0, 0.1, 7.0];
    check("binary cross-entropy", from_ref(&logits), LONG, &|tape, x| {
        Ok(binary_cross_entropy(tape, &x[0], &targets, Some(&weights))?.0)
    });
    let teacher = (normal("teacher", &[5, 7]) * 3.0).unwrap();
    check("a blend with a teacher's", from_ref(&logits), LONG, &|tape, x| {
        let like = x[0].tensor();
        let teacher = teacher.to_dtype(like.dtype()).unwrap().to_device(like.device()).unwrap();
        let taught = distillation(tape, &x[0], &teacher, 2.0)?;
        let told = cross_entropy(tape, &x[0], &[1, 0, 6, 3, 2], 0.1)?.0;
        blended(tape, &told, &taught, 0.3)
    });
    let run = |device: &Device| {
        let logits = logits.to_dtype(DType::F32).unwrap().to_device(device).unwrap();
        sigmoid(&logits).unwrap().to_device(&Device::Cpu).unwrap()
    };
    assert!(relative_error(&run(&gpu()), &run(&Device::Cpu)) <= SHORT);
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_draws_are_those_of_the_cpu() {
    let x = normal("x", &[7, 45]).to_dtype(DType::F32).unwrap();
    let run = |device: &Device| {
        let stream = |sample| Stream::new(1, Purpose::Dropout, 2, sample);
        let mut streams: Vec<Stream> = (0..7).map(stream).collect();
        let mut tape = Tape::new();
        let mut leaf = tape.leaf(x.to_device(device).unwrap());
        let first = leaf.clone();
        for p in [0.25, 0.5] {
            leaf = dropout(&mut tape, &leaf, p, &mut streams).unwrap();
            leaf = stochastic_depth(&mut tape, &leaf, p, &mut streams).unwrap();
        }
        let output = leaf.tensor().clone();
        let one = Tensor::ones((), DType::F32, &Device::Cpu).unwrap().to_device(device).unwrap();
        let weights = x.to_device(device).unwrap();
        let loss = tape.record(&[&leaf], one, || Given(weights));
        let gradient = tape.backward(&loss).unwrap().take(&first).unwrap();
        [output, gradient].map(|tensor| numbers(&tensor.to_device(&Device::Cpu).unwrap()))
    };
    assert_eq!(run(&gpu()), run(&Device::Cpu));
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_batches_come_over_as_they_are() {
    let device = gpu();
    let batches: Vec<Tensor> = [7, 5, 9, 3, 9]
        .iter()
        .map(|rows| normal(&format!("{rows}"), &[*rows, 11]).to_dtype(DType::F32).unwrap())
        .collect();
    let placed: Vec<Tensor> =
        batches.iter().map(|batch| crate::device::placed(batch, &device).unwrap()).collect();
    for (placed, batch) in placed.iter().zip(&batches) {
        assert_eq!(numbers(&placed.to_device(&Device::Cpu).unwrap()), numbers(batch));
    }
    let block = crate::cuda::block(&placed[0], 2, 5, 8).unwrap();
    let joined = crate::cuda::joined(&[block, placed[1].clone()]).unwrap().to_device(&Device::Cpu).unwrap();
    let joined = numbers(&joined);
    assert_eq!(joined[..55], numbers(&batches[0])[22..]);
    assert!(joined[55..88].iter().all(|number| *number == 0.0));
    assert_eq!(joined[88..], numbers(&batches[1]));
}
