//! Shared test code of operations: finite differences, PyTorch's fixtures, thread pools.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};

use crate::autograd::{Backward, Tape, Value};
use crate::error::Result;
use crate::random::{Purpose, Stream, name_hash};

/// Standard normal numbers in f64, determined by `name`.
pub fn normal(name: &str, shape: &[usize]) -> Tensor {
    let mut stream = Stream::new(0, Purpose::Initialize, 0, name_hash(name));
    let data: Vec<f64> = (0..shape.iter().product()).map(|_| stream.normal()).collect();
    Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
}

/// All numbers of an f32 or f64 tensor, widened to f64.
pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// max|Δ| / max|expected|.
pub fn relative_error(actual: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(actual.dims(), expected.dims(), "shapes differ");
    let (actual, expected) = (numbers(actual), numbers(expected));
    let largest = expected.iter().fold(f64::MIN_POSITIVE, |max, x| max.max(x.abs()));
    let difference = actual.iter().zip(&expected).map(|(a, e)| (a - e).abs());
    // A NaN has infinite error.
    difference.fold(0.0, |max: f64, d| if d.is_nan() { f64::INFINITY } else { max.max(d) }) / largest
}

#[track_caller]
pub fn assert_close(what: &str, actual: &Tensor, expected: &Tensor, bound: f64) {
    let error = relative_error(actual, expected);
    assert!(error <= bound, "{what}: relative error {error:e}, allowed {bound:e}");
}

/// Σ weights · x, which makes any output a scalar with different gradients per element.
pub fn weighted_sum(tape: &mut Tape, x: &Value, weights: &Tensor) -> Value {
    struct WeightedSum(Tensor);
    impl Backward for WeightedSum {
        fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
            Ok(vec![Some(self.0.broadcast_mul(&grad)?)])
        }
    }
    let sum = (x.tensor() * weights).unwrap().sum_all().unwrap();
    tape.record(&[x], sum, || WeightedSum(weights.clone()))
}

/// The output of `op` on leaves, and the gradients of Σ weights · output for all of them.
pub fn gradients(
    inputs: &[Tensor],
    weights: &Tensor,
    op: impl Fn(&mut Tape, &[Value]) -> Result<Value>,
) -> (Tensor, Vec<Tensor>) {
    let mut tape = Tape::new();
    let leaves: Vec<Value> = inputs.iter().map(|input| tape.leaf(input.clone())).collect();
    let output = op(&mut tape, &leaves).unwrap();
    let loss = weighted_sum(&mut tape, &output, weights);
    let mut grads = tape.backward(&loss).unwrap();
    let grads = leaves.iter().map(|leaf| grads.take(leaf).expect("the output depends on every input"));
    (output.into_tensor(), grads.collect())
}

/// Compares the gradients of `op` for every element of every f64 input with central differences: with all inputs
/// as leaves, and with each as the only one. Inputs must be more than 1e-4 away from kinks.
#[track_caller]
pub fn check_gradients(inputs: &[Tensor], op: impl Fn(&mut Tape, &[Value]) -> Result<Value>) {
    const STEP: f64 = 1e-5;
    const BOUND: f64 = 1e-7;
    let constants =
        |inputs: &[Tensor]| -> Vec<Value> { inputs.iter().cloned().map(Value::constant).collect() };
    let output = op(&mut Tape::new(), &constants(inputs)).unwrap();
    assert!(output.is_constant(), "constants must leave nothing on the tape");
    let weights = normal("weights of the output", output.tensor().dims());
    let loss = |inputs: &[Tensor]| -> f64 {
        let output = op(&mut Tape::new(), &constants(inputs)).unwrap();
        numbers(output.tensor()).iter().zip(numbers(&weights)).map(|(x, weight)| x * weight).sum()
    };
    let (_, together) = gradients(inputs, &weights, &op);
    for (index, input) in inputs.iter().enumerate() {
        let differences: Vec<f64> = (0..input.elem_count())
            .map(|at| {
                let moved = |by: f64| {
                    let mut data = numbers(input);
                    data[at] += by;
                    let mut inputs = inputs.to_vec();
                    inputs[index] = Tensor::from_vec(data, input.dims(), &Device::Cpu).unwrap();
                    loss(&inputs)
                };
                (moved(STEP) - moved(-STEP)) / (2.0 * STEP)
            })
            .collect();
        let differences = Tensor::from_vec(differences, input.dims(), &Device::Cpu).unwrap();
        assert_close(&format!("gradient of input {index}"), &together[index], &differences, BOUND);

        let mut tape = Tape::new();
        let mut values = constants(inputs);
        values[index] = tape.leaf(input.clone());
        let output = op(&mut tape, &values).unwrap();
        let loss = weighted_sum(&mut tape, &output, &weights);
        let alone = tape.backward(&loss).unwrap().take(&values[index]).expect("a gradient of the only leaf");
        assert_close(&format!("gradient of input {index} alone"), &alone, &together[index], 1e-14);
    }
}

