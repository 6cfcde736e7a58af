//! Files of every kind, intact and damaged, and the strictness of loading.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

mod constants;

use super::*;
use crate::error::{Error, ErrorKind};
use crate::model::{Description, Model, StateDict, TensorRole, TensorSpec};
use crate::pipeline;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/weights").join(name)
}

fn open(name: &str) -> WeightsFile {
    WeightsFile::open(&fixture(name)).unwrap()
}

/// The error message, without the folder.
fn text(error: Error) -> String {
    assert_eq!(error.kind, ErrorKind::Usage);
    let folder = format!("{}/", fixture("").display()).replace("//", "/");
    let hint = error.hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("{}{hint}", error.message.replace(&folder, ""))
}

fn refusal(name: &str) -> String {
    text(WeightsFile::open(&fixture(name)).err().expect("a refused file"))
}

#[test]
fn every_kind_of_file_holds_the_same_numbers() {
    let plain: Vec<f32> = (0..24).map(|i| i as f32 / 2.0 - 3.0).collect();
    let turned: Vec<f32> =
        (0..4).flat_map(|column| (0..3).map(move |row| (12 + row * 4 + column) as f32 / 2.0 - 3.0)).collect();
    let files = [
        "state_dict.safetensors",
        "state_dict.pth",
        "legacy.pth",
        "wrapped.pth",
        "nested.pth",
        "nested_2.pth",
    ];
    for name in files {
        // Wrapper modules add a prefix to each name, whatever the nesting of the checkpoint.
        let source = open(name).translated(&Description::default()).unwrap();
        let numbers = |tensor: &str| {
            let tensor = source.tensor(tensor).unwrap();
            (tensor.dims().to_vec(), tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap())
        };
        for tensor in ["single", "half", "brain", "double"] {
            assert_eq!(numbers(tensor), (vec![2, 3, 4], plain.clone()), "{tensor} of {name}");
        }
        assert_eq!(numbers("turned"), (vec![4, 3], turned.clone()), "{name}");
        assert_eq!(numbers("channels").1, (0..24).map(|i| i as f32).collect::<Vec<_>>(), "{name}");
        assert_eq!(numbers("empty"), (vec![0, 3], vec![]), "{name}");
        assert_eq!(source.tensor("count").unwrap().to_scalar::<i64>().unwrap(), 7, "{name}");
    }
    // Modules, alone and as Ultralytics stores them.
    for name in ["module.pth", "ultralytics.pth"] {
        assert_eq!(open(name).entries().keys().collect::<Vec<_>>(), ["bias", "weight"], "{name}");
    }
    assert_eq!(open("parameters.pth").tensor("bias").unwrap().to_vec1::<f32>().unwrap(), [-1.0, -1.0]);
}

/// Unusual files that PyTorch reads; `tests/fuzz/corpus.py` makes them.
fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/pickle").join(name)
}

