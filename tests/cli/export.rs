//! `defrost export`: the structure of ONNX files. `tests/interop` computes with them.

use std::collections::{BTreeMap, BTreeSet};

use crate::metric_learning;
use crate::project::{Project, document};

/// A field of a message: its number, and its number or bytes.
type Field<'a> = (u64, Content<'a>);

#[derive(Clone, Copy, Debug)]
enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message of Protocol Buffers.
fn fields(mut bytes: &[u8]) -> Vec<Field<'_>> {
    fn number(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (first, rest) = bytes.split_first().expect("a whole number");
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if *first < 0x80 {
                return value;
            }
        }
        unreachable!()
    }
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = number(&mut bytes);
        let length = match key & 7 {
            0 => {
                all.push((key >> 3, Content::Number(number(&mut bytes))));
                continue;
            }
            2 => number(&mut bytes) as usize,
            5 => 4,
            other => panic!("a field of type {other}"),
        };
        let (content, rest) = bytes.split_at(length);
        all.push((key >> 3, Content::Bytes(content)));
        bytes = rest;
    }
    all
}

fn messages<'a>(message: &'a [u8], field: u64) -> Vec<&'a [u8]> {
    let content = |(number, content): Field<'a>| match content {
        Content::Bytes(bytes) if number == field => Some(bytes),
        _ => None,
    };
    fields(message).into_iter().filter_map(content).collect()
}

fn texts(message: &[u8], field: u64) -> Vec<String> {
    messages(message, field).into_iter().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect()
}

fn numbers(message: &[u8], field: u64) -> Vec<u64> {
    let content = |(number, content): Field| match content {
        Content::Number(value) if number == field => Some(value),
        _ => None,
    };
    fields(message).into_iter().filter_map(content).collect()
}

#[test]
fn a_classifier_becomes_a_graph_from_images_to_probabilities() {
    let project = Project::finished();
    let exported = document(&project.defrost(&["export", "colours", "--out", "colours.onnx", "--json"]));
    assert_eq!(exported["classes"], serde_json::json!(["blue", "green", "red"]));
    assert_eq!(exported["checkpoint"], "stages/finetune/best.safetensors");
    let file = std::fs::read(project.path().join("colours.onnx")).unwrap();
    assert_eq!(exported["bytes"], file.len());
    assert_eq!((numbers(&file, 1), numbers(messages(&file, 8)[0], 2)), (vec![8], vec![17]), "IR and opset");
    let graph = messages(&file, 7)[0];
    let names = |field| -> Vec<String> {
        messages(graph, field).into_iter().flat_map(|value| texts(value, 1)).collect()
    };
    assert_eq!(names(11), ["image"]);
    assert_eq!(names(12), ["logits", "probabilities", "embedding"]);
    // [N, 3, 32, 32]: type, then shape, then dimensions.
    let shape = messages(messages(messages(messages(graph, 11)[0], 2)[0], 1)[0], 2)[0];
    let dims: Vec<Vec<u64>> = messages(shape, 1).into_iter().map(|dim| numbers(dim, 1)).collect();
    assert_eq!(dims, [vec![], vec![3], vec![32], vec![32]]);
    // Every tensor is made before it is read, and once.
    let mut known: BTreeSet<String> = names(11).into_iter().collect();
    for constant in messages(graph, 5) {
        let elements: u64 = numbers(constant, 1).iter().product();
        let width = if numbers(constant, 2) == [7] { 8 } else { 4 };
        assert_eq!(messages(constant, 9)[0].len() as u64, elements * width);
        assert!(known.insert(texts(constant, 8).remove(0)));
    }
    for node in messages(graph, 1) {
        let unknown: Vec<String> =
            texts(node, 1).into_iter().filter(|input| !input.is_empty() && !known.contains(input)).collect();
        assert!(unknown.is_empty(), "{:?} reads {unknown:?}", texts(node, 4));
        texts(node, 2).into_iter().for_each(|output| assert!(known.insert(output)));
    }
    assert!(names(12).iter().all(|output| known.contains(output)));
    let documents: Vec<(String, String)> = messages(&file, 14)
        .into_iter()
        .map(|entry| (texts(entry, 1).remove(0), texts(entry, 2).remove(0)))
        .collect();
    let classes = documents.iter().find(|(name, _)| name == "classes").unwrap();
    assert_eq!(classes.1, r#"["blue","green","red"]"#);
    // The same weights give the same file.
    assert!(project.defrost(&["export", "colours", "--out", "again.onnx"]).status.success());
    assert!(std::fs::read(project.path().join("again.onnx")).unwrap() == file);
}

#[test]
fn what_cannot_be_exported_says_why() {
    let project = Project::finished();
    let refused = |arguments: &[&str]| {
        let output = project.defrost(&[&["export", "colours"], arguments].concat());
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["--out", "model.pt"]).contains("write `--out NAME.onnx`"));
    assert!(refused(&["--format", "timm", "--out", "photos"]).contains("is not of an earlier export"));
    assert!(refused(&["--format", "timm", "--out", "model.onnx"]).contains("does not fit the format"));
    assert!(
        refused(&["--format", "torch", "--out", "model.pth"])
            .contains("or `--out DIR` with `--format torch`")
    );
    assert!(refused(&["--format", "torch", "--out", "photos"]).contains("is not of an earlier export"));
    assert!(refused(&["--format", "torch", "--out", "new", "--stage", "start"]).contains("was not trained"));
    assert!(refused(&["--out", "model.onnx", "--stage", "test"]).contains("is not a train stage"));
    assert!(!project.path().join("model.onnx").exists());
}

