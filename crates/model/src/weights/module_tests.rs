//! Pickled modules: the tensors of their state dicts, and modules that are not read.

use std::path::{Path, PathBuf};

use super::*;
use crate::error::ErrorKind;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/weights").join(name)
}

/// `tests/fuzz/corpus.py` makes them.
fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/pickle").join(name)
}

/// The state dict that `make_modules.py` has written for comparison.
fn agrees(source: &WeightsFile, facts: &WeightsFile, kind: &str) {
    let prefix = format!("{kind}:");
    let expected: Vec<&str> = facts.entries().keys().filter_map(|name| name.strip_prefix(&prefix)).collect();
    assert_eq!(source.entries().keys().collect::<Vec<_>>(), expected, "{}", source.path().display());
    for name in expected {
        let (own, fact) = (source.tensor(name).unwrap(), facts.tensor(&format!("{prefix}{name}")).unwrap());
        assert_eq!(own.dims(), fact.dims(), "{name}");
        if own.dtype() == candle_core::DType::I64 {
            assert_eq!(own.to_scalar::<i64>().unwrap(), fact.to_scalar::<i64>().unwrap(), "{name}");
        } else {
            let numbers =
                |tensor: candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(numbers(own), numbers(fact), "{name}");
        }
    }
}

#[test]
fn pickled_detectors_are_their_state_dicts() {
    let facts = WeightsFile::open(&fixture("modules.safetensors")).unwrap();
    for (name, kind) in [
        ("detector.pt", "model"),
        ("detector_ema.pt", "ema"),
        ("detector_both.pt", "ema"),
        ("detector_empty_ema.pt", "model"),
    ] {
        let source = WeightsFile::open(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        agrees(&source, &facts, kind);
        assert_eq!(source.classes().unwrap(), ["person", "Car ", "train"], "{name}");
        assert_eq!(source.entries()["model.0.conv.weight"].dtype, DataType::F16);
    }
}

/// Files of a package itself, with the state dicts as safetensors of the same names beside them: a folder with `x.pt`
/// and `x.safetensors` for each, by `DEFROST_MODULES`.
#[test]
#[ignore = "asks for a folder of files, DEFROST_MODULES"]
fn files_of_other_packages_are_their_state_dicts() {
    let folder = PathBuf::from(std::env::var("DEFROST_MODULES").unwrap());
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "pt") {
            let source = WeightsFile::open(&path).unwrap();
            let facts = WeightsFile::open(&path.with_extension("safetensors")).unwrap();
            let names: Vec<&String> = source.entries().keys().collect();
            assert_eq!(names, facts.entries().keys().collect::<Vec<_>>());
            for name in names {
                let bytes = |file: &WeightsFile| {
                    let tensor = file.tensor(name).unwrap().to_dtype(candle_core::DType::F64).unwrap();
                    tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap()
                };
                assert_eq!(bytes(&source), bytes(&facts), "{name} of {}", path.display());
            }
            println!("{}: {} tensors, {:?}", path.display(), source.entries().len(), source.classes());
        }
    }
}

#[test]
fn modules_are_read_from_every_place() {
    let names = |name: &str| {
        let source = WeightsFile::open(&corpus(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let names: Vec<String> = source.entries().keys().cloned().collect();
        (names.join(" "), source.classes().map(|classes| classes.join(" ")))
    };
    let all = "0.weight 1.running_mean 1.weight again.running_mean again.weight";
    let norm = "0.running_mean 0.weight";
    for (name, tensors, classes) in [
        ("modules.pth", all, None),
        ("modules_in_dict.pth", all, None),
        ("modules_both.pth", norm, None),
        ("modules_empty_ema.pth", all, None),
        ("modules_beside_state_dict.pth", "bn1.bias bn1.weight", None),
        ("module_unsaved_2.pth", "0.running_mean", None),
        ("module_unsaved_4.pth", "0.running_mean", None),
        ("module_names.pth", norm, Some("person Car")),
        ("module_names_list.pth", norm, Some("a b")),
        ("module_names_numbers.pth", norm, None),
        ("module_names_gap.pth", norm, None),
    ] {
        assert_eq!(names(name), (tensors.to_owned(), classes.map(str::to_owned)), "{name}");
    }
}

#[test]
fn parts_that_are_not_understood_are_refused_by_name() {
    let refusal = |name: &str| {
        let error = WeightsFile::open(&corpus(name)).err().unwrap_or_else(|| panic!("{name} is read"));
        assert_eq!(error.kind, ErrorKind::Usage);
        assert!(error.hint.is_some(), "{name}");
        let start = format!("cannot read `{}`: ", corpus(name).display());
        error.message.strip_prefix(&start).unwrap_or_else(|| panic!("{}", error.message)).to_owned()
    };
    let sequential = "it is a pickled `torch.nn.modules.container.Sequential`: ";
    for (name, message) in [
        ("module_part.pth", "`head` in it is a dict, not a module with `_parameters` and `_modules`"),
        ("module_value.pth", "`0.weight` in it is a list, not a tensor"),
        (
            "module_table.pth",
            "`0` in it is a `torch.nn.modules.conv.Conv2d`, not a module with `_parameters` and `_modules`",
        ),
        ("module_unnamed.pth", "a part of the outermost module in it has no name"),
        ("modules_no_tensor.pth", "it is a module without tensors"),
        ("module_deep.pth", "it has modules in each other, more than 32 deep"),
        ("module_in_itself.pth", "it has modules in each other, more than 32 deep"),
        ("module_doubled.pth", "it has modules in each other, more than 32 deep"),
        ("module_shared.pth", "it is a module that has the same tensors under too many names"),
        ("module_long_name.pth", "the name of a tensor has 1801 bytes"),
        ("module_control_name.pth", "the name `a\\u{a}error: forged` of a tensor has control characters"),
    ] {
        assert_eq!(refusal(name), format!("{sequential}{message}"), "{name}");
    }
    assert_eq!(
        refusal("modules_of_two_nets.pth"),
        "the weights may be under one of the keys `generator`, `critic`; its keys are `generator`, `critic`"
    );
}
