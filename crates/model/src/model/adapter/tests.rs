//! Adapters of real architectures: what they compute, their gradients, and what is refused.

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::autograd::Value;
use crate::model::scope::{NormSettings, Scope};
use crate::model::{NormMode, Pass, parity};
use crate::ops::Activation;
use crate::ops::testing::{Fixture, assert_close, assert_same_on_any_threads, numbers, weighted_sum};
use crate::pipeline::Arch;
use crate::weights;

fn plain(arch: Arch) -> Model {
    Model::build_for(&pipeline::Model::of(arch), 5, 32)
}

fn settings(text: &str) -> pipeline::Adapter {
    toml::from_str(text).unwrap()
}

/// A model with adapters, of which B is not zero if `moved`, and the ids of all adapters.
fn adapted(arch: Arch, text: &str, dtype: DType, moved: bool) -> (Model, StateDict) {
    let spec = plain(arch).resolve_adapter(&settings(text)).unwrap();
    let model = plain(arch).with_adapters(Some(&spec));
    let tensor = |(id, spec): (usize, &TensorSpec)| match model.description.adapted_by(id) {
        Some(_) if !moved => weights::initialize(spec, 3).unwrap().to_dtype(dtype).unwrap(),
        _ => parity::weights(spec, dtype),
    };
    let tensors = model.description.tensors.iter().enumerate().map(tensor).collect();
    (model, StateDict { tensors })
}

/// The flags with which only these tensors train.
fn only(model: &Model, trains: impl Fn(TensorId) -> bool) -> Vec<bool> {
    (0..model.description.tensors.len()).map(trains).collect()
}

fn is_adapter(model: &Model) -> impl Fn(TensorId) -> bool {
    move |id| model.description.adapted_by(id).is_some()
}

fn trained(model: &Model, state: &StateDict, trainable: &[bool], images: &Value) -> Tensor {
    let norms = vec![NormMode::Frozen; model.description.norms.len()];
    let mut pass = Pass::training(state, trainable, &norms, 0, 0, &[0, 1]);
    model.forward(&mut pass, 0, images.clone()).unwrap().logits().unwrap().tensor().clone()
}

fn inferred(model: &Model, state: &StateDict, images: &Value) -> Tensor {
    let mut pass = Pass::inference(state);
    model.forward(&mut pass, 0, images.clone()).unwrap().logits().unwrap().tensor().clone()
}

/// A vision transformer, one that is an encoder otherwise, attention in windows, and a convolutional network.
const CASES: [(Arch, &str, usize); 4] = [
    (Arch::VitS16, "match = [\"encoder\"]\nrank = 3\nalpha = 6", 32),
    (Arch::DinoV2VitS14, "match = [\"blocks.*.attn.qkv\", \"*.mlp.fc2\"]\nrank = 2", 28),
    (Arch::SwinT, "match = [\"*.attn\", \"*.reduction\"]\nrank = 4\nalpha = 2", 32),
    (Arch::ConvNextTiny, "match = [\"*.block\"]\nrank = 2\nalpha = 1", 32),
];

#[test]
fn new_adapters_change_no_bit() {
    for (arch, text, size) in CASES {
        let images = parity::images("adapted", [2, size, size, 3], DType::F32);
        let (model, state) = adapted(arch, text, DType::F32, false);
        let base = plain(arch);
        let of_base = StateDict { tensors: state.tensors[..base.description.tensors.len()].to_vec() };
        let inference = inferred(&base, &of_base, &images);
        assert_eq!(numbers(&inferred(&model, &state, &images)), numbers(&inference), "{arch:?}");
        // The head is trained in both, so that layers compute in the same way.
        let head = |model: &Model| only(model, |id| model.description.in_head(id));
        let with_head = only(&model, |id| model.description.in_head(id) || is_adapter(&model)(id));
        let training = trained(&base, &of_base, &head(&base), &images);
        assert_eq!(numbers(&trained(&model, &state, &head(&model), &images)), numbers(&training), "{arch:?}");
        assert_close("adapters train", &trained(&model, &state, &with_head, &images), &training, 1e-5);
    }
}

