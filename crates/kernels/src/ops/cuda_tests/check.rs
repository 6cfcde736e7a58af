//! Error bounds of CUDA operations, against f64 on the CPU with the same inputs. The error is max|Δ| /
//! max|expected|.
//!
//! In f32 it may be twice the CPU's f32 error, or the stated bound if sums are long. In half precision, bf16 or f16 as
//! in training, activations and their gradients have that type; parameters and their gradients, statistics and losses
//! are f32. All inputs are exact in both types, and sums are in f32 or wider. What remains is the rounding of results,
//! [`rounding`] each time, which every test counts, plus the f32 error.

use candle_core::{DType, Device, Tensor};

use crate::autograd::{Backward, Tape, Value};
use crate::error::Result;
use crate::ops::testing::{gradients, normal, numbers, relative_error};

/// For short sums: 8 units in the last place.
pub const SHORT: f64 = 8.0 * f32::EPSILON as f64;
/// For products and sums over some thousand elements.
pub const LONG: f64 = 4e-6;
/// The types of activations in half precision.
pub const HALVES: [DType; 2] = [DType::BF16, DType::F16];
/// The smallest positive number of f16.
const LEAST_F16: f64 = 1.0 / 16_777_216.0;

/// The largest relative change of a number by rounding: half a unit in the last place. bf16 has 8 bits of mantissa
/// including the implicit one, f16 has 11; f32 is not rounded.
pub fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => 1.0 / 256.0,
        DType::F16 => 1.0 / 2048.0,
        _ => 0.0,
    }
}

pub fn gpu() -> Device {
    crate::device::choose("cuda:0").expect("a GPU, or tests/cuda/emulated").device
}

/// f32, bf16 or f16 on the GPU.
pub fn to_gpu(tensor: &Tensor, dtype: DType) -> Tensor {
    tensor.to_dtype(DType::F32).unwrap().to_dtype(dtype).unwrap().to_device(&gpu()).unwrap()
}

/// Nearby values that are exact in bf16 and in f16, in f64.
pub fn nearest_half(tensor: &Tensor) -> Tensor {
    let rounded = HALVES.iter().fold(tensor.to_dtype(DType::F32).unwrap(), |rounded, dtype| {
        rounded.to_dtype(*dtype).unwrap().to_dtype(DType::F32).unwrap()
    });
    rounded.to_dtype(DType::F64).unwrap()
}

/// A statistic or a teacher's scores on the device of `like`: f64 if `like` is f64, otherwise f32.
pub fn on_device_of(like: &Tensor, tensor: &Tensor) -> Tensor {
    let dtype = if like.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    tensor.to_dtype(dtype).unwrap().to_device(like.device()).unwrap()
}

/// How an operation treats half precision.
pub struct HalfSupport<'a> {
    /// The inputs that are always f32: parameters.
    pub f32: &'a [usize],
    /// How often the output, and the gradient of each input, is rounded; zero if it is f32 or a copy.
    pub roundings: &'a [u32],
}

pub type Op<'a> = &'a dyn Fn(&mut Tape, &[Value]) -> Result<Value>;

/// Compares the output and all gradients of `op` on the GPU, in f32 and in half precision, with f64.
#[track_caller]
pub fn check(what: &str, inputs: &[Tensor], bound: f64, half: &HalfSupport, op: Op) {
    let results = 1 + inputs.len();
    assert_eq!(half.roundings.len(), results, "{what}: roundings of the output and of each gradient");
    compare(&format!("{what} in f32"), inputs, &vec![DType::F32; inputs.len()], &vec![bound; results], op);

    let inputs: Vec<Tensor> = inputs.iter().map(nearest_half).collect();
    for dtype in HALVES {
        let type_of = |input| if half.f32.contains(&input) { DType::F32 } else { dtype };
        let types: Vec<DType> = (0..inputs.len()).map(type_of).collect();
        let bounds = half.roundings.iter().map(|roundings| bound + f64::from(*roundings) * rounding(dtype));
        compare(&format!("{what} in {dtype:?}"), &inputs, &types, &bounds.collect::<Vec<_>>(), op);
    }
}

/// The same with inputs of these types, and a bound for the output and each gradient.
#[track_caller]
fn compare(what: &str, inputs: &[Tensor], types: &[DType], bounds: &[f64], op: Op) {
    let constants: Vec<Value> = inputs.iter().cloned().map(Value::constant).collect();
    let output = op(&mut Tape::new(), &constants).unwrap();
    let weights = nearest_half(&normal("weights of the output", output.tensor().dims()));
    let on_cpu = |dtype: DType| {
        let inputs: Vec<Tensor> = inputs.iter().map(|input| input.to_dtype(dtype).unwrap()).collect();
        let (output, mut all) = gradients(&inputs, &weights.to_dtype(dtype).unwrap(), op);
        all.insert(0, output);
        all
    };
    let on_gpu = || -> Vec<Tensor> {
        let mut tape = Tape::new();
        let leaves: Vec<Value> =
            inputs.iter().zip(types).map(|(input, dtype)| tape.leaf(to_gpu(input, *dtype))).collect();
        let output = op(&mut tape, &leaves).unwrap();
        // The loss Σ weights · output has the weights as its gradient, without using candle's kernels.
        let weights = to_gpu(&weights, output.tensor().dtype());
        let loss = tape.record(&[&output], to_gpu(&one(), DType::F32), || PassThrough(weights));
        let mut grads = tape.backward(&loss).unwrap();
        let mut all = vec![output.into_tensor()];
        for (leaf, dtype) in leaves.iter().zip(types) {
            let gradient = grads.take(leaf).expect("a gradient");
            assert_eq!(gradient.dtype(), *dtype, "{what}: a gradient is of its input's type");
            all.push(gradient);
        }
        all.iter().map(|tensor| tensor.to_device(&Device::Cpu).unwrap()).collect()
    };
    let (exact, near) = (on_cpu(DType::F64), on_cpu(DType::F32));
    let (found, again) = (on_gpu(), on_gpu());
    for (index, found) in found.iter().enumerate() {
        let (error, own) =
            (relative_error(found, &exact[index]), relative_error(&near[index], &exact[index]));
        let name = if index == 0 { "output".to_owned() } else { format!("gradient of input {}", index - 1) };
        // Numbers of f16 have fewer bits the smaller they are.
        let largest =
            numbers(&exact[index]).into_iter().fold(0.0, |most: f64, number| most.max(number.abs()));
        let has_small = types.contains(&DType::F16) && largest > 0.0;
        let bound = bounds[index] + if has_small { LEAST_F16 / largest } else { 0.0 };
        // For `--show-output`: how close to its bound each error is.
        println!("{what}, {name}: {error:.1e} of {bound:.1e}");
        assert!(
            error <= bound.max(2.0 * own),
            "{what}, {name}: {error:e}, the CPU {own:e}, allowed {bound:e}"
        );
        assert_eq!(numbers(found), numbers(&again[index]), "{what}, {name}: two runs differ");
    }
}

/// A loss to start the backward pass from.
pub fn one() -> Tensor {
    Tensor::ones((), DType::F32, &Device::Cpu).unwrap()
}

/// Passes its gradient on unchanged.
pub struct PassThrough(pub Tensor);

impl Backward for PassThrough {
    fn backward(self: Box<Self>, _: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.0)])
    }
}
