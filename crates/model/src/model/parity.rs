//! The architectures against PyTorch: logits, gradients and running statistics, on weights that both sides make by
//! formula (`tests/fixtures/model/make.py`). In float64 the two must agree to rounding; in float32 we may stray from
//! PyTorch's float64 at most twice as far as PyTorch's own float32 does.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;

use super::*;
use crate::autograd::Value;
use crate::ops;
use crate::pipeline::{self, Arch};

#[derive(Deserialize)]
struct Fixture {
    /// Names and shapes, with a head for 1000 classes.
    state_dict: Option<Vec<String>>,
    /// Of these lines, in place of them; and how many numbers the parameters have.
    digest: Option<String>,
    parameters: Option<usize>,
    inference: Option<Inference>,
    training: Option<Training>,
}

#[derive(Deserialize)]
struct Inference {
    input: String,
    shape: [usize; 4],
    logits: Vec<f64>,
    error: f64,
}

#[derive(Deserialize)]
struct Training {
    input: String,
    shape: [usize; 4],
    logits: Sample,
    loss: Sample,
    gradients: BTreeMap<String, Sample>,
    buffers: BTreeMap<String, Sample>,
}

/// Some elements of a tensor, and what judges them.
#[derive(Deserialize)]
pub(super) struct Sample {
    places: Vec<usize>,
    values: Vec<f64>,
    norm: f64,
    scale: f64,
    /// PyTorch's float32 against its float64, relative to `scale`.
    pub(super) error: f64,
}

thread_local! {
    /// Where a test's networks compute.
    static DEVICE: std::cell::RefCell<Device> = const { std::cell::RefCell::new(Device::Cpu) };
}

pub(super) fn device() -> Device {
    DEVICE.with_borrow(Clone::clone)
}

#[cfg(feature = "cuda")]
pub(super) fn compute_on_gpu() {
    DEVICE.set(crate::device::choose("cuda:0").unwrap().device);
}

/// How many times PyTorch's own error is allowed: sums on GPUs, and those of NVIDIA's libraries, go in orders of their own.
fn patience() -> f64 {
    if device().is_cpu() { 2.0 } else { 4.0 }
}