#[test]
fn what_pytorch_wrote_in_its_time_is_read() {
    let quarters: Vec<f32> = (0..64).map(|n| n as f32 / 4.0).collect();
    for (name, count, first) in [
        ("v1.pth", 2, quarters.clone()),
        ("v1_zip.pth", 2, quarters.clone()),
        ("python_2.pth", 1, vec![1.0; 64]),
        ("momentum.pth", 2, quarters.clone()),
        ("twice.pth", 2, quarters.clone()),
        ("twice_unnamed.pth", 2, quarters.clone()),
        ("config.pth", 2, quarters.clone()),
        ("config_protocol_1.pth", 2, quarters.clone()),
        ("protocol_1.pth", 2, quarters.clone()),
        ("protocol_3.pth", 2, quarters.clone()),
        ("protocol_4.pth", 2, quarters.clone()),
        ("protocol_5.pth", 2, quarters.clone()),
        ("extras.pth", 2, quarters.clone()),
        ("net.pth", 2, quarters.clone()),
        ("named_model.pth", 2, quarters.clone()),
        ("parameters.pth", 3, vec![2.5; 64]),
        ("shared.pth", 2, (64..128).map(|n| n as f32).collect()),
        ("parts.pth", 2, (32..96).map(|n| n as f32).collect()),
    ] {
        let source = WeightsFile::open(&corpus(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(source.entries().len(), count, "{name}");
        assert_eq!(source.tensor("bn1.bias").unwrap().to_vec1::<f32>().unwrap(), first, "{name}");
    }
    let odd: Vec<f32> = (0..64).map(|n| (2 * n + 1) as f32).collect();
    let shared = WeightsFile::open(&corpus("shared.pth")).unwrap();
    assert_eq!(shared.tensor("bn1.weight").unwrap().to_vec1::<f32>().unwrap(), odd);
}

#[test]
fn what_is_no_state_dict_is_told_with_its_keys() {
    let folder = format!("{}/", corpus("").display()).replace("//", "/");
    let refusal = |name: &str| {
        let error = WeightsFile::open(&corpus(name)).err().unwrap_or_else(|| panic!("{name} is read"));
        text(error).replace(&folder, "")
    };
    let alone = "save only the state dict: `torch.save(model.state_dict(), \"weights.pth\")`";
    let compare = "compare its size with the original's; it may be truncated";
    for (name, message, hint) in [
        (
            "two_nets.pth",
            "the weights may be under one of the keys `generator`, `critic`; its keys are `generator`, `critic`, `epoch`",
            "save only the right one: `torch.save(checkpoint[\"generator\"], \"weights.pth\")`",
        ),
        ("no_tensor.pth", "it holds no state dict; its keys are `epoch`, `lr`", alone),
        ("empty.pth", "it is a state dict without tensors", alone),
        ("list.pth", "it holds no state dict: it is a list", alone),
        ("cycle.pth", "it holds no state dict within 8 dicts in each other", alone),
        ("doubled_state_dict.pth", "it holds no state dict within 8 dicts in each other", alone),
        (
            "quantized.pth",
            "`bn1.bias` in it is a quantized tensor (`_rebuild_qtensor`), but only dense tensors are supported",
            alone,
        ),
        (
            "sparse.pth",
            "`bn1.bias` in it is a sparse tensor (`_rebuild_sparse_tensor`), but only dense tensors are supported",
            alone,
        ),
        (
            "repeated.pth",
            "`bn1.bias` has more values than its storage holds",
            "save a contiguous copy, with `.contiguous()`",
        ),
        ("words.pth", "it holds no state dict; its keys are `aA\\u{a}`, `bé`", alone),
        ("control_name.pth", "it holds no state dict; its keys are `a\\u{a}error: forged`", alone),
        (
            "registry.pth",
            "its pickle cannot be read at byte 51: it names a class by a number of Python's `copyreg` registry",
            alone,
        ),
        (
            "declared_text.pth",
            "damaged pickle at byte 51: it declares 4294967295 more bytes, and 10 are left",
            compare,
        ),
    ] {
        assert_eq!(refusal(name), format!("cannot read `{name}`: {message}\nhint: {hint}"));
    }
}

#[test]
fn a_folder_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let error = text(WeightsFile::open(folder.path()).err().unwrap());
    assert!(error.contains("it is not a regular file"), "{error}");
}

#[test]
fn a_type_that_is_not_read_is_refused_when_asked_for() {
    for name in ["state_dict.safetensors", "bool.pth"] {
        let error = text(open(name).tensor("flags").unwrap_err());
        assert!(error.contains("`flags`") && error.to_lowercase().contains("bool"), "{error}");
    }
    assert_eq!(open("bool.pth").tensor("single").unwrap().to_vec1::<f32>().unwrap(), [1.0, 1.0]);
}

#[test]
fn other_files_are_refused() {
    insta::assert_snapshot!(refusal("make.py"), @r#"
        cannot read `make.py`: it is neither a safetensors file nor a PyTorch state dict
        hint: save the weights as safetensors, or with `torch.save(model.state_dict(), "weights.pth")`
        "#);
    insta::assert_snapshot!(refusal("absent.pth"), @r#"
        cannot read `absent.pth`: no such file or folder
        "#);
}

#[test]
fn no_truncated_or_altered_file_panics_and_none_truncated_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    for name in ["state_dict.safetensors", "state_dict.pth", "legacy.pth"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        for length in (0..whole.len()).step_by(whole.len() / 60) {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(WeightsFile::open(&path).is_err(), "{name} cut to {length}");
        }
        for place in (0..whole.len()).step_by(whole.len() / 200) {
            let mut altered = whole.clone();
            altered[place] ^= 0x55;
            std::fs::write(&path, &altered).unwrap();
            if let Ok(source) = WeightsFile::open(&path) {
                for tensor in source.entries().keys() {
                    let _ = source.tensor(tensor);
                }
            }
        }
    }
}

fn resnet18(classes: usize) -> Description {
    let spec = pipeline::Model::of(pipeline::Arch::ResNet18);
    Model::build(&spec, classes).description
}

fn stage(settings: &str) -> pipeline::LoadWeights {
    toml::from_str(&format!("file = \"x\"\n{settings}")).unwrap()
}

fn metadata(classes: &str) -> BTreeMap<String, String> {
    [("defrost.arch", "resnet18"), ("defrost.classes", classes)]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into()
}

/// A ResNet-18 for three classes with its tensors changed by `change`, in its own folder.
fn saved(change: impl FnOnce(&mut Description, &mut StateDict)) -> (tempfile::TempDir, WeightsFile) {
    let mut description = resnet18(3);
    let number = |(id, spec): (usize, &TensorSpec)| match spec.role {
        TensorRole::BatchCount => initialize(spec, 0),
        _ => Ok(Tensor::full(id as f32 / 3.0, spec.shape.as_slice(), &Device::Cpu)?),
    };
    let tensors = description.tensors.iter().enumerate().map(number).collect::<crate::Result<_>>();
    let mut state = StateDict { tensors: tensors.unwrap() };
    change(&mut description, &mut state);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    save(&path, &description, &state, Dialect::Own, &metadata("[\"a\",\"b\",\"c\"]")).unwrap();
    (folder, WeightsFile::open(&path).unwrap())
}

fn remove(description: &mut Description, state: &mut StateDict, unwanted: impl Fn(&str) -> bool) {
    for id in (0..description.tensors.len()).rev() {
        if unwanted(&description.tensors[id].name) {
            description.tensors.remove(id);
            state.tensors.remove(id);
        }
    }
}

fn verdict(source: &WeightsFile, classes: usize, settings: &str) -> Result<usize, String> {
    let description = resnet18(classes);
    let rules = LoadRules::resolve(&description, &stage(settings)).unwrap();
    match origins(&description, source, &rules) {
        Ok(origins) => Ok(origins.iter().filter(|origin| **origin == Origin::Initialized).count()),
        Err(error) => Err(text(error).replace(&source.path().display().to_string(), "net.safetensors")),
    }
}

#[test]
fn what_was_saved_is_loaded_bit_for_bit_and_saved_to_the_same_bytes() {
    let description = resnet18(3);
    let (folder, source) = saved(|_, _| ());
    let state = load(&description, &source, &LoadRules::default(), 9).unwrap();
    let again = folder.path().join("again.safetensors");
    let digest = save(&again, &description, &state, Dialect::Own, &metadata("[\"a\",\"b\",\"c\"]")).unwrap();
    assert_eq!(digest, source.digest());
    assert_eq!(std::fs::read(&again).unwrap(), std::fs::read(source.path()).unwrap());
    assert_eq!(WeightsFile::open(&again).unwrap().metadata()["defrost.arch"], "resnet18");
    // The safetensors crate agrees.
    let read = candle_core::safetensors::load(&again, &Device::Cpu).unwrap();
    assert_eq!(read["bn1.num_batches_tracked"].dtype(), candle_core::DType::I64);
    assert_eq!(
        read["fc.weight"].to_vec2::<f32>().unwrap(),
        state.tensors[description.id("fc.weight").unwrap()].to_vec2::<f32>().unwrap()
    );
}

/// The model's own name below `conv1` is not in the file, so the hint may name the file's tensors by their
/// module.
#[test]
fn the_lines_that_would_allow_it_are_printed() {
    let (_folder, source) = saved(|description, _| {
        let id = description.id("conv1.weight").unwrap();
        description.tensors[id].name = "conv1.0.weight".to_owned();
    });
    let refused = verdict(&source, 3, "").unwrap_err();
    let lines = ["allow_missing = [\"conv1\"]", "allow_unexpected = [\"conv1\"]"];
    assert!(refused.ends_with(&format!("add `{}` and `{}` to the stage", lines[0], lines[1])), "{refused}");
    assert!(verdict(&source, 3, &lines.join("\n")).is_ok());
}

#[test]
fn strictness_names_everything_and_rules_allow_it() {
    let (_folder, source) = saved(|description, state| {
        let id = description.id("layer1.0.conv1.weight").unwrap();
        description.tensors[id].name = "layer1.0.conv_1.weight".to_owned();
        remove(description, state, |name| name == "bn1.bias" || name.ends_with("num_batches_tracked"));
    });
    insta::assert_snapshot!(verdict(&source, 2, "").unwrap_err(), @r#"
        the weights in `net.safetensors` do not fit `resnet18`
          missing     `bn1.bias` [64]
          missing     `layer1.0.conv1.weight` [64, 64, 3, 3]; the file has `layer1.0.conv_1.weight`
          mismatched  `fc.weight` [2, 512]; the file has [3, 512]
          mismatched  `fc.bias` [2]; the file has [3]
          unexpected  `layer1.0.conv_1.weight` [64, 64, 3, 3]; the model has `layer1.0.conv1.weight`
        hint: if this is intended, add `reinit = ["@head"]` and `allow_missing = ["bn1.bias", "layer1.0.conv1"]` and `allow_unexpected = ["layer1.0.conv_1"]` to the stage
        "#);
    let allowed = "reinit = [\"@head\"]\nallow_missing = [\"bn1.bias\", \"layer1.0.conv1\"]\n\
                   allow_unexpected = [\"layer1.0.conv_1.weight\"]";
    // The two of the head, the two missing ones, and the counts that the file lacks.
    assert_eq!(verdict(&source, 2, allowed), Ok(4 + 20));
    let idle = format!("{allowed}\nallow_mismatched = [\"conv1\"]");
    insta::assert_snapshot!(verdict(&source, 2, &idle).unwrap_err(), @r#"
        `allow_mismatched[0] = "conv1"` allows something that does not occur in `net.safetensors`
        hint: remove the pattern: it is not needed for this file
        "#);
}

#[test]
fn a_head_of_another_size_is_met_with_reinit() {
    let (_folder, source) = saved(|_, _| ());
    insta::assert_snapshot!(verdict(&source, 5, "").unwrap_err(), @r#"
        the weights in `net.safetensors` do not fit `resnet18`
          mismatched  `fc.weight` [5, 512]; the file has [3, 512]
          mismatched  `fc.bias` [5]; the file has [3]
        hint: add `reinit = ["@head"]` to the stage: a head for other classes is initialised at random
        "#);
    assert_eq!(verdict(&source, 5, "reinit = [\"@head\"]"), Ok(2));
    assert_eq!(verdict(&source, 5, "allow_mismatched = [\"fc\"]"), Ok(2));
}

#[test]
fn names_behind_a_prefix_are_told_as_such() {
    let (_folder, source) = saved(|description, _| {
        for tensor in &mut description.tensors {
            tensor.name.insert_str(0, "module.");
        }
    });
    insta::assert_snapshot!(verdict(&source, 3, "").unwrap_err(), @r#"
        the weights in `net.safetensors` do not fit `resnet18`: all its names start with `module.`
        hint: save the state dict of the bare model, without the wrapper around it
        "#);
}

#[test]
fn the_same_number_of_other_classes_needs_a_fresh_head() {
    let description = resnet18(3);
    let (_folder, source) = saved(|_, _| ());
    let verdict = |classes: [&str; 3], settings: &str| {
        let mut rules = LoadRules::resolve(&description, &stage(settings)).unwrap();
        rules.classes = Some(classes.map(str::to_owned).to_vec());
        origins(&description, &source, &rules).map(|_| ())
    };
    assert!(verdict(["a", "b", "c"], "").is_ok() && verdict(["a", "c", "b"], "reinit = [\"fc\"]").is_ok());
    let error = verdict(["a", "c", "b"], "").unwrap_err();
    assert!(error.message.contains("classes `a`, `b`, `c`, but this data set has `a`, `c`, `b`"), "{error}");
}

/// A ResNet-18 in a safetensors file, with some tensors of another type.
fn retyped(changes: &[(&str, &str, &[u8])]) -> (tempfile::TempDir, WeightsFile) {
    let description = resnet18(3);
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for spec in &description.tensors {
        let change = changes.iter().find(|(name, ..)| spec.name == *name);
        let (dtype, bytes) = match change {
            Some((_, dtype, bytes)) => (*dtype, bytes.repeat(spec.elements())),
            None if spec.role == TensorRole::BatchCount => ("I64", vec![0; 8]),
            None => ("F32", vec![0; 4 * spec.elements()]),
        };
        let offsets = [data.len(), data.len() + bytes.len()];
        let entry = serde_json::json!({ "dtype": dtype, "shape": spec.shape, "data_offsets": offsets });
        header.insert(spec.name.clone(), entry);
        data.extend(bytes);
    }
    let header = serde_json::Value::Object(header).to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    std::fs::write(&path, file).unwrap();
    (folder, WeightsFile::open(&path).unwrap())
}

#[test]
fn counts_of_any_type_are_read_where_they_are_whole_numbers() {
    let half = half::f16::from_f32(7.0).to_le_bytes();
    let (single, double) = (8f32.to_le_bytes(), 9f64.to_le_bytes());
    let (_folder, source) = retyped(&[
        ("bn1.num_batches_tracked", "F16", &half),
        ("layer1.0.bn1.num_batches_tracked", "F32", &single),
        ("layer1.0.bn2.num_batches_tracked", "F64", &double),
        ("layer1.1.bn1.num_batches_tracked", "I32", &[10, 0, 0, 0]),
        ("layer1.1.bn2.num_batches_tracked", "U8", &[11]),
    ]);
    let description = resnet18(3);
    let state = load(&description, &source, &LoadRules::default(), 0).unwrap();
    let counts = description.tensors.iter().zip(&state.tensors);
    let counts = counts.filter(|(spec, _)| spec.role == TensorRole::BatchCount).take(6);
    let counts: Vec<i64> = counts.map(|(_, tensor)| tensor.to_scalar::<i64>().unwrap()).collect();
    assert_eq!(counts, [7, 8, 9, 10, 11, 0]);
}

#[test]
fn numbers_of_a_wrong_type_are_told_before_any_is_read() {
    let infinite = half::f16::INFINITY.to_le_bytes();
    let broken: (&str, &str, &[u8]) = ("bn1.num_batches_tracked", "F16", &infinite);
    let (_folder, source) = retyped(&[broken]);
    assert_eq!(
        verdict(&source, 3, "").unwrap_err().lines().collect::<Vec<_>>(),
        [
            "the weights in `net.safetensors` do not fit `resnet18`",
            "  mistyped    `bn1.num_batches_tracked` holds inf (float16), but a count is expected",
            "hint: add `reinit = [\"*.num_batches_tracked\"]` to the stage: no result depends on them",
        ]
    );
    assert_eq!(verdict(&source, 3, "reinit = [\"*.num_batches_tracked\"]"), Ok(20));
    let (_folder, source) = retyped(&[broken, ("bn1.weight", "I8", &[1]), ("fc.bias", "BOOL", &[1])]);
    assert_eq!(
        verdict(&source, 3, "").unwrap_err().lines().collect::<Vec<_>>(),
        [
            "the weights in `net.safetensors` do not fit `resnet18`",
            "  mistyped    `bn1.weight` holds int8 numbers, but floats are expected",
            "  mistyped    `bn1.num_batches_tracked` holds inf (float16), but a count is expected",
            "  mistyped    `fc.bias` holds bool numbers, but floats are expected",
            "hint: save the weights as float32, float16 or bfloat16",
        ]
    );
    let (_folder, source) = retyped(&[("fc.weight", "I8", &[1])]);
    assert_eq!(
        verdict(&source, 3, "").unwrap_err().lines().collect::<Vec<_>>(),
        [
            "the weights in `net.safetensors` do not fit `resnet18`",
            "  mistyped    `fc.weight` holds int8 numbers, but floats are expected",
            "hint: save the weights as float32, float16 or bfloat16",
        ]
    );
    assert_eq!(verdict(&source, 3, "reinit = [\"@head\"]"), Ok(2));
}

/// As with a file of something else: the full list would fill many screens.
#[test]
fn long_lists_are_cut() {
    let mut description = resnet18(3);
    let spec = description.tensors[0].clone();
    let strange =
        (0..3000).map(|n| TensorSpec { name: format!("conv1.weight{n}"), shape: vec![1], ..spec.clone() });
    description.tensors.extend(strange);
    description.tensors.retain(|spec| !spec.name.starts_with("layer"));
    let state =
        StateDict { tensors: description.tensors.iter().map(|spec| initialize(spec, 0).unwrap()).collect() };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    save(&path, &description, &state, Dialect::Own, &BTreeMap::new()).unwrap();
    let error = verdict(&WeightsFile::open(&path).unwrap(), 3, "").unwrap_err();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 1 + 41 + 41 + 1, "{error}");
    assert_eq!(lines[41], "  … and 55 more missing");
    assert_eq!(lines[82], "  … and 2960 more unexpected");
}

#[test]
fn load_patterns_are_checked_against_the_model() {
    let rules = stage(
        "reinit = [\"@head\", \"layr1\"]\nallow_missing = [\"fc.[10-12]\"]\nallow_unexpected = [\"@norm\"]",
    );
    let errors = LoadRules::resolve(&resnet18(3), &rules).unwrap_err();
    let places: Vec<_> = errors.iter().map(|error| (error.setting.as_str(), error.code)).collect();
    assert_eq!(
        places,
        [
            ("reinit[1]", "pattern-unmatched"),
            ("allow_missing[0]", "pattern-syntax"),
            ("allow_unexpected[0]", "pattern-unmatched")
        ]
    );
    assert_eq!(errors[0].help.as_deref(), Some("did you mean `layer1`?"));
    assert!(LoadRules::resolve(&resnet18(3), &stage("allow_missing = [\"*.running_mean\"]")).is_ok());
}

#[test]
fn fresh_weights_depend_on_seed_and_name_alone_and_have_torchs_spread() {
    let mut description = resnet18(10);
    description
        .tensors
        .retain(|tensor| !tensor.name.starts_with("layer3") && !tensor.name.starts_with("layer4"));
    let state = initialize_all(&description, 3).unwrap();
    let spec = |name: &str| &description.tensors[description.id(name).unwrap()];
    let numbers = |name: &str, seed| {
        initialize(spec(name), seed).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let conv = numbers("layer2.0.conv1.weight", 3);
    let id = description.id("layer2.0.conv1.weight").unwrap();
    assert_eq!(conv, state.tensors[id].flatten_all().unwrap().to_vec1::<f32>().unwrap());
    assert_ne!(conv, numbers("layer2.0.conv1.weight", 4));
    let deviation = (conv.iter().map(|x| x * x).sum::<f32>() / conv.len() as f32).sqrt();
    let expected = (2.0f32 / (9.0 * 128.0)).sqrt();
    assert!((deviation / expected - 1.0).abs() < 0.02, "{deviation} for {expected}");
    let linear = numbers("fc.weight", 3);
    let bound = 1.0 / 512f32.sqrt();
    let largest = linear.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    assert!(largest <= bound && largest > 0.99 * bound, "{largest} within {bound}");
    assert_eq!(numbers("bn1.running_var", 3), [1.0; 64]);
}

#[test]
fn the_published_lite0_fits_strictly_and_widens_exactly() {
    let spec = pipeline::Model::of(pipeline::Arch::EfficientNetLite0);
    let description = Model::build(&spec, 1000).description;
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../pipelines/quickstart/efficientnet_lite0.safetensors");
    let source = WeightsFile::open(&path).unwrap();
    let origins = origins(&description, &source, &LoadRules::default()).unwrap();
    assert!(origins.iter().all(|origin| *origin == Origin::Source));
    let weight = source.tensor("_conv_stem.weight").unwrap();
    assert_eq!(weight.dtype(), candle_core::DType::F32);
    let back = weight.to_dtype(candle_core::DType::F16).unwrap().to_dtype(candle_core::DType::F32).unwrap();
    let numbers = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(numbers(weight), numbers(back));
}

#[test]
fn numbers_that_are_not_finite_are_named() {
    let (_folder, source) = saved(|_, state| {
        state.tensors[0] = (&state.tensors[0] + f64::NAN).unwrap();
    });
    let error = load(&resnet18(3), &source, &LoadRules::default(), 0).unwrap_err();
    assert!(error.message.contains("`conv1.weight`") && error.message.contains("not finite"), "{error}");
}

#[test]
fn what_a_published_file_has_beside_an_encoder_is_left_out_and_nothing_else_is() {
    let spec = pipeline::Model::of(pipeline::Arch::ClipVitB32);
    let mut description = Model::build(&spec, 2).description;
    // Some of its tensors are enough.
    description.tensors.truncate(5);
    let beside = ["text_model.embeddings.token_embedding.weight", "logit_scale", "visual_projection.weight"];
    let fits = |strange: &[&str]| {
        let mut whole = description.clone();
        let spec = whole.tensors[0].clone();
        whole
            .tensors
            .extend(strange.iter().map(|name| TensorSpec { name: (*name).to_owned(), ..spec.clone() }));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let state = initialize_all(&whole, 0).unwrap();
        save(&path, &whole, &state, Dialect::Own, &BTreeMap::new()).unwrap();
        let source = WeightsFile::open(&path).unwrap().translated(&description).unwrap();
        origins(&description, &source, &LoadRules::default()).map_err(|error| error.message)
    };
    assert_eq!(fits(&beside), Ok(vec![Origin::Source; 5]));
    let error = fits(&["text_model.x", "text_modell.y"]).unwrap_err();
    assert!(error.contains("unexpected  `text_modell.y`") && !error.contains("text_model.x"), "{error}");
}