/// Runs `compute` on one, two and three threads and asserts that all tensors have the same bits.
#[track_caller]
pub fn assert_same_on_any_threads(compute: impl Fn() -> Vec<Tensor> + Sync) {
    let bits = |threads| -> Vec<Vec<u64>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let tensors = pool.install(&compute);
        tensors.iter().map(|tensor| numbers(tensor).iter().map(|x| x.to_bits()).collect()).collect()
    };
    let one = bits(1);
    assert_eq!(one, bits(2), "two threads");
    assert_eq!(one, bits(3), "three threads");
}

/// Tensors computed by PyTorch, from `tests/fixtures/ops/NAME.safetensors`: each in f64 (`x`), and in f32 from
/// the same inputs (`x.f32`).
pub struct Fixture(HashMap<String, Tensor>);

impl Fixture {
    pub fn open(name: &str) -> Self {
        let path = format!("{}/../../tests/fixtures/ops/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        Self(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }

    /// PyTorch's f64 tensor.
    #[track_caller]
    pub fn get(&self, name: &str) -> Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("the fixture has no `{name}`")).clone()
    }

    /// An input, converted to `dtype`.
    pub fn input(&self, name: &str, dtype: DType) -> Tensor {
        self.get(name).to_dtype(dtype).unwrap()
    }

    /// Asserts the scalar `op` of the named inputs, `PREFIX.y`, and its gradients, `PREFIX.INPUT`, in both types.
    #[track_caller]
    pub fn assert_gradients(
        &self,
        prefix: &str,
        inputs: &[&str],
        op: impl Fn(&mut Tape, &[Value]) -> Result<Value>,
    ) {
        for dtype in [DType::F32, DType::F64] {
            let one = Tensor::ones((), dtype, &Device::Cpu).unwrap();
            let tensors: Vec<Tensor> = inputs.iter().map(|name| self.input(name, dtype)).collect();
            let (y, grads) = gradients(&tensors, &one, &op);
            self.assert(&format!("{prefix}.y"), &y);
            for (name, grad) in inputs.iter().zip(&grads) {
                self.assert(&format!("{prefix}.{name}"), grad);
            }
        }
    }

    /// Asserts that `actual` is close to PyTorch's f64: to 1e-12 in f64; in f32 within twice the error of
    /// PyTorch's own f32, or 4 units in the last place of the largest element if PyTorch's error is smaller by
    /// chance.
    #[track_caller]
    pub fn assert(&self, name: &str, actual: &Tensor) {
        let expected = self.get(name);
        let bound = match actual.dtype() {
            DType::F32 => {
                let own = relative_error(&self.get(&format!("{name}.f32")), &expected);
                (2.0 * own).max(4.0 * f64::from(f32::EPSILON))
            }
            _ => 1e-12,
        };
        assert_close(&format!("{name} in {:?}", actual.dtype()), actual, &expected, bound);
    }
}
