//! YOLO11 against the numbers of the published networks, and against PyTorch (`tests/fixtures/model/make_yolo11.py`).

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use serde::Deserialize;

use super::parity::{Sample, device, images, strain, uniform, weights};
use super::*;
use crate::ops;
use crate::ops::testing::weighted_sum;
use crate::pipeline::{self, Arch, DetectHead};

#[derive(Deserialize)]
struct Fixture {
    /// Names and shapes of n with 80 classes, and FNV-1a of the lines of each size.
    state_dict: Vec<String>,
    digests: BTreeMap<String, String>,
    n: Runs,
    m: Runs,
}

#[derive(Deserialize)]
struct Runs {
    inference: Run,
    training: Option<Run>,
}

#[derive(Deserialize)]
struct Run {
    input: String,
    shape: [usize; 4],
    outputs: BTreeMap<String, Sample>,
    #[serde(default)]
    gradients: BTreeMap<String, Sample>,
    #[serde(default)]
    buffers: BTreeMap<String, Sample>,
}

/// Cargo runs tests in the project's folder, and tests/cuda/suite in the one they were carried in.
fn fixture() -> Fixture {
    let text = std::fs::read_to_string("../../tests/fixtures/model/yolo11.json").unwrap();
    serde_json::from_str(&text).unwrap()
}

fn settings(arch: Arch, class_width: Option<usize>) -> pipeline::Model {
    pipeline::Model { head: pipeline::Head::Detect(DetectHead { class_width }), ..pipeline::Model::of(arch) }
}

fn detector(arch: Arch, classes: usize) -> Model {
    Model::build(&settings(arch, None), classes)
}

const ARCHS: [Arch; 5] = [Arch::Yolo11N, Arch::Yolo11S, Arch::Yolo11M, Arch::Yolo11L, Arch::Yolo11X];

/// What the published networks count as parameters: the constant, too.
fn numbers_of<'a>(tensors: impl Iterator<Item = &'a TensorSpec>) -> usize {
    let counted = |spec: &&TensorSpec| spec.role.is_parameter() || spec.role == TensorRole::Constant;
    tensors.filter(counted).map(TensorSpec::elements).sum()
}

#[test]
fn counts_are_those_of_the_published_networks() {
    let expected = [
        (2_624_080, 2_590_815, 81, 88, 499),
        (9_458_752, 9_429_727, 81, 88, 499),
        (20_114_688, 20_056_863, 106, 113, 649),
        (25_372_160, 25_314_335, 167, 174, 1015),
        (56_966_176, 56_879_551, 167, 174, 1015),
    ];
    for (arch, (with_80, with_5, norms, convs, entries)) in ARCHS.into_iter().zip(expected) {
        let Description { tensors, norms: found, layers, outputs, .. } = detector(arch, 80).description;
        assert_eq!(numbers_of(tensors.iter()), with_80, "{arch:?}");
        assert_eq!(numbers_of(detector(arch, 5).description.tensors.iter()), with_5, "{arch:?}");
        let is_conv = |spec: &&TensorSpec| matches!(spec.role, TensorRole::Weight | TensorRole::Constant);
        let weights = tensors.iter().filter(is_conv).count();
        assert_eq!((found.len(), weights, tensors.len(), layers.len()), (norms, convs, entries, 24));
        assert_eq!(outputs, yolo11::OUTPUTS);
        let constants: Vec<&str> = tensors
            .iter()
            .filter(|spec| spec.role == TensorRole::Constant)
            .map(|spec| spec.name.as_str())
            .collect();
        assert_eq!(constants, ["model.23.dfl.conv.weight"]);
    }
}

#[test]
fn tensors_are_those_of_the_published_files_in_their_order() {
    let Fixture { state_dict, digests, .. } = fixture();
    for arch in ARCHS {
        let description = detector(arch, 80).description;
        let line = |tensor: &TensorSpec| format!("{} {:?}", tensor.name, tensor.shape);
        let lines: Vec<String> = description.tensors.iter().map(line).collect();
        if arch == Arch::Yolo11N {
            assert_eq!(lines, state_dict);
        }
        let fnv1a = lines.join("\n").bytes().fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        assert_eq!(format!("{fnv1a:016x}"), digests[arch.name()], "{arch:?}");
    }
}

