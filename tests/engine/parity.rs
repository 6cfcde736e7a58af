//! Real weights on real images against PyTorch (`tests/fixtures/quickstart/make.py`): files in, logits out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use defrost::autograd::Value;
use defrost::data::Transform;
use defrost::model::{Model, Pass, StateDict};
use defrost::pipeline::{self, Arch, ImageSettings};
use defrost::weights::{LoadRules, WeightsFile, load};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The fixture's images, preprocessed as in evaluation, and PyTorch's logits.
fn fixture() -> (Tensor, HashMap<String, Tensor>) {
    let file = path("tests/fixtures/quickstart/logits.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let names: Vec<String> = serde_json::from_str(&header.metadata().as_ref().unwrap()["images"]).unwrap();
    let folder: ImageSettings =
        toml::from_str("image_size = 128\nresize = 128\nnormalize = \"efficientnet_lite\"").unwrap();
    let transform = Transform::evaluation(&folder, None);
    let image = |name: &String| {
        let bytes = std::fs::read(path("pipelines/quickstart/emoji").join(name)).unwrap();
        transform.tensor(&bytes).unwrap()
    };
    let images: Vec<Tensor> = names.iter().map(image).collect();
    let logits = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    (Tensor::cat(&images, 0).unwrap(), logits)
}

/// max|Δ| / max|expected|, in f64.
fn relative_error(actual: &Tensor, expected: &Tensor) -> f64 {
    let largest = |tensor: &Tensor| {
        let numbers = tensor.abs().unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        numbers
            .into_iter()
            .fold(0.0, |largest: f64, x| if x.is_nan() { f64::INFINITY } else { largest.max(x) })
    };
    let actual = actual.to_dtype(DType::F64).unwrap();
    largest(&(actual - expected).unwrap()) / largest(expected)
}

#[test]
fn the_quickstarts_logits_are_pytorchs() {
    let (images, expected) = fixture();
    let spec = pipeline::Model::of(Arch::EfficientNetLite0);
    let model = Model::build(&spec, 1000);
    let source = WeightsFile::open(&path("pipelines/quickstart/efficientnet_lite0.safetensors")).unwrap();
    let state = load(&model.description, &source, &LoadRules::default(), 0).unwrap();
    let logits = |state: &StateDict, images: &Tensor| {
        let images = Value::constant(images.clone());
        let outputs = model.forward(&mut Pass::inference(state), 0, images).unwrap();
        outputs.logits().unwrap().tensor().clone()
    };
    let exact = &expected["logits_f64"];
    let pytorchs = relative_error(&expected["logits_f32"].to_dtype(DType::F64).unwrap(), exact);
    let error = relative_error(&logits(&state, &images), exact);
    assert!(error <= 2.0 * pytorchs, "f32: {error:e}, PyTorch's own error is {pytorchs:e}");

    // In f64 the pixels are exact too, because (x − 127) / 128 is not rounded.
    let wide = |tensor: &Tensor| match tensor.dtype() {
        DType::I64 => tensor.clone(),
        _ => tensor.to_dtype(DType::F64).unwrap(),
    };
    let state = StateDict { tensors: state.tensors.iter().map(wide).collect() };
    let images = ((wide(&images) * 128.0).unwrap().round().unwrap() / 128.0).unwrap();
    let error = relative_error(&logits(&state, &images), exact);
    assert!(error <= 1e-12, "f64: {error:e}");
}