fn fixture(arch: &str) -> Fixture {
    // Cargo runs tests in the project's folder, and tests/cuda/suite in the one they were carried in.
    let path = format!("../../tests/fixtures/model/{arch}.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn fnv1a64(text: &str) -> u64 {
    text.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// Numbers in [−1, 1) that both sides can make.
pub(super) fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let fnv1a = fnv1a64(name);
    (0..count as u64).map(move |index| {
        let z = index.wrapping_add(fnv1a).wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let z = z ^ (z >> 31);
        (z >> 40) as f64 / f64::from(1 << 23) - 1.0
    })
}

pub(super) fn weights(spec: &TensorSpec, dtype: DType) -> Tensor {
    if spec.role == TensorRole::BatchCount {
        return Tensor::new(3i64, &Device::Cpu).unwrap();
    }
    let (name, shape) = (spec.name.as_str(), spec.shape.as_slice());
    let ends_block =
        ["bn2.", "bn3.", "block.2.1.", "block.3.1.", "f.c.1."].iter().any(|part| name.contains(part));
    let half = if ends_block { 0.5 } else { 1.0 };
    if spec.role == TensorRole::Constant {
        return super::super::weights::initialize(spec, 0).unwrap().to_dtype(dtype).unwrap();
    }
    let number = |u: f64| match (spec.role, shape) {
        (TensorRole::Weight, [_, inputs, height, width]) => {
            u * (6.0 / (inputs * height * width) as f64).sqrt()
        }
        (TensorRole::Weight, [_] | [_, _, _]) => 0.2 * u,
        (TensorRole::Weight, _) => u * (3.0 / shape[1] as f64).sqrt(),
        (TensorRole::RunningVar, _) => 0.5 + u * u,
        (TensorRole::NormWeight, _) => (1.0 + 0.2 * u) * half,
        _ => 0.2 * u,
    };
    let numbers: Vec<f32> = uniform(name, spec.elements()).map(|u| number(u) as f32).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

pub(super) fn images(name: &str, shape: [usize; 4], dtype: DType) -> Value {
    let numbers: Vec<f64> = uniform(name, shape.iter().product()).map(|u| 2.0 * u).collect();
    let tensor = Tensor::from_vec(numbers, shape.as_slice(), &Device::Cpu).unwrap();
    Value::constant(tensor.to_dtype(dtype).unwrap().to_device(&device()).unwrap())
}

fn model(arch: Arch, dtype: DType) -> (Model, StateDict) {
    let model = Model::build_for(&pipeline::Model::of(arch), 10, 32);
    // Half of a number is exact.
    let of = |spec: &TensorSpec| match (arch, spec.role) {
        (Arch::EfficientNetV2S, TensorRole::NormWeight) => weights(spec, dtype).affine(0.5, 0.0).unwrap(),
        _ => weights(spec, dtype),
    };
    let tensors = model.description.tensors.iter().map(of).collect();
    (model, StateDict { tensors }.to_device(&device()).unwrap())
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor
        .to_device(&Device::Cpu)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_dtype(DType::F64)
        .unwrap()
        .to_vec1()
        .unwrap()
}

/// The logits of images, or of what crosses a cut.
fn scores(model: &Model, pass: &mut Pass, from: usize, input: impl Into<Activations>) -> Value {
    model.forward(pass, from, input).unwrap().logits().unwrap().clone()
}

fn check_inference(arch: Arch, name: &str, dtype: DType) {
    let Inference { input, shape, logits, error } = fixture(name).inference.unwrap();
    let (model, state) = model(arch, dtype);
    let mut pass = Pass::inference(&state);
    let output = scores(&model, &mut pass, 0, images(&input, shape, dtype));
    let largest = logits.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    let strayed =
        numbers(output.tensor()).iter().zip(&logits).fold(0.0f64, |worst, (x, y)| worst.max((x - y).abs()));
    let bound = if dtype == DType::F64 { 1e-12 } else { patience() * error };
    assert!(strayed / largest <= bound, "{name} {dtype:?}: {:e} of {bound:e}", strayed / largest);
}

/// Sizes of families of which another size is followed through training, and their tensors known by a digest.
const OTHER_SIZES: [(Arch, &str); 11] = [
    (Arch::EfficientNetB4, "efficientnet_b4"),
    (Arch::ConvNextSmall, "convnext_small"),
    (Arch::ConvNextBase, "convnext_base"),
    (Arch::MobileNetV3Large, "mobilenet_v3_large"),
    (Arch::RegNetY800Mf, "regnet_y_800mf"),
    (Arch::RegNetY1_6Gf, "regnet_y_1_6gf"),
    (Arch::RegNetY3_2Gf, "regnet_y_3_2gf"),
    (Arch::RegNetY8Gf, "regnet_y_8gf"),
    (Arch::RegNetY16Gf, "regnet_y_16gf"),
    (Arch::DinoV2VitB14, "dinov2_vitb14"),
    (Arch::DinoV2VitL14, "dinov2_vitl14"),
];

#[test]
fn logits_are_pytorchs() {
    for (arch, name) in [
        (Arch::ResNet18, "resnet18"),
        (Arch::ResNet34, "resnet34"),
        (Arch::ResNet50, "resnet50"),
        (Arch::ResNet101, "resnet101"),
        (Arch::ResNet152, "resnet152"),
        (Arch::MobileNetV2, "mobilenet_v2"),
        (Arch::EfficientNetB0, "efficientnet_b0"),
        (Arch::EfficientNetLite0, "efficientnet_lite0"),
        (Arch::EfficientNetB1, "efficientnet_b1"),
        (Arch::EfficientNetB2, "efficientnet_b2"),
        (Arch::EfficientNetB3, "efficientnet_b3"),
        (Arch::ConvNextTiny, "convnext_tiny"),
        (Arch::VitS16, "vit_s_16"),
        (Arch::VitB16, "vit_b_16"),
        (Arch::DinoV2VitS14, "dinov2_vits14"),
        (Arch::ClipVitB32, "clip_vit_b32"),
        (Arch::SiglipBase16, "siglip_base_patch16_224"),
        (Arch::MobileNetV3Small, "mobilenet_v3_small"),
        (Arch::EfficientNetV2S, "efficientnet_v2_s"),
        (Arch::RegNetY400Mf, "regnet_y_400mf"),
        (Arch::SwinT, "swin_t"),
    ] {
        check_inference(arch, name, DType::F32);
    }
    for (arch, name) in OTHER_SIZES {
        if arch != Arch::DinoV2VitL14 {
            check_inference(arch, name, DType::F32);
        }
    }
    check_inference(Arch::ResNet18, "resnet18", DType::F64);
    check_inference(Arch::ResNet50, "resnet50", DType::F64);
    check_inference(Arch::MobileNetV2, "mobilenet_v2", DType::F64);
    check_inference(Arch::EfficientNetB0, "efficientnet_b0", DType::F64);
    check_inference(Arch::EfficientNetLite0, "efficientnet_lite0", DType::F64);
    check_inference(Arch::ConvNextTiny, "convnext_tiny", DType::F64);
    check_inference(Arch::VitS16, "vit_s_16", DType::F64);
    check_inference(Arch::DinoV2VitS14, "dinov2_vits14", DType::F64);
    check_inference(Arch::MobileNetV3Small, "mobilenet_v3_small", DType::F64);
    check_inference(Arch::EfficientNetV2S, "efficientnet_v2_s", DType::F64);
    check_inference(Arch::RegNetY400Mf, "regnet_y_400mf", DType::F64);
    check_inference(Arch::SwinT, "swin_t", DType::F64);
}

/// The names and shapes of all tensors, and how many numbers the parameters have.
fn state_dict(arch: Arch) -> (Vec<String>, usize) {
    let Description { tensors, .. } = Model::build(&pipeline::Model::of(arch), 1000).description;
    let line = |tensor: &TensorSpec| format!("{} {:?}", tensor.name, tensor.shape);
    let parameters = tensors.iter().filter(|tensor| tensor.role.is_parameter());
    (tensors.iter().map(line).collect(), parameters.map(TensorSpec::elements).sum())
}

#[test]
fn tensors_are_those_of_the_published_state_dicts() {
    for (arch, name) in [
        (Arch::MobileNetV2, "mobilenet_v2"),
        (Arch::EfficientNetB0, "efficientnet_b0"),
        (Arch::EfficientNetB1, "efficientnet_b1"),
        (Arch::EfficientNetB2, "efficientnet_b2"),
        (Arch::EfficientNetB3, "efficientnet_b3"),
        (Arch::ConvNextTiny, "convnext_tiny"),
        (Arch::VitS16, "vit_s_16"),
        (Arch::VitB16, "vit_b_16"),
        (Arch::DinoV2VitS14, "dinov2_vits14"),
        (Arch::ClipVitB32, "clip_vit_b32"),
        (Arch::SiglipBase16, "siglip_base_patch16_224"),
        (Arch::MobileNetV3Small, "mobilenet_v3_small"),
        (Arch::EfficientNetV2S, "efficientnet_v2_s"),
        (Arch::RegNetY400Mf, "regnet_y_400mf"),
        (Arch::SwinT, "swin_t"),
    ] {
        let (lines, _) = state_dict(arch);
        assert_eq!(lines, fixture(name).state_dict.unwrap());
    }
    for (arch, name) in OTHER_SIZES {
        let (lines, parameters) = state_dict(arch);
        let Fixture { digest, parameters: expected, .. } = fixture(name);
        assert_eq!(parameters, expected.unwrap(), "{name}");
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(format!("{:016x}", fnv1a64(&text)), digest.unwrap(), "{name}: {lines:#?}");
    }
}

/// The worst of a tensor's stored elements and of its norm, as a share of what is allowed. `floor` is an error that
/// what is compared inherits in any case: PyTorch's own error in one number or a few may be small by luck.
pub(super) fn strain(tensor: &Tensor, sample: &Sample, floor: f64, dtype: DType) -> f64 {
    let found = numbers(tensor);
    let values = sample.places.iter().map(|&place| found[place]).zip(&sample.values);
    let worst = values.fold(0.0f64, |worst, (x, y)| worst.max((x - y).abs()));
    let norm = found.iter().map(|x| x * x).sum::<f64>().sqrt();
    // The norm moves by no more than all elements together.
    let norm = (norm - sample.norm).abs() / (found.len() as f64).sqrt();
    let allowed = if dtype == DType::F64 { 1e-10 } else { patience() * sample.error.max(floor) };
    worst.max(norm) / sample.scale / allowed
}

fn check_training(arch: Arch, name: &str, dtype: DType) {
    let Training { input, shape, logits, loss, gradients, buffers } = fixture(name).training.unwrap();
    let (model, state) = model(arch, dtype);
    let trainable: Vec<bool> =
        model.description.tensors.iter().map(|tensor| tensor.role.is_parameter()).collect();
    let norms = vec![NormMode::Training; model.description.norms.len()];
    let samples: Vec<u64> = (0..shape[0] as u64).collect();
    let mut pass = Pass::training(&state, &trainable, &norms, 0, 0, &samples);
    let output = scores(&model, &mut pass, 0, images(&input, shape, dtype));
    let labels: Vec<u32> = (0..shape[0] as u32).map(|label| label % 10).collect();
    let (value, _) = ops::cross_entropy(pass.tape(), &output, &labels, 0.0).unwrap();
    let mut strains = vec![
        (strain(output.tensor(), &logits, 0.0, dtype), "logits".to_owned()),
        (strain(value.tensor(), &loss, logits.error, dtype), "loss".to_owned()),
    ];
    let (found, updated) = pass.backward(&value).unwrap();
    assert_eq!(found.len(), gradients.len());
    // What PyTorch's float32 loses in half of the gradients, and in nine of ten: in a few numbers it may have lost less by luck.
    let mut errors: Vec<f64> = gradients.values().map(|sample| sample.error).collect();
    errors.sort_by(f64::total_cmp);
    let [usual, high] = [5, 9].map(|tenths| logits.error.max(errors[errors.len() * tenths / 10]));
    // The inputs are ones with which no activation falls on the other side of zero or six, there and here. With the roundings
    // of a GPU some do, and move all gradients above them: where there are such clamps, a tenth is allowed.
    let clamps = [
        Arch::ResNet18,
        Arch::MobileNetV2,
        Arch::EfficientNetLite0,
        Arch::MobileNetV3Small,
        Arch::RegNetY400Mf,
    ]
    .contains(&arch);
    let coarse = if clamps && !device().is_cpu() { 0.1 / patience() } else { 0.0 };
    for (id, gradient) in found {
        let spec = &model.description.tensors[id];
        let floor = if spec.elements() < 16 { high } else { usual }.max(coarse);
        let strain = strain(&gradient.unwrap(), &gradients[&spec.name], floor, dtype);
        strains.push((strain, spec.name.clone()));
    }
    assert_eq!(updated.len(), 3 * norms.len());
    for (id, tensor) in state.updated(&updated).unwrap() {
        let spec = &model.description.tensors[id];
        match spec.role {
            TensorRole::BatchCount => assert_eq!(tensor.to_scalar::<i64>().unwrap(), 4),
            _ => strains.push((
                strain(&tensor, &buffers[&spec.name], f64::from(f32::EPSILON), dtype),
                spec.name.clone(),
            )),
        }
    }
    let over: Vec<_> = strains.iter().filter(|(strain, _)| *strain > 1.0).collect();
    assert!(over.is_empty(), "{name} {dtype:?}: {over:?}");
}

#[test]
fn a_training_step_is_pytorchs() {
    for dtype in [DType::F64, DType::F32] {
        check_training(Arch::ResNet18, "resnet18", dtype);
        check_training(Arch::MobileNetV2, "mobilenet_v2", dtype);
        check_training(Arch::EfficientNetB0, "efficientnet_b0", dtype);
        check_training(Arch::EfficientNetLite0, "efficientnet_lite0", dtype);
        check_training(Arch::EfficientNetB1, "efficientnet_b1", dtype);
        check_training(Arch::EfficientNetB2, "efficientnet_b2", dtype);
        check_training(Arch::EfficientNetB3, "efficientnet_b3", dtype);
        check_training(Arch::ConvNextTiny, "convnext_tiny", dtype);
        check_training(Arch::VitS16, "vit_s_16", dtype);
        check_training(Arch::MobileNetV3Small, "mobilenet_v3_small", dtype);
        check_training(Arch::EfficientNetV2S, "efficientnet_v2_s", dtype);
        check_training(Arch::RegNetY400Mf, "regnet_y_400mf", dtype);
        check_training(Arch::SwinT, "swin_t", dtype);
    }
}

/// `cuda/cargo test --lib -- --ignored cuda`, with a GPU or tests/cuda/emulated.
#[cfg(feature = "cuda")]
#[test]
#[ignore = "asks for a GPU"]
fn cuda_networks_are_pytorchs() {
    compute_on_gpu();
    for (arch, name) in [
        (Arch::ResNet18, "resnet18"),
        (Arch::ResNet50, "resnet50"),
        (Arch::MobileNetV2, "mobilenet_v2"),
        (Arch::EfficientNetB0, "efficientnet_b0"),
        (Arch::EfficientNetLite0, "efficientnet_lite0"),
        (Arch::ConvNextTiny, "convnext_tiny"),
        (Arch::VitS16, "vit_s_16"),
        (Arch::DinoV2VitS14, "dinov2_vits14"),
        (Arch::MobileNetV3Small, "mobilenet_v3_small"),
        (Arch::EfficientNetV2S, "efficientnet_v2_s"),
        (Arch::RegNetY400Mf, "regnet_y_400mf"),
        (Arch::SwinT, "swin_t"),
    ] {
        check_inference(arch, name, DType::F32);
        if !["resnet50", "dinov2_vits14"].contains(&name) {
            check_training(arch, name, DType::F32);
        }
    }
}

#[test]
fn a_frozen_prefix_has_the_bits_of_inference_and_gets_no_gradient() {
    for arch in [
        Arch::ResNet18,
        Arch::ConvNextTiny,
        Arch::VitS16,
        Arch::DinoV2VitS14,
        Arch::MobileNetV3Small,
        Arch::EfficientNetV2S,
        Arch::SwinT,
    ] {
        check_frozen_prefix(arch);
    }
}

fn check_frozen_prefix(arch: Arch) {
    let (model, state) = model(arch, DType::F32);
    let layers = model.description.layers.len();
    let trainable: Vec<bool> = model
        .description
        .tensors
        .iter()
        .map(|tensor| tensor.role.is_parameter() && tensor.layer >= layers - 3)
        .collect();
    let mode = |norm: &NormSpec| if trainable[norm.weight] { NormMode::Training } else { NormMode::Frozen };
    let norms: Vec<NormMode> = model.description.norms.iter().map(mode).collect();
    let x = images("input0", [2, 32, 32, 3], DType::F32);
    let mut inference = Pass::inference(&state);
    let expected = model.forward_layers(&mut inference, 0..layers - 3, x.clone()).unwrap().only().unwrap();
    let mut pass = Pass::training(&state, &trainable, &norms, 0, 0, &[0, 1]);
    let prefix = model.forward_layers(&mut pass, 0..layers - 3, x).unwrap().only().unwrap();
    assert!(prefix.is_constant());
    assert_eq!(numbers(prefix.tensor()), numbers(expected.tensor()));
    let output = scores(&model, &mut pass, layers - 3, prefix);
    let (loss, _) = ops::cross_entropy(pass.tape(), &output, &[0, 1], 0.0).unwrap();
    let (gradients, buffers) = pass.backward(&loss).unwrap();
    let ids: Vec<TensorId> = (0..trainable.len()).filter(|&id| trainable[id]).collect();
    assert_eq!(gradients.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
    assert!(gradients.iter().all(|(_, gradient)| gradient.is_some()));
    let training = norms.iter().filter(|norm| **norm == NormMode::Training).count();
    assert_eq!(buffers.len(), training * 3);
}

#[test]
fn stochastic_depth_draws_above_frozen_layers_and_leaves_them_alone() {
    let spec = pipeline::Model { stochastic_depth: 0.9, ..pipeline::Model::of(Arch::EfficientNetB0) };
    let model = Model::build(&spec, 10);
    let tensors = model.description.tensors.iter().map(|spec| weights(spec, DType::F32)).collect();
    let state = StateDict { tensors };
    let (frozen, layers) = (9, model.description.layers.len());
    let trainable: Vec<bool> = model
        .description
        .tensors
        .iter()
        .map(|tensor| tensor.role.is_parameter() && tensor.layer >= frozen)
        .collect();
    let norms = vec![NormMode::Frozen; model.description.norms.len()];
    let x = images("input7", [2, 61, 46, 3], DType::F32);
    let plain = |layers: std::ops::Range<usize>, x: Value| {
        numbers(
            model.forward_layers(&mut Pass::inference(&state), layers, x).unwrap().only().unwrap().tensor(),
        )
    };
    let run = |epoch| {
        let mut pass = Pass::training(&state, &trainable, &norms, 0, epoch, &[0, 1]);
        let prefix = model.forward_layers(&mut pass, 0..frozen, x.clone()).unwrap().only().unwrap();
        let output = scores(&model, &mut pass, frozen, prefix.clone());
        (numbers(prefix.tensor()), numbers(output.tensor()))
    };
    let ((prefix, first), (_, second)) = (run(0), run(1));
    assert_eq!(prefix, plain(0..frozen, x.clone()));
    assert_eq!(run(0).1, first);
    assert!(first != second && first != plain(0..layers, x), "blocks are left out anew in every epoch");
}

#[test]
fn a_frozen_norm_in_a_training_network_lets_gradients_through() {
    let (model, state) = model(Arch::ResNet18, DType::F64);
    // Only the stem's convolution trains, below norms that are all frozen: a difference quotient must agree.
    let id = model.description.id("conv1.weight").unwrap();
    let mut trainable = vec![false; state.tensors.len()];
    trainable[id] = true;
    let norms = vec![NormMode::Frozen; model.description.norms.len()];
    let run = |state: &StateDict| {
        let mut pass = Pass::training(state, &trainable, &norms, 0, 0, &[0, 1]);
        let x = images("input0", [2, 32, 32, 3], DType::F64);
        let output = scores(&model, &mut pass, 0, x);
        let (loss, _) = ops::cross_entropy(pass.tape(), &output, &[0, 1], 0.0).unwrap();
        let value = loss.tensor().to_scalar::<f64>().unwrap();
        let (mut gradients, buffers) = pass.backward(&loss).unwrap();
        assert!(buffers.is_empty());
        (value, gradients.remove(0).1.unwrap())
    };
    let (_, gradient) = run(&state);
    let step = 1e-6;
    let nudged = |sign: f64| {
        let mut state = state.clone();
        let mut weight = numbers(&state.tensors[id]);
        weight[1234] += sign * step;
        let shape = state.tensors[id].shape().clone();
        state.tensors[id] = Tensor::from_vec(weight, shape, &Device::Cpu).unwrap();
        run(&state).0
    };
    let quotient = (nudged(1.0) - nudged(-1.0)) / (2.0 * step);
    let found = numbers(&gradient)[1234];
    assert!((found - quotient).abs() < 1e-6 * found.abs().max(1.0), "{found} against {quotient}");
}

#[test]
fn candles_resnets_compute_the_same() {
    use candle_core::Module;
    use candle_transformers::models::resnet;
    for (arch, name) in [(Arch::ResNet18, "resnet18"), (Arch::ResNet50, "resnet50")] {
        let (model, state) = model(arch, DType::F64);
        let tensors = model.description.tensors.iter().zip(&state.tensors);
        let tensors = tensors.map(|(spec, tensor)| (spec.name.clone(), tensor.clone())).collect();
        let builder = candle_nn::VarBuilder::from_tensors(tensors, DType::F64, &Device::Cpu);
        let theirs = match name {
            "resnet18" => resnet::resnet18(10, builder),
            _ => resnet::resnet50(10, builder),
        };
        let x = images("input0", [1, 64, 64, 3], DType::F64);
        let expected = x.tensor().permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
        let expected = numbers(&theirs.unwrap().forward(&expected).unwrap());
        let mut pass = Pass::inference(&state);
        let found = numbers(scores(&model, &mut pass, 0, x).tensor());
        let largest = expected.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
        let worst = found.iter().zip(&expected).fold(0.0f64, |worst, (x, y)| worst.max((x - y).abs()));
        assert!(worst <= 1e-12 * largest, "{name}: {worst:e} of {largest}");
    }
}