#[test]
fn layers_have_the_published_kinds_reads_sizes_and_parameters() {
    let Description { tensors, layers, .. } = detector(Arch::Yolo11N, 80).description;
    let expected = "\
        0 Conv 16×320×320 464
        1 Conv 32×160×160 4672
        2 C3k2 64×160×160 6640
        3 Conv 64×80×80 36992
        4 C3k2 128×80×80 26080
        5 Conv 128×40×40 147712
        6 C3k2 128×40×40 87040
        7 Conv 256×20×20 295424
        8 C3k2 256×20×20 346112
        9 SPPF 256×20×20 164608
        10 C2PSA 256×20×20 249728
        11 Upsample 256×40×40 0
        12 Concat 384×40×40 0
        13 C3k2 128×40×40 111296
        14 Upsample 128×80×80 0
        15 Concat 256×80×80 0
        16 C3k2 64×80×80 32096
        17 Conv 64×40×40 36992
        18 Concat 192×40×40 0
        19 C3k2 128×40×40 86720
        20 Conv 128×20×20 147712
        21 Concat 384×20×20 0
        22 C3k2 256×20×20 378880
        23 Detect 144×8400 464912";
    let description = detector(Arch::Yolo11N, 80).description;
    let line = |(index, layer): (usize, &LayerSpec)| {
        assert_eq!(layer.name, format!("model.{index}"));
        let shape: Vec<String> = layer.output.shape(640).iter().map(usize::to_string).collect();
        let parameters = numbers_of(tensors.iter().filter(|spec| spec.layer == index));
        format!("{index} {} {} {parameters}", description.kind(index), shape.join("×"))
    };
    let lines: Vec<String> = layers.iter().enumerate().map(line).collect();
    assert_eq!(lines, expected.lines().map(str::trim).collect::<Vec<_>>());
    let reads = |index: usize| layers[index].reads.clone();
    for (index, expected) in [(12, vec![11, 6]), (15, vec![14, 4]), (18, vec![17, 13]), (21, vec![20, 10])] {
        assert_eq!(reads(index), expected.into_iter().map(LayerInput::Layer).collect::<Vec<_>>());
    }
    assert_eq!(reads(23), [16, 19, 22].map(LayerInput::Layer));
    assert_eq!(numbers_of(tensors.iter().filter(|spec| spec.layer == 22)), 378_880);
}

#[test]
fn initial_values_are_pytorchs_defaults_and_the_published_biases() {
    let description = detector(Arch::Yolo11S, 5).description;
    let state = crate::weights::initialize_all(&description, 1).unwrap();
    let tensor = |name: &str| -> Vec<f32> {
        let id = description.id(name).unwrap();
        state.tensors[id].flatten_all().unwrap().to_vec1().unwrap()
    };
    for (level, bias) in [(0, -8.764), (1, -7.378), (2, -5.991)] {
        assert!(tensor(&format!("model.23.cv2.{level}.2.bias")).iter().all(|found| *found == 2.0));
        let found = tensor(&format!("model.23.cv3.{level}.2.bias"));
        assert!(found.iter().all(|found| (found - bias).abs() < 5e-4), "{found:?}");
    }
    assert_eq!(tensor("model.23.dfl.conv.weight"), (0..16).map(|bin| bin as f32).collect::<Vec<_>>());
    // The fan-in of a depthwise convolution is that of one channel.
    for (name, fan_in) in [("model.5.conv.weight", 9 * 256), ("model.10.m.0.attn.pe.conv.weight", 9)] {
        let (bound, found) = (1.0 / f64::from(fan_in).sqrt(), tensor(name));
        let largest = f64::from(found.iter().fold(0.0f32, |most, x| most.max(x.abs())));
        assert!(largest <= bound && largest > 0.95 * bound, "{name}: {largest} of {bound}");
    }
    let norm = &description.norms[0];
    assert_eq!((norm.name.as_str(), norm.stride), ("model.0.bn", Some(2)));
    assert_eq!(description.norms.last().map(|norm| norm.stride), Some(Some(32)));
}

