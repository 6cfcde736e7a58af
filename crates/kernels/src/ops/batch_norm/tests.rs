use candle_core::{DType, Device, Tensor};

use super::*;
use crate::autograd::{Tape, Value};
use crate::error::Result;
use crate::ops::Activation;
use crate::ops::testing::{
    Fixture, assert_close, assert_same_on_any_threads, check_gradients, gradients, normal, numbers,
};

const EPS: f64 = 1e-5;
const ACTIVATIONS: [(Activation, &str); 4] = [
    (Activation::None, "none"),
    (Activation::Relu, "relu"),
    (Activation::Relu6, "relu6"),
    (Activation::Silu, "silu"),
];

fn training(tape: &mut Tape, inputs: &[Value], activation: Activation) -> Result<Value> {
    Ok(batch_norm_training(tape, &inputs[0], &inputs[1], &inputs[2], EPS, activation, inputs.get(3))?.0)
}

fn frozen(
    tape: &mut Tape,
    inputs: &[Value],
    statistics: &[Tensor; 2],
    activation: Activation,
) -> Result<Value> {
    let [mean, var] = statistics;
    batch_norm_frozen(tape, &inputs[0], &inputs[1], &inputs[2], mean, var, EPS, activation, inputs.get(3))
}

/// x, weight, bias and residual; the weights are large enough that ReLU6 clamps on both sides.
fn inputs(shape: &[usize]) -> Vec<Tensor> {
    let channels = &shape[shape.len() - 1..];
    let weight = (normal("weight", channels) * 4.0).unwrap();
    vec![normal("x", shape), weight, normal("bias", channels), normal("residual", shape)]
}

fn running(channels: usize) -> [Tensor; 2] {
    let var = normal("running_var", &[channels]).sqr().unwrap();
    [normal("running_mean", &[channels]), (var + 0.5).unwrap()]
}

#[test]
fn gradients_agree_with_finite_differences() {
    let inputs = inputs(&[2, 3, 2, 5]);
    let statistics = running(5);
    for (activation, _) in ACTIVATIONS {
        for inputs in [&inputs[..3], &inputs[..]] {
            check_gradients(inputs, |tape, inputs| training(tape, inputs, activation));
            check_gradients(inputs, |tape, inputs| frozen(tape, inputs, &statistics, activation));
        }
    }
}

#[test]
fn pytorch_agrees() {
    let fixture = Fixture::open("batch_norm");
    for dtype in [DType::F32, DType::F64] {
        let all = ["x", "weight", "bias", "residual"].map(|name| fixture.input(name, dtype));
        let weights = fixture.input("weights", dtype);
        let statistics = ["running_mean", "running_var"].map(|name| fixture.input(name, dtype));
        for (activation, name) in ACTIVATIONS {
            for (mode, inputs) in [("plain", &all[..3]), ("residual", &all[..])] {
                let trained = gradients(inputs, &weights, |tape, inputs| training(tape, inputs, activation));
                let frozen =
                    gradients(inputs, &weights, |tape, inputs| frozen(tape, inputs, &statistics, activation));
                for (kind, (y, grads)) in [("training", trained), ("frozen", frozen)] {
                    fixture.assert(&format!("{kind}.{name}.{mode}.y"), &y);
                    for (grad, input) in grads.iter().zip(["x", "weight", "bias", "residual"]) {
                        fixture.assert(&format!("{kind}.{name}.{mode}.{input}"), grad);
                    }
                }
            }
        }
        let values: Vec<Value> = all[..3].iter().cloned().map(Value::constant).collect();
        let (_, statistics) = batch_norm_training(
            &mut Tape::new(),
            &values[0],
            &values[1],
            &values[2],
            EPS,
            Activation::None,
            None,
        )
        .unwrap();
        fixture.assert("batch_mean", &statistics.mean);
        fixture.assert("batch_var", &statistics.variance);
    }
}

/// Here Σx² − (Σx)² would lose the whole variance, and a mean rounded to f32 would be wrong by a tenth of the
/// deviation.
#[test]
fn a_mean_far_from_zero_costs_no_digits() {
    let (rows, offset) = (5000, 16384.0);
    let x = normal("x", &[rows, 3]).affine(0.01, offset).unwrap().to_dtype(DType::F32).unwrap();
    let one = |value| Tensor::full(value, 3, &Device::Cpu).unwrap();
    let run = |dtype| {
        let x = Value::constant(x.to_dtype(dtype).unwrap());
        let [weight, bias] = [1f64, 0.0].map(|value| Value::constant(one(value).to_dtype(dtype).unwrap()));
        batch_norm_training(&mut Tape::new(), &x, &weight, &bias, 0.0, Activation::None, None).unwrap()
    };
    let (narrow, narrow_statistics) = run(DType::F32);
    let (wide, wide_statistics) = run(DType::F64);
    assert_close("variance", &narrow_statistics.variance, &wide_statistics.variance, 1e-6);
    assert_close("y", narrow.tensor(), wide.tensor(), 1e-6);
}

#[test]
fn threads_do_not_matter() {
    let inputs: Vec<Tensor> =
        inputs(&[2, 19, 17, 70]).iter().map(|input| input.to_dtype(DType::F32).unwrap()).collect();
    let statistics = running(70).map(|tensor| tensor.to_dtype(DType::F32).unwrap());
    assert_same_on_any_threads(|| {
        let weights = inputs[3].clone();
        let (y, mut all) =
            gradients(&inputs, &weights, |tape, inputs| training(tape, inputs, Activation::Relu));
        let (frozen_y, frozen_all) =
            gradients(&inputs, &weights, |tape, inputs| frozen(tape, inputs, &statistics, Activation::Relu6));
        all.extend(frozen_all);
        all.extend([y, frozen_y]);
        all
    });
}

#[test]
fn a_frozen_row_depends_on_no_other() {
    let inputs: Vec<Value> = inputs(&[9, 4, 4, 6]).into_iter().map(Value::constant).collect();
    let statistics = running(6);
    let whole = frozen(&mut Tape::new(), &inputs, &statistics, Activation::Relu).unwrap();
    let last = |value: &Value| value.tensor().narrow(0, 8, 1).unwrap();
    let mut alone = inputs.clone();
    alone[0] = Value::constant(last(&inputs[0]));
    alone[3] = Value::constant(last(&inputs[3]));
    let alone = frozen(&mut Tape::new(), &alone, &statistics, Activation::Relu).unwrap();
    assert_eq!(numbers(&last(&whole)), numbers(alone.tensor()));
}

#[test]
fn one_value_per_channel_is_an_error() {
    let inputs: Vec<Value> = inputs(&[1, 1, 1, 4]).into_iter().map(Value::constant).collect();
    let error = training(&mut Tape::new(), &inputs, Activation::None).unwrap_err();
    assert!(error.message.contains("more than one value per channel"), "{error}");
    assert!(frozen(&mut Tape::new(), &inputs, &running(5), Activation::None).is_err(), "shapes must agree");
}