#[test]
fn merged_weights_compute_the_same() {
    for (arch, text, size) in CASES {
        let images = |dtype| parity::images("adapted", [2, size, size, 3], dtype);
        let (model, state) = adapted(arch, text, DType::F64, true);
        let trainable = only(&model, is_adapter(&model));
        let unmerged = trained(&model, &state, &trainable, &images(DType::F64));
        let merged = merge_adapters(&model.description, &state).unwrap();
        assert_close("f64", &inferred(&plain(arch), &merged, &images(DType::F64)), &unmerged, 1e-11);

        let (model, state) = adapted(arch, text, DType::F32, true);
        let single = trained(&model, &state, &trainable, &images(DType::F32));
        assert_close("f32, unmerged", &single, &unmerged, 2e-4);
        let merged = merge_adapters(&model.description, &state).unwrap();
        let exported = inferred(&plain(arch), &merged, &images(DType::F32));
        assert_close("f32, merged", &exported, &unmerged, 2e-4);
        // Inference with adapters is that of the merged weights.
        assert_eq!(numbers(&inferred(&model, &state, &images(DType::F32))), numbers(&exported));
        // Frozen adapters, too, in a later stage.
        let frozen = vec![false; trainable.len()];
        assert_eq!(
            numbers(&trained(&model, &state, &frozen, &images(DType::F32))),
            numbers(&trained(&plain(arch), &merged, &frozen[..merged.tensors.len()], &images(DType::F32)))
        );
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for (arch, text, size) in [CASES[0], CASES[2]] {
        let images = parity::images("adapted", [1, size, size, 3], DType::F64);
        let (model, state) = adapted(arch, text, DType::F64, true);
        let trainable = only(&model, is_adapter(&model));
        let weights =
            parity::images("of the logits", [1, 1, 1, 5], DType::F64).tensor().reshape((1, 5)).unwrap();
        let loss = |state: &StateDict| -> f64 {
            let logits = trained(&model, state, &trainable, &images);
            (logits * &weights).unwrap().sum_all().unwrap().to_scalar().unwrap()
        };
        let norms = vec![NormMode::Frozen; model.description.norms.len()];
        let mut pass = Pass::training(&state, &trainable, &norms, 0, 0, &[0]);
        let logits = model.forward(&mut pass, 0, images.clone()).unwrap();
        let sum = weighted_sum(pass.tape(), logits.logits().unwrap(), &weights);
        let (gradients, _) = pass.backward(&sum).unwrap();
        assert_eq!(gradients.len(), 2 * model.description.adapters.layers.len());
        // An element of each of some tensors, A and B.
        for (id, gradient) in gradients.iter().step_by(gradients.len() / 6 + 1).chain(&gradients[1..2]) {
            let gradient = numbers(gradient.as_ref().unwrap());
            let at = gradient.len() / 3;
            let moved = |by: f64| {
                let mut state = state.clone();
                let tensor = &state.tensors[*id];
                let mut values = numbers(tensor);
                values[at] += by;
                state.tensors[*id] = Tensor::from_vec(values, tensor.dims(), &Device::Cpu).unwrap();
                loss(&state)
            };
            let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            let largest = gradient.iter().fold(0.0f64, |max, x| max.max(x.abs()));
            let name = &model.description.tensors[*id].name;
            assert!(
                (gradient[at] - difference).abs() < 1e-6 * largest.max(1e-3),
                "{arch:?} {name}: {} and {difference}",
                gradient[at]
            );
        }
    }
}

#[test]
fn threads_do_not_matter() {
    let (arch, text, size) = CASES[0];
    let images = parity::images("adapted", [2, size, size, 3], DType::F32);
    let (model, state) = adapted(arch, text, DType::F32, true);
    let trainable = only(&model, is_adapter(&model));
    assert_same_on_any_threads(|| {
        let norms = Vec::new();
        let mut pass = Pass::training(&state, &trainable, &norms, 0, 0, &[0, 1]);
        let logits = model.forward(&mut pass, 0, images.clone()).unwrap();
        let weights = logits.logits().unwrap().tensor().clone();
        let loss = weighted_sum(pass.tape(), logits.logits().unwrap(), &weights);
        let gradients = pass.backward(&loss).unwrap().0;
        gradients.into_iter().filter_map(|(_, gradient)| gradient).chain([weights]).collect()
    });
}

#[test]
fn adapters_follow_the_tensors_of_the_network() {
    let (model, _) = adapted(CASES[0].0, CASES[0].1, DType::F32, false);
    let (description, base) = (&model.description, plain(CASES[0].0).description);
    assert_eq!(description.without_adapters(), base);
    assert_eq!(description.tensors[..base.tensors.len()], base.tensors[..]);
    let line = |spec: &TensorSpec| format!("{} {:?} {}", spec.name, spec.shape, spec.layer);
    let lines: Vec<String> = description.tensors[base.tensors.len()..].iter().map(line).collect();
    assert_eq!(
        lines[..8],
        [
            "encoder.layers.encoder_layer_0.self_attention.in_proj.lora_A.weight [3, 384] 1",
            "encoder.layers.encoder_layer_0.self_attention.in_proj.lora_B.weight [1152, 3] 1",
            "encoder.layers.encoder_layer_0.self_attention.out_proj.lora_A.weight [3, 384] 1",
            "encoder.layers.encoder_layer_0.self_attention.out_proj.lora_B.weight [384, 3] 1",
            "encoder.layers.encoder_layer_0.mlp.0.lora_A.weight [3, 384] 1",
            "encoder.layers.encoder_layer_0.mlp.0.lora_B.weight [1536, 3] 1",
            "encoder.layers.encoder_layer_0.mlp.3.lora_A.weight [3, 1536] 1",
            "encoder.layers.encoder_layer_0.mlp.3.lora_B.weight [384, 3] 1",
        ]
    );
    let names = weights::Dialect::Timm.names(description);
    assert_eq!(names[base.tensors.len()], "blocks.0.attn.qkv.lora_A.weight");
    let timm = plain(Arch::VitS16)
        .resolve_adapter(&settings("match = [\"*.in_proj\", \"!*_1?.self_attention\"]\nrank = 1"));
    assert!(timm.is_err(), "a pattern that is none");
    let in_proj = |text: &str| plain(Arch::VitS16).resolve_adapter(&settings(text)).unwrap().weights.len();
    assert_eq!(in_proj("match = [\"*.in_proj\"]\nrank = 1"), 12);
    assert_eq!(in_proj("match = [\"*.in_proj_weight\"]\nrank = 1"), 12);
    assert_eq!(in_proj("match = [\"@backbone\", \"!*.mlp\"]\nrank = 384"), 24);
}

#[test]
fn what_cannot_be_adapted_is_refused_with_its_cure() {
    let refusals = |arch: Arch, text: &str| {
        let errors = plain(arch).resolve_adapter(&settings(text)).unwrap_err();
        let line = |error: &RuleError| {
            let help = error.help.as_deref().unwrap_or_default();
            format!("{} [{}]: {}\n    help: {help}", error.setting, error.code, error.message)
        };
        errors.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(
        refusals(
            Arch::VitS16,
            "match = [\"blocks\", \"@head\", \"conv_proj\", \"*.mlp\", \"*.mlp.0\", \"encoder.layer\"]\nrank = 400"
        ),
        @r#"
    adapter.match[0] [pattern-unmatched]: `blocks` matches no layer
        help: `defrost params` lists the names of `vit_s_16`
    adapter.match[1] [adapter-not-linear]: `@head` matches only the head, which is not adapted
        help: train it as a whole: `train = ["@head"]`
    adapter.match[2] [adapter-not-linear]: `conv_proj` matches no linear layer: `conv_proj.weight` is none
        help: match linear layers, such as `encoder.layers.encoder_layer_0.self_attention.in_proj`
    adapter.match[4] [pattern-redundant]: `*.mlp.0` has no effect: all that it matches is already selected by the rules before it
        help: remove it, or move it
    adapter.match[5] [pattern-unmatched]: `encoder.layer` matches no layer
        help: did you mean `encoder.layers`?
    adapter.rank [adapter-rank]: `rank = 400` is more than the 384 of `encoder.layers.encoder_layer_0.mlp.0` itself
        help: lower it: an adapter with rank 384 can already be any change
    "#
    );
    insta::assert_snapshot!(refusals(Arch::ResNet50, "match = [\"layer4\"]\nrank = 4"), @"
    adapter [adapter-unsupported]: `resnet50` has no linear layers below its head to adapt
        help: use a vision transformer, such as `vit_s_16`, or train some of the layers: `train_last`
    ");
    insta::assert_snapshot!(refusals(Arch::ClipVitB32, "match = [\"*.q_proj\"]\nrank = 4"), @"
    adapter [adapter-unsupported]: `clip_vit_b32` is computed by another library, without gradients
        help: use another architecture, such as `dinov2_vits14`, or remove `adapter` and train only the head
    ");
    insta::assert_snapshot!(refusals(Arch::VitS16, "match = [\"*.mlp\", \"!encoder\"]\nrank = 4"), @"
    adapter.match [pattern-unmatched]: no layer is left to adapt
        help: remove a `!` pattern
    ");
}

/// `tests/fixtures/ops/make_lora.py`: a perceptron, whose input has a gradient too.
#[test]
fn pytorch_agrees() {
    const RANK: usize = 3;
    let fixture = Fixture::open("lora");
    let mut scope = Scope::new("test", NormSettings { eps: 0.0, momentum: 0.0 });
    scope.layer("mlp");
    let x_id = scope.tensor("x", vec![2, 5, 9], TensorRole::Weight, Init::Zeros);
    let [expand, project] = [("0", [9, 21]), ("3", [21, 9])]
        .map(|(name, sizes)| scope.dense(name, sizes, [Init::Zeros, Init::Zeros]));
    let mut description = scope.finish();
    let weights = ["0.weight", "3.weight"].map(str::to_owned).to_vec();
    description.add_adapters(&AdapterSpec { weights, rank: RANK, alpha: 4.5 });
    for dtype in [DType::F32, DType::F64] {
        let tensor = |spec: &TensorSpec| {
            fixture.input(
                &spec.name.replace("lora_A.weight", "lora_A").replace("lora_B.weight", "lora_B"),
                dtype,
            )
        };
        let state = StateDict { tensors: description.tensors.iter().map(tensor).collect() };
        let forward = |pass: &mut Pass| {
            pass.adapt(&description.adapters);
            let (x, residual) = (pass.parameter(x_id), Value::constant(fixture.input("residual", dtype)));
            let hidden = pass.pointwise(&expand, &x, Activation::Gelu, None).unwrap();
            pass.pointwise(&project, &hidden, Activation::None, Some(&residual)).unwrap()
        };
        let trainable: Vec<bool> =
            (0..state.tensors.len()).map(|id| id == x_id || description.adapted_by(id).is_some()).collect();
        let mut pass = Pass::training(&state, &trainable, &[], 0, 0, &[0, 1]);
        let y = forward(&mut pass);
        fixture.assert("y", y.tensor());
        let loss = weighted_sum(pass.tape(), &y, &fixture.input("weights", dtype));
        for (id, gradient) in pass.backward(&loss).unwrap().0 {
            let name = description.tensors[id].name.replace(".weight", "");
            fixture.assert(&format!("{name}.grad"), &gradient.unwrap());
        }
        fixture.assert("merged.y", forward(&mut Pass::inference(&state)).tensor());
    }
}