#[test]
fn the_class_branch_has_the_published_width_or_the_one_that_is_set() {
    let width = |settings: &pipeline::Model, classes| {
        let description = Model::build(settings, classes).description;
        let id = description.id("model.23.cv3.0.2.weight").unwrap();
        (description.tensors[id].shape[1], description)
    };
    for (arch, classes, expected) in [
        (Arch::Yolo11N, 80, 80),
        (Arch::Yolo11N, 5, 64),
        (Arch::Yolo11N, 300, 100),
        (Arch::Yolo11S, 80, 128),
        (Arch::Yolo11X, 5, 384),
    ] {
        assert_eq!(width(&settings(arch, None), classes).0, expected);
    }
    let (found, description) = width(&settings(Arch::Yolo11N, Some(80)), 5);
    assert_eq!(found, 80);
    let published = detector(Arch::Yolo11N, 80).description;
    let differing = description.tensors.iter().zip(&published.tensors).filter(|(a, b)| a != b);
    let names: Vec<&str> = differing.map(|(spec, _)| spec.name.rsplit_once(".2.").unwrap().0).collect();
    assert_eq!(
        names,
        [
            "model.23.cv3.0",
            "model.23.cv3.0",
            "model.23.cv3.1",
            "model.23.cv3.1",
            "model.23.cv3.2",
            "model.23.cv3.2"
        ]
    );
}

/// For pretraining: the names of the backbone are the detector's.
#[test]
fn with_a_head_for_images_there_is_the_backbone_alone() {
    let model = Model::build(&pipeline::Model::of(Arch::Yolo11S), 20);
    let description = &model.description;
    assert_eq!((description.layers.len(), &description.head[..]), (12, &["classifier".to_owned()][..]));
    assert!(description.neck.is_empty());
    let detector = detector(Arch::Yolo11S, 5).description;
    let shared = description.tensors.len() - 2;
    assert_eq!(description.tensors[..shared], detector.tensors[..shared]);
    assert_eq!(description.tensors[shared].shape, [20, 512]);
    let state = crate::weights::initialize_all(description, 3).unwrap();
    let scores = model.forward(&mut Pass::inference(&state), 0, images("x", [2, 64, 96, 3], DType::F32));
    assert_eq!(scores.unwrap().logits().unwrap().tensor().dims(), [2, 20]);
}

fn state(model: &Model, dtype: DType) -> StateDict {
    let tensors = model.description.tensors.iter().map(|spec| weights(spec, dtype)).collect();
    StateDict { tensors }.to_device(&device()).unwrap()
}

/// The strains of the outputs.
fn strains(outputs: &Outputs, expected: &BTreeMap<String, Sample>, dtype: DType) -> Vec<(f64, String)> {
    assert_eq!(expected.len(), 6);
    let strain_of = |(name, sample): (&String, &Sample)| {
        (strain(outputs.get(name).unwrap().tensor(), sample, 0.0, dtype), name.clone())
    };
    expected.iter().map(strain_of).collect()
}

fn require(what: &str, strains: Vec<(f64, String)>) {
    let over: Vec<_> = strains.into_iter().filter(|(strain, _)| *strain > 1.0).collect();
    assert!(over.is_empty(), "{what}: {over:?}");
}

fn check_inference(arch: Arch, run: &Run, dtype: DType) {
    let model = detector(arch, 5);
    let state = state(&model, dtype);
    let x = images(&run.input, run.shape, dtype);
    let outputs = model.forward(&mut Pass::inference(&state), 0, x).unwrap();
    require(&format!("{arch:?} {dtype:?}"), strains(&outputs, &run.outputs, dtype));
}