#[test]
fn timm_gets_its_names_and_its_preprocessing() {
    let project = Project::finished();
    for _ in 0..2 {
        let output = project.defrost(&["export", "colours", "--format", "timm", "--out", "for-timm"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let read = |name: &str| std::fs::read(project.path().join("for-timm").join(name)).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&read("config.json")).unwrap();
    let settings = &config["pretrained_cfg"];
    assert_eq!(
        (&config["architecture"], &config["num_classes"]),
        (&"tf_efficientnet_lite0".into(), &3.into())
    );
    assert_eq!((&settings["crop_pct"], &settings["classifier"]), (&1.0.into(), &"classifier".into()));
    assert_eq!(settings["label_names"], serde_json::json!(["blue", "green", "red"]));
    let weights = read("model.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&weights).unwrap();
    let names = tensors.names();
    for name in ["conv_stem.weight", "blocks.0.0.bn1.running_mean", "classifier.bias"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let files: Vec<_> = std::fs::read_dir(project.path().join("for-timm")).unwrap().collect();
    assert_eq!(files.len(), 3);
    // What a killed export leaves does not stop the next one.
    std::fs::write(project.path().join("for-timm/.unfinished-1"), "").unwrap();
    let output = project.defrost(&["export", "colours", "--format", "timm", "--out", "for-timm"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn pytorch_gets_a_state_dict_that_loads_back_to_the_same_bits() {
    let project = Project::finished();
    let export = |out: &str| {
        let output = project.defrost(&["export", "colours", "--format", "torch", "--out", out]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(project.path().join(out).join("model.pth")).unwrap()
    };
    let weights = export("torch");
    assert!(weights == export("torch") && weights == export("again"));
    let settings = std::fs::read(project.path().join("torch/preprocessing.json")).unwrap();
    let settings: serde_json::Value = serde_json::from_slice(&settings).unwrap();
    assert_eq!(settings["classes"], serde_json::json!(["blue", "green", "red"]));
    assert_eq!((&settings["image_size"], &settings["resize"]), (&32.into(), &32.into()));
    assert_eq!(settings["mean"][0], 0.485);
    // It is read as any other file of weights, and the model is the same.
    let run = project.run(&[]);
    let trained = run.metrics("test");
    let read = "[stage.read]\nkind = \"load_weights\"\nfile = \"torch/model.pth\"\n\n\
                [stage.test_read]\nkind = \"evaluate\"\nfrom = \"read\"\n";
    project.write(&format!("{}\n{read}", project.text()));
    let run = project.run(&[]);
    assert_eq!(run.metrics("test_read"), trained);
    let tensors = |file: &str| {
        let path = run.directory.join("stages").join(file);
        let tensors = candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap();
        let bits = |tensor: candle_core::Tensor| {
            let values = tensor.flatten_all().unwrap().to_dtype(candle_core::DType::F32).unwrap();
            values.to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        tensors.into_iter().map(|(name, tensor)| (name, bits(tensor))).collect::<BTreeMap<_, _>>()
    };
    assert!(tensors("read/model.safetensors") == tensors("finetune/best.safetensors"));
}

#[test]
fn compared_embeddings_are_the_only_output() {
    let project = metric_learning::project(metric_learning::TRIPLET);
    project.run(&["--until", "finetune"]);
    let output = project.defrost(&["export", "colours", "--out", "colours.onnx"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = std::fs::read(project.path().join("colours.onnx")).unwrap();
    let graph = messages(&file, 7)[0];
    let outputs: Vec<String> = messages(graph, 12).into_iter().flat_map(|output| texts(output, 1)).collect();
    assert_eq!(outputs, ["embedding"]);
    // No node computes what nobody reads.
    let made = |node: &[u8]| texts(node, 2);
    let read: BTreeSet<String> = messages(graph, 1).into_iter().flat_map(|node| texts(node, 1)).collect();
    let idle = messages(graph, 1)
        .into_iter()
        .flat_map(made)
        .find(|name| !read.contains(name) && name != "embedding");
    assert_eq!(idle, None);
    let torch = project.defrost(&["export", "colours", "--format", "torch", "--out", "torch"]);
    assert!(torch.status.success(), "{}", String::from_utf8_lossy(&torch.stderr));
    let refused = project.defrost(&["export", "colours", "--format", "timm", "--out", "timm"]);
    assert_eq!(refused.status.code(), Some(2));
}
