//! Files with other names than the model's: recognition, reading, saving and messages.

use std::path::Path;

use candle_core::Tensor;

use super::*;
use crate::weights::{LoadRules, digests, initialize_all, load, origins, save};

fn describe(arch: Arch) -> Description {
    Model::build(&pipeline::Model::of(arch), 1000).description
}

/// A file with a network's tensors under other names, with timm's shapes.
fn file(folder: &Path, description: &Description, names: &[String]) -> WeightsFile {
    let mut renamed = description.clone();
    for (id, name) in names.iter().enumerate() {
        renamed.tensors[id].shape = Dialect::Timm.shape(description, id).to_vec();
        renamed.tensors[id].name.clone_from(name);
    }
    let path = folder.join("x.safetensors");
    let state = initialize_all(description, 3).unwrap();
    save(&path, &renamed, &state, Dialect::Own, &BTreeMap::new()).unwrap();
    WeightsFile::open(&path).unwrap()
}

#[test]
fn every_network_of_timm_has_the_names_and_shapes_that_timm_gives_it() {
    for (timm, arch) in [
        ("mobilenetv2_100", Arch::MobileNetV2),
        ("efficientnet_b0", Arch::EfficientNetB0),
        ("efficientnet_b3", Arch::EfficientNetB3),
        ("efficientnet_b4", Arch::EfficientNetB4),
        ("tf_efficientnet_lite0", Arch::EfficientNetLite0),
        ("convnext_tiny", Arch::ConvNextTiny),
        ("convnext_small", Arch::ConvNextSmall),
        ("convnext_base", Arch::ConvNextBase),
        ("regnety_004", Arch::RegNetY400Mf),
        ("regnety_080_tv", Arch::RegNetY8Gf),
        ("efficientnetv2_s", Arch::EfficientNetV2S),
        ("mobilenetv3_large_100", Arch::MobileNetV3Large),
        ("mobilenetv3_small_100", Arch::MobileNetV3Small),
        ("swin_tiny_patch4_window7_224", Arch::SwinT),
        ("vit_small_patch16_224", Arch::VitS16),
        ("vit_base_patch16_224", Arch::VitB16),
    ] {
        let fixture = format!("tests/fixtures/weights/timm/{timm}.txt");
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(fixture);
        let fixture = std::fs::read_to_string(fixture).unwrap();
        let expected: BTreeSet<String> = fixture.lines().map(str::to_owned).collect();
        let description = describe(arch);
        let names = Dialect::Timm.names(&description);
        let line = |id: usize| format!("{} {:?}", names[id], Dialect::Timm.shape(&description, id));
        let found = (0..names.len()).filter(|id| description.tensors[*id].role.is_parameter());
        assert_eq!(found.map(line).collect::<BTreeSet<_>>(), expected, "{timm}");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{timm}");
    }
    let resnet = describe(Arch::ResNet18);
    assert_eq!(Dialect::Timm.names(&resnet), Dialect::Own.names(&resnet));
}

#[test]
fn weights_are_read_under_timms_names_and_saved_under_them() {
    let folder = tempfile::tempdir().unwrap();
    for arch in [
        Arch::EfficientNetB0,
        Arch::MobileNetV3Small,
        Arch::ConvNextTiny,
        Arch::VitS16,
        Arch::RegNetY400Mf,
        Arch::SwinT,
    ] {
        let mut description = describe(arch);
        if arch != Arch::MobileNetV3Small {
            // Some of its layers are enough.
            description.tensors.truncate(40);
        }
        let names = Dialect::Timm.names(&description);
        let wrapped: Vec<String> = names.iter().map(|name| format!("module._orig_mod.{name}")).collect();
        let source = file(folder.path(), &description, &wrapped).translated(&description).unwrap();
        assert_eq!(source.dialect(), Dialect::Timm);
        assert_eq!(source.names_in_words().unwrap(), "timm's names, each after `module._orig_mod.`");
        let state = load(&description, &source, &LoadRules::default(), 0).unwrap();
        let expected = initialize_all(&description, 3).unwrap();
        assert_eq!(digests(&state).unwrap(), digests(&expected).unwrap());
        let same = |(spec, tensor): (&TensorSpec, &Tensor)| spec.shape == tensor.dims();
        assert!(description.tensors.iter().zip(&state.tensors).all(same));

        let path = folder.path().join("y.safetensors");
        let metadata = BTreeMap::from([("defrost.arch".to_owned(), description.arch.clone())]);
        save(&path, &description, &state, source.dialect(), &metadata).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let written = header.tensors().into_iter().map(|(name, info)| (name, info.shape.clone()));
        let kept = (0..names.len()).filter(|id| Dialect::Timm.keeps(&description.tensors[*id]));
        let kept = kept.map(|id| (names[id].clone(), Dialect::Timm.shape(&description, id).to_vec()));
        assert_eq!(written.collect::<BTreeMap<_, _>>(), kept.collect());
        let again = WeightsFile::open(&path).unwrap();
        assert_eq!(again.dialect(), Dialect::Timm);
        let again = load(&description, &again, &LoadRules::default(), 0).unwrap();
        assert_eq!(digests(&again).unwrap(), digests(&expected).unwrap());
    }
}

#[test]
fn what_does_not_fit_is_told_in_the_names_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let description = describe(Arch::EfficientNetB0);
    let mut names = Dialect::Timm.names(&description);
    names[0] = "conv_stm.weight".to_owned();
    let names: Vec<String> = names.iter().map(|name| format!("module.{name}")).collect();
    let source = file(folder.path(), &description, &names).translated(&description).unwrap();
    let error = origins(&description, &source, &LoadRules::default()).unwrap_err().message;
    let lines: Vec<&str> = error.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "  missing     `module.conv_stem.weight` [32, 3, 3, 3]; the file has `module.conv_stm.weight`",
            "  unexpected  `module.conv_stm.weight` [32, 3, 3, 3]; the model has `module.conv_stem.weight`",
        ]
    );
}

#[test]
fn names_of_two_libraries_in_one_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let description = describe(Arch::MobileNetV2);
    let mut names = Dialect::Timm.names(&description);
    let last = names.len() - 1;
    names[last].clone_from(&description.tensors[last].name);
    let error = file(folder.path(), &description, &names).translated(&description).err().unwrap();
    assert!(
        error.message.contains("`classifier.1.bias` is torchvision's, `conv_stem.weight` timm's"),
        "{error}"
    );
}