fn check_training(run: &Run, dtype: DType) {
    let model = detector(Arch::Yolo11N, 5);
    let (description, state) = (&model.description, state(&model, dtype));
    let trainable: Vec<bool> = description.tensors.iter().map(|spec| spec.role.is_parameter()).collect();
    let norms = vec![NormMode::Training; description.norms.len()];
    let mut pass = Pass::training(&state, &trainable, &norms, 0, 0, &[0, 1, 2]);
    let outputs = model.forward(&mut pass, 0, images(&run.input, run.shape, dtype)).unwrap();
    let mut strains = strains(&outputs, &run.outputs, dtype);
    let mut loss = None;
    for name in description.outputs {
        let output = outputs.get(name).unwrap();
        let numbers: Vec<f64> = uniform(&format!("weights.{name}"), output.tensor().elem_count()).collect();
        let weights = Tensor::from_vec(numbers, output.tensor().dims(), &candle_core::Device::Cpu).unwrap();
        let weights = weights.to_dtype(dtype).unwrap().to_device(&device()).unwrap();
        let part = weighted_sum(pass.tape(), output, &weights);
        loss = Some(match loss {
            None => part,
            Some(sum) => ops::add(pass.tape(), &sum, &part).unwrap(),
        });
    }
    let (gradients, buffers) = pass.backward(&loss.unwrap()).unwrap();
    assert_eq!(gradients.len(), run.gradients.len());
    // As in `parity`: what PyTorch's float32 loses in half of the gradients, and in nine of ten.
    let mut errors: Vec<f64> = run.gradients.values().map(|sample| sample.error).collect();
    errors.sort_by(f64::total_cmp);
    let [usual, high] = [5, 9].map(|tenths| errors[errors.len() * tenths / 10]);
    for (id, gradient) in gradients {
        let spec = &description.tensors[id];
        let floor = if spec.elements() < 16 { high } else { usual };
        strains
            .push((strain(&gradient.unwrap(), &run.gradients[&spec.name], floor, dtype), spec.name.clone()));
    }
    for (id, tensor) in state.updated(&buffers).unwrap() {
        let spec = &description.tensors[id];
        if spec.role != TensorRole::BatchCount {
            let floor = f64::from(f32::EPSILON);
            strains.push((strain(&tensor, &run.buffers[&spec.name], floor, dtype), spec.name.clone()));
        }
    }
    require(&format!("training in {dtype:?}"), strains);
}

#[test]
fn outputs_and_a_training_step_are_pytorchs() {
    let Fixture { n, m, .. } = fixture();
    for dtype in [DType::F64, DType::F32] {
        check_inference(Arch::Yolo11N, &n.inference, dtype);
        check_inference(Arch::Yolo11M, &m.inference, dtype);
        check_training(n.training.as_ref().unwrap(), dtype);
    }
}

/// `cuda/cargo test --lib -- --ignored cuda`, with a GPU or tests/cuda/emulated.
#[cfg(feature = "cuda")]
#[test]
#[ignore = "asks for a GPU"]
fn cuda_detectors_are_pytorchs() {
    super::parity::compute_on_gpu();
    let Fixture { n, m, .. } = fixture();
    check_inference(Arch::Yolo11N, &n.inference, DType::F32);
    check_inference(Arch::Yolo11M, &m.inference, DType::F32);
}

/// At every cut, also among layers without tensors.
#[test]
fn a_detector_cut_anywhere_computes_the_same_bits() {
    let model = detector(Arch::Yolo11N, 3);
    let state = state(&model, DType::F32);
    let x = || images("x", [1, 64, 64, 3], DType::F32);
    let bits =
        |outputs: &Outputs| -> Vec<Vec<f64>> { outputs.tensors().map(ops::testing::numbers).collect() };
    let whole = model.forward(&mut Pass::inference(&state), 0, x()).unwrap();
    let crossing = [1, 1, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3, 4, 3, 3, 4, 3, 3, 4, 3, 3, 4, 3, 3];
    for (cut, crossing) in crossing.into_iter().enumerate() {
        let mut pass = Pass::inference(&state);
        let kept = model.forward_layers(&mut pass, 0..cut, x()).unwrap();
        assert_eq!(kept.count(), crossing, "at layer {cut}");
        assert_eq!(bits(&model.forward(&mut pass, cut, kept).unwrap()), bits(&whole), "at layer {cut}");
    }
}
