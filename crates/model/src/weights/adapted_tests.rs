//! Weights that fit in part: other classes, other channels, merged normalisation.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::autograd::Value;
use crate::model::{Description, Model, NormMode, Pass, StateDict, TensorRole, TensorSpec};
use crate::ops::testing::{normal, numbers};
use crate::pipeline::{self, Arch};

fn build(arch: Arch, classes: usize) -> Model {
    Model::build(&pipeline::Model::of(arch), classes)
}

fn resnet18(classes: usize) -> Description {
    build(Arch::ResNet18, classes).description
}

fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

fn rules(description: &Description, classes: &str, settings: &str) -> LoadRules {
    let stage: pipeline::LoadWeights = toml::from_str(&format!("file = \"x\"\n{settings}")).unwrap();
    let mut rules = LoadRules::resolve(description, &stage).unwrap();
    let classes = names(classes);
    rules.class_tensors = class_tensors(classes.len(), resnet18);
    rules.classes = Some(classes);
    rules
}

/// A file with these tensors.
fn written(
    description: &Description,
    state: &StateDict,
    classes: Option<&str>,
) -> (tempfile::TempDir, WeightsFile) {
    let metadata = classes
        .map(|classes| ("defrost.classes".to_owned(), serde_json::to_string(&names(classes)).unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    save(&path, description, state, Dialect::Own, &BTreeMap::from_iter(metadata)).unwrap();
    let source = WeightsFile::open(&path).unwrap();
    (folder, source)
}

fn trained(description: &Description) -> StateDict {
    let tensor = |spec: &TensorSpec| match spec.role {
        TensorRole::BatchCount => Tensor::new(5i64, &Device::Cpu).unwrap(),
        TensorRole::RunningVar => normal(&spec.name, &spec.shape).abs().unwrap().affine(1.0, 0.5).unwrap(),
        TensorRole::NormWeight => normal(&spec.name, &spec.shape).affine(0.2, 1.0).unwrap(),
        TensorRole::Weight => {
            let fan = (spec.elements() / spec.shape[0]) as f64;
            normal(&spec.name, &spec.shape).affine((2.0 / fan).sqrt(), 0.0).unwrap()
        }
        _ => normal(&spec.name, &spec.shape).affine(0.2, 0.0).unwrap(),
    };
    let float = |tensor: Tensor| match tensor.dtype() {
        DType::I64 => tensor,
        _ => tensor.to_dtype(DType::F32).unwrap(),
    };
    StateDict { tensors: description.tensors.iter().map(tensor).map(float).collect() }
}

fn message(error: crate::error::Error, source: &WeightsFile) -> String {
    let hint = error.hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("{}{hint}", error.message.replace(&source.path().display().to_string(), "net"))
}

#[test]
fn rows_of_classes_of_the_same_name_are_taken() {
    let (old, new) = (resnet18(3), resnet18(4));
    let state = trained(&old);
    let (_folder, source) = written(&old, &state, Some("person,Car ,train"));
    let rules = rules(&new, "tram,car,PERSON,dog", "class_rows = \"by_name\"");
    let class_rows = origins(&new, &source, &rules).unwrap();
    assert_eq!(class_rows.iter().filter(|origin| **origin == Origin::ClassRows).count(), 2);
    let mapping = ClassMapping::new(&source, &rules).unwrap().unwrap();
    assert_eq!(
        mapping.sentence(),
        "2 of 4 classes start from the file: `car (from Car )`, `PERSON (from person)`; the others start at random: `tram`, `dog`"
    );
    let loaded = load(&new, &source, &rules, 7).unwrap();
    for name in ["fc.weight", "fc.bias"] {
        let rows = |description: &Description, state: &StateDict| {
            let tensor = &state.tensors[description.id(name).unwrap()];
            let rows = tensor.reshape((tensor.dims()[0], ())).unwrap();
            rows.to_vec2::<f32>().unwrap()
        };
        let (own, file) = (rows(&new, &loaded), rows(&old, &state));
        let fresh = rows(&new, &initialize_all(&new, 7).unwrap());
        assert_eq!(
            [&own[0], &own[1], &own[2], &own[3]],
            [&fresh[0], &file[1], &file[0], &fresh[3]],
            "{name}"
        );
    }
    let conv = new.id("conv1.weight").unwrap();
    assert_eq!(numbers(&loaded.tensors[conv]), numbers(&state.tensors[conv]));
}

#[test]
fn rows_are_named_by_a_table_and_by_listed_classes() {
    let (old, new) = (resnet18(3), resnet18(2));
    let state = trained(&old);
    let (_folder, source) = written(&old, &state, None);
    let table = "class_rows = { tram = \"train\", car = \"car\" }";
    let listed = format!("{table}\nfile_classes = [\"person\", \"car\", \"train\"]");
    let allowed = rules(&new, "car,tram", &listed);
    let mapping = ClassMapping::new(&source, &allowed).unwrap().unwrap();
    assert_eq!(mapping.sentence(), "2 of 2 classes start from the file: `car`, `tram (from train)`");
    assert!(mapping.fresh().is_empty() && origins(&new, &source, &allowed).is_ok());
    let refused = |classes: &str, settings: &str| {
        message(origins(&new, &source, &rules(&new, classes, settings)).unwrap_err(), &source)
    };
    for (classes, settings, expected) in [
        (
            "car,tram",
            table.to_owned(),
            "`class_rows` needs the names of the classes in `net`, which the file does not record\nhint: list them in the order of the outputs: `file_classes = [\"person\", …]`",
        ),
        (
            "car,train",
            listed.clone(),
            "`class_rows` does not fit `net`: the data set has no class `tram`\nhint: its classes are `car`, `train`",
        ),
        (
            "car,tram",
            listed.replace("\"person\", \"car\", \"train\"", "\"person\", \"car\", \"trains\""),
            "`class_rows` does not fit `net`: the file has no class `train`\nhint: did you mean `trains`?",
        ),
        (
            "car,tram",
            "class_rows = \"by_name\"\nfile_classes = [\"Car\", \"car \", \"x\"]".to_owned(),
            "`class_rows` cannot be read from `net`: the classes `Car` and `car ` of the file have the same name\nhint: name the classes to take, such as `class_rows = { tram = \"train\" }`",
        ),
        (
            "Car,car",
            "class_rows = \"by_name\"\nfile_classes = [\"car\", \"y\", \"x\"]".to_owned(),
            "`class_rows` cannot be read from `net`: the classes `Car` and `car` of the data set have the same name\nhint: name the classes to take, such as `class_rows = { tram = \"train\" }`",
        ),
        (
            "car,tram",
            format!("{listed}\nreinit = [\"@head\"]"),
            "`class_rows` has no effect on `net`: no tensor with a row for each class is read\nhint: remove `class_rows`",
        ),
    ] {
        assert_eq!(refused(classes, &settings), expected, "{settings}");
    }
    let none = refused("a,b", "class_rows = \"by_name\"\nfile_classes = [\"c\", \"d\", \"e\"]");
    assert!(none.starts_with("no class in `net` has the name of a class of the data set"), "{none}");
    // The list has another length than the layer.
    let short = refused("car,tram", "class_rows = \"by_name\"\nfile_classes = [\"car\", \"b\"]");
    assert!(short.contains("mismatched  `fc.weight` [2, 512]; the file has [3, 512]"), "{short}");
}

#[test]
fn a_file_that_records_its_classes_wants_rows_or_a_fresh_layer() {
    let description = resnet18(3);
    let (_folder, source) = written(&description, &trained(&description), Some("a,b,c"));
    let verdict = |settings: &str| origins(&description, &source, &rules(&description, "a,c,b", settings));
    let error = message(verdict("").unwrap_err(), &source);
    assert!(error.contains("`class_rows = \"by_name\"` to keep the classes of the same name"), "{error}");
    assert!(verdict("class_rows = \"by_name\"").is_ok() && verdict("reinit = [\"fc\"]").is_ok());
    let error = message(verdict("class_rows = \"by_name\"\nfile_classes = [\"a\"]").unwrap_err(), &source);
    assert!(
        error.starts_with("`file_classes` differs from the classes that `net` records: `a`, `b`, `c`"),
        "{error}"
    );
}

#[test]
fn the_layers_with_a_row_for_each_class_are_found_in_every_head() {
    let found = |head: &str, classes: usize| {
        let spec: pipeline::Model = toml::from_str(&format!("arch = \"resnet18\"\n[head]\n{head}")).unwrap();
        let describe = |classes| Model::build(&spec, classes).description;
        let description = describe(classes);
        let names =
            class_tensors(classes, describe).into_iter().map(|id| description.tensors[id].name.clone());
        names.collect::<Vec<_>>()
    };
    assert_eq!(found("kind = \"linear\"", 64), ["fc.weight", "fc.bias"]);
    assert_eq!(found("kind = \"mlp\"\nhidden = [64]", 64), ["fc.3.weight", "fc.3.bias"]);
    assert_eq!(found("kind = \"embedding\"\ndimension = 64", 64), ["fc.classifier.weight"]);
}

/// The weights of the first convolution, by channel, of one output.
fn adapt(method: &str, channels: usize) -> Vec<f32> {
    let mut description = resnet18(2);
    let state = trained(&description);
    let (_folder, source) = written(&description, &state, None);
    description.tensors[0].shape[1] = channels;
    let rules = rules(&description, "a,b", &format!("first_conv = \"{method}\""));
    let origins = origins(&description, &source, &rules).unwrap();
    assert_eq!(origins.iter().filter(|origin| **origin == Origin::FirstConv).count(), 1);
    let loaded = load(&description, &source, &rules, 3).unwrap();
    assert_eq!(loaded.tensors[0].dims(), [64, channels, 7, 7]);
    let at = |tensor: &Tensor, channel: usize| {
        tensor
            .get(5)
            .unwrap()
            .get(channel)
            .unwrap()
            .get(2)
            .unwrap()
            .get(3)
            .unwrap()
            .to_scalar::<f32>()
            .unwrap()
    };
    let file: Vec<f32> = (0..3).map(|channel| at(&state.tensors[0], channel)).collect();
    let fresh = initialize(&description.tensors[0], 3).unwrap();
    let own: Vec<f32> = (0..channels).map(|channel| at(&loaded.tensors[0], channel)).collect();
    let sum: f32 = (file.iter().copied().map(f64::from).sum::<f64>()) as f32;
    let close = |own: f32, expected: f32| (own - expected).abs() <= 1e-6 * expected.abs();
    for (channel, &own) in own.iter().enumerate() {
        let expected = match method {
            "sum" => sum / channels as f32,
            "mean" => sum / 3.0,
            "repeat" => file[channel % 3] * 3.0 / channels as f32,
            _ if channel < 3 => file[channel],
            _ => at(&fresh, channel),
        };
        assert!(close(own, expected), "{method} {channel}: {own} for {expected}");
    }
    own
}

#[test]
fn the_first_convolution_is_adapted_to_other_channels() {
    for method in ["sum", "mean", "repeat", "first"] {
        for channels in [1, 2, 4, 7] {
            adapt(method, channels);
        }
    }
    let mut description = resnet18(2);
    let (_folder, source) = written(&description, &trained(&description), None);
    let verdict = |description: &Description, settings: &str| {
        origins(description, &source, &rules(description, "a,b", settings))
    };
    let error = message(verdict(&description, "first_conv = \"sum\"").unwrap_err(), &source);
    assert!(error.starts_with("`first_conv` has no effect on `net`"), "{error}");
    description.tensors[0].shape[1] = 1;
    let error = message(verdict(&description, "").unwrap_err(), &source);
    assert!(
        error.ends_with(
            "hint: `conv1.weight` is for 3 channels of image in the file and 1 in the model: add `first_conv = \"sum\"` (or \"mean\", \"repeat\", \"first\") to the stage"
        ),
        "{error}"
    );
}

/// A detector's class branch, as its names say it.
#[test]
fn a_class_branch_of_another_width_is_told_with_the_setting() {
    let detector = |width: usize| {
        let mut description = resnet18(2);
        let spec = |name: &str, shape: &[usize]| TensorSpec {
            name: name.to_owned(),
            shape: shape.to_vec(),
            ..description.tensors[0].clone()
        };
        let branch = [
            spec("model.23.cv3.0.0.1.conv.weight", &[width, 64, 1, 1]),
            spec("model.23.cv3.0.1.1.conv.weight", &[width, width, 1, 1]),
            spec("model.23.cv3.0.2.weight", &[2, width, 1, 1]),
        ];
        description.tensors.extend(branch);
        description.head.push("model.23".to_owned());
        description
    };
    let (file, own) = (detector(80), detector(64));
    let (_folder, source) = written(&file, &initialize_all(&file, 0).unwrap(), None);
    let error = message(origins(&own, &source, &LoadRules::default()).unwrap_err(), &source);
    assert!(
        error.ends_with(
            "hint: the class branch has 80 channels in the file and 64 in the model: add `class_width = 80` to the head, as in `head = { kind = \"detect\", class_width = 80 }`, or `reinit` the branch"
        ),
        "{error}"
    );
    assert!(error.contains("3 tensors of the class branch have other shapes") && error.lines().count() == 2);
    // The same file for a model that classifies images with the layers below.
    let backbone = Description { arch: "yolo11n".to_owned(), ..resnet18(2) };
    let error = message(origins(&backbone, &source, &LoadRules::default()).unwrap_err(), &source);
    assert!(
        error.contains("those of a detector") && error.contains("set `head = { kind = \"detect\" }`"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 2, "{error}");
}

/// The fused form: batch normalisation merged into the convolutions, as exporters do it.
fn fuse(description: &Description, state: &StateDict, eps: f64) -> (Description, StateDict) {
    let mut fused = description.clone();
    let mut tensors = state.tensors.clone();
    let numbers = |id: usize| numbers(&state.tensors[id]);
    for norm in &description.norms {
        let conv = norm.weight - 1;
        let scale: Vec<f64> = numbers(norm.weight)
            .iter()
            .zip(numbers(norm.running_var))
            .map(|(weight, variance)| weight / (variance + eps).sqrt())
            .collect();
        let spec = &description.tensors[conv];
        let row = spec.elements() / spec.shape[0];
        let weight =
            numbers(conv).iter().enumerate().map(|(place, w)| (w * scale[place / row]) as f32).collect();
        tensors[conv] = Tensor::from_vec::<_, f32>(weight, spec.shape.as_slice(), &Device::Cpu).unwrap();
        let bias = (numbers(norm.bias).iter().zip(numbers(norm.running_mean)).zip(&scale))
            .map(|((bias, mean), scale)| (bias - mean * scale) as f32)
            .collect();
        tensors[norm.bias] = Tensor::from_vec::<_, f32>(bias, vec![spec.shape[0]], &Device::Cpu).unwrap();
        fused.tensors[norm.bias].name = spec.name.replace("weight", "bias");
    }
    let gone: Vec<usize> = description
        .norms
        .iter()
        .flat_map(|norm| [norm.weight, norm.running_mean, norm.running_var, norm.batch_count])
        .collect();
    let mut id = 0;
    fused.tensors.retain(|_| {
        id += 1;
        !gone.contains(&(id - 1))
    });
    let tensors =
        tensors.into_iter().enumerate().filter(|(id, _)| !gone.contains(id)).map(|(_, tensor)| tensor);
    (fused, StateDict { tensors: tensors.collect() })
}

/// The largest difference of two outputs, relative to the largest number.
fn distance(one: &Tensor, other: &Tensor) -> f64 {
    let (one, other) = (numbers(one), numbers(other));
    let largest = other.iter().fold(0f64, |largest, number| largest.max(number.abs()));
    one.iter().zip(&other).fold(0f64, |most, (a, b)| most.max((a - b).abs())) / largest
}

#[test]
fn merged_normalisation_is_put_back() {
    let cases = [
        (build(Arch::ResNet18, 3), 1e-5, 48),
        (build(Arch::MobileNetV2, 3), 1e-5, 64),
        (Model::branching(3), 1e-3, 24),
    ];
    for (model, eps, size) in cases {
        let description = &model.description;
        let original = trained(description);
        let (fused, state) = fuse(description, &original, eps);
        let (folder, source) = written(&fused, &state, None);
        let name = &description.arch;
        let error = message(origins(description, &source, &LoadRules::default()).unwrap_err(), &source);
        assert!(error.starts_with("the weights in `net` are in fused form"), "{error}");
        assert!(error.contains("restore_batch_norm = { images = 64 }"), "{error}");
        let rules = LoadRules { restores_norms: true, ..LoadRules::default() };
        let found = origins(description, &source, &rules).unwrap();
        let restored = found.iter().filter(|origin| **origin == Origin::Restored).count();
        assert_eq!(restored, 5 * description.norms.len(), "{name}");
        let mut loaded = load(description, &source, &rules, 0).unwrap();
        let norms = norms_to_restore(description, &source, &rules);
        assert_eq!(norms.len(), description.norms.len());
        let batch =
            |name: &str, images: usize| normal(name, &[images, size, size, 3]).to_dtype(DType::F32).unwrap();
        let batches = || [Ok(batch("one", 8)), Ok(batch("two", 8))];
        let before = loaded.clone();
        let used = model.restore_batch_norms(&mut loaded, &norms, &Device::Cpu, batches()).unwrap();
        assert_eq!(used, 16);
        // Evaluation: what the file computes. In float64, what differs is the rounding of the restored values.
        let images = batch("others", 4);
        let outputs = |state: &StateDict, images: &Tensor| {
            let mut pass = Pass::inference(state);
            let outputs = model.forward(&mut pass, 0, Value::constant(images.clone())).unwrap();
            outputs.logits().unwrap().tensor().clone()
        };
        let widened = |state: &StateDict| StateDict {
            tensors: state.tensors.iter().map(|tensor| tensor.to_dtype(DType::F64).unwrap()).collect(),
        };
        let mut merged = widened(&before);
        for norm in &description.norms {
            let variance = &merged.tensors[norm.running_var];
            merged.tensors[norm.running_var] = (variance.zeros_like().unwrap() + (1.0 - eps)).unwrap();
        }
        let exact = images.to_dtype(DType::F64).unwrap();
        let evaluated = distance(&outputs(&widened(&loaded), &exact), &outputs(&merged, &exact));
        assert!(evaluated < 1e-6, "{name}: {evaluated}");
        // In float32, it is as near to the network before it was fused as its own rounding lets it be.
        let (own, whole) = (outputs(&original, &images), outputs(&widened(&original), &exact));
        let (evaluated, bound) = (distance(&outputs(&loaded, &images), &whole), distance(&own, &whole));
        assert!(evaluated < 1e-6 + 3.0 * bound, "{name}: {evaluated}, and {bound} before");
        // Training on the measured images starts near, and an identity does not.
        let all = Tensor::cat(&[batch("one", 8), batch("two", 8)], 0).unwrap();
        let trained = |state: &StateDict| {
            let trainable: Vec<bool> =
                description.tensors.iter().map(|spec| spec.role.is_parameter()).collect();
            let modes = vec![NormMode::Training; description.norms.len()];
            let mut pass = Pass::training(state, &trainable, &modes, 0, 0, &(0..16).collect::<Vec<_>>());
            model
                .forward(&mut pass, 0, Value::constant(all.clone()))
                .unwrap()
                .logits()
                .unwrap()
                .tensor()
                .clone()
        };
        let outputs = outputs(&loaded, &all);
        let (near, far) = (distance(&trained(&loaded), &outputs), distance(&trained(&before), &outputs));
        assert!(near < 1e-3 && far > 0.05, "{name}: {near}, and {far} without statistics");
        for norm in &description.norms {
            assert_eq!(loaded.tensors[norm.batch_count].to_scalar::<i64>().unwrap(), 0);
        }
        // On any threads.
        let mut again = before.clone();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        pool.install(|| model.restore_batch_norms(&mut again, &norms, &Device::Cpu, batches())).unwrap();
        assert_eq!(digests(&again).unwrap(), digests(&loaded).unwrap());
        // What was restored is saved as any other weights.
        let path = folder.path().join("restored.safetensors");
        let digest = save(&path, description, &loaded, Dialect::Own, &BTreeMap::new()).unwrap();
        let source = WeightsFile::open(&path).unwrap();
        assert_eq!(source.digest(), digest);
        let error = message(origins(description, &source, &rules).unwrap_err(), &source);
        assert!(error.starts_with("`restore_batch_norm` has no effect on `net`"), "{error}");
        assert!(model.restore_batch_norms(&mut again, &norms, &Device::Cpu, []).is_err());
    }
}

#[test]
fn constants_and_counts_are_loaded_and_saved_to_the_same_bytes() {
    let source = WeightsFile::open(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/weights/detector.pt"),
    )
    .unwrap();
    // The tensors of the pickled module as a description, with a constant as detectors have one.
    let role = |name: &str| match name.rsplit('.').next() {
        Some("num_batches_tracked") => TensorRole::BatchCount,
        Some("running_mean") => TensorRole::RunningMean,
        _ => TensorRole::Weight,
    };
    let template = resnet18(2).tensors[0].clone();
    let spec = |(name, entry): (&String, &TensorEntry)| TensorSpec {
        name: name.clone(),
        shape: entry.shape.clone(),
        role: role(name),
        ..template.clone()
    };
    let mut description =
        Description { tensors: source.entries().iter().map(spec).collect(), ..Description::default() };
    let mut state = load(&description, &source, &LoadRules::default(), 0).unwrap();
    description.tensors.push(TensorSpec {
        name: "model.2.dfl.conv.weight".to_owned(),
        shape: vec![1, 16, 1, 1],
        ..template.clone()
    });
    let sides = Tensor::arange(0f32, 16.0, &Device::Cpu).unwrap().reshape((1, 16, 1, 1)).unwrap();
    state.tensors.push(sides);
    let (_folder, written) = written(&description, &state, None);
    let again = load(&description, &written, &LoadRules::default(), 0).unwrap();
    assert_eq!(digests(&again).unwrap(), digests(&state).unwrap());
    let counts = description.tensors.iter().zip(&again.tensors);
    assert!(
        counts.filter(|(spec, _)| spec.role == TensorRole::BatchCount).all(|(_, t)| t.dtype() == DType::I64)
    );
}
