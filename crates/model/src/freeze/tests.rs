//! Rules over real architectures: who trains, how fast, and what is refused.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::digest::Digest;
use crate::model::{Description, Model, RuleError, StateDict};
use crate::pipeline::{self, Arch, Train};
use crate::weights::{Dialect, WeightsFile, initialize, save};

fn describe(arch: Arch, classes: usize) -> Description {
    Model::build(&pipeline::Model::of(arch), classes).description
}

/// A train stage with these settings.
fn stage(settings: &str) -> Train {
    let optimizer = "optimizer = { kind = \"adamw\", lr = 1e-3, no_decay = [\"@norm\", \"@bias\"] }";
    let optimizer = if settings.contains("optimizer") { "" } else { optimizer };
    toml::from_str(&format!("from = \"x\"\nepochs = 1\n{settings}\n{optimizer}")).unwrap()
}

fn table(settings: &str) -> ParameterTable {
    ParameterTable::resolve(&describe(Arch::ResNet18, 2), &stage(settings)).unwrap()
}

fn refusals(settings: &str) -> String {
    let line = |error: RuleError| {
        let help = error.help.map(|help| format!("\n    help: {help}")).unwrap_or_default();
        format!("{} [{}]: {}{help}", error.setting, error.code, error.message)
    };
    let errors = ParameterTable::resolve(&describe(Arch::ResNet18, 2), &stage(settings)).unwrap_err();
    errors.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

fn detector() -> Description {
    let head = pipeline::Head::Detect(pipeline::DetectHead { class_width: None });
    Model::build(&pipeline::Model { head, ..pipeline::Model::of(Arch::Yolo11N) }, 5).description
}

#[test]
fn a_detector_has_a_neck_and_its_constant_is_in_no_list() {
    let description = detector();
    let table = |settings: &str| ParameterTable::resolve(&description, &stage(settings)).unwrap();
    let frozen = |settings: &str| table(settings).totals().frozen_parameters;
    assert_eq!(frozen("freeze = [\"@backbone\"]"), 1_365_472);
    assert_eq!(frozen("freeze = [\"@neck\"]"), 2_159_168 - 1_365_472);
    assert_eq!(frozen("train = [\"@head\"]"), 2_159_168);
    assert_eq!(frozen("freeze = [\"@head\"]"), 431_647 - 16);
    // All trains, and the constant is proven not to move, but is not a parameter.
    let all = table("");
    assert!(all.rows.iter().all(|row| row.name != "model.23.dfl.conv.weight" && row.trainable));
    let fixed: Vec<&str> =
        all.frozen(&description).into_iter().map(|id| description.tensors[id].name.as_str()).collect();
    assert_eq!(fixed, ["model.23.dfl.conv.weight"]);
    // Layers that differ in nothing that trains.
    assert_eq!(frozen("freeze_first = 11"), frozen("freeze_first = 13"));
    assert_eq!(table("freeze_first = 13").first().frozen_prefix(&description), 13);
    let messages = |description: &Description, settings: &str| -> Vec<String> {
        let errors = ParameterTable::resolve(description, &stage(settings)).unwrap_err();
        errors.into_iter().map(|error| format!("{}: {}", error.code, error.message)).collect()
    };
    assert_eq!(
        messages(&description, "freeze = [\"model.23.dfl\"]"),
        ["pattern-constant: `model.23.dfl` matches only `model.23.dfl.conv.weight`, a constant of `yolo11n`"]
    );
    assert_eq!(
        messages(&describe(Arch::ResNet18, 2), "freeze = [\"@neck\"]"),
        ["pattern-unmatched: `@neck` matches nothing: `resnet18` has no neck here"]
    );
    assert_eq!(
        messages(&description, "freeze_first = 25"),
        ["depth-too-large: `freeze_first = 25` is more than the 24 layers of `yolo11n`"]
    );
    assert_eq!(
        messages(&description, "train_last = 0"),
        ["nothing-to-train: this stage has nothing to train"]
    );
}

#[test]
fn backbone_freezing_of_resnet50_leaves_126_tensors() {
    let description = describe(Arch::ResNet50, 1000);
    let stage = stage("freeze = [\"*\", \"!layer2\", \"!layer3\", \"!layer4\"]");
    let totals = ParameterTable::resolve(&description, &stage).unwrap().totals();
    assert_eq!((totals.trainable_tensors, totals.frozen_tensors), (126, 35));
}

#[test]
fn a_head_for_two_classes_has_4098_parameters_and_the_whole_23512130() {
    let description = describe(Arch::ResNet50, 2);
    let totals = |settings: &str| ParameterTable::resolve(&description, &stage(settings)).unwrap().totals();
    assert_eq!(totals("train = [\"@head\"]").trainable_parameters, 4_098);
    assert_eq!(totals("").trainable_parameters, 23_512_130);
    assert_eq!(totals("freeze_first = 0").trainable_parameters, 23_512_130);
}

#[test]
fn each_parameter_knows_its_rule_its_pace_and_its_layer() {
    let table = table(
        "freeze = [\"conv1\", \"bn1\", \"layer1\", \"!layer1.1\"]\n\
         groups = [{ match = [\"layer4\"], lr_scale = 0.1 }, { match = [\"@head\"], lr = 0.5, weight_decay = 0.3 }]",
    );
    let show = |name: &str| {
        let row = table.rows.iter().find(|row| row.name == name).unwrap();
        format!(
            "{} | {} | {:?} {:?} {:?} {}",
            row.trainable, row.rule, row.group, row.lr, row.weight_decay, row.layer
        )
    };
    assert_eq!(show("bn1.weight"), "false | freeze[1] = \"bn1\" | None None None 0");
    assert_eq!(show("layer1.0.conv1.weight"), "false | freeze[2] = \"layer1\" | None None None 1");
    assert_eq!(
        show("layer1.1.conv1.weight"),
        "true | freeze[3] = \"!layer1.1\" | None Some(0.001) Some(0.01) 2"
    );
    assert_eq!(show("layer2.0.bn1.bias"), "true | (default) | None Some(0.001) Some(0.0) 3");
    assert_eq!(show("layer4.0.conv1.weight"), "true | (default) | Some(0) Some(0.0001) Some(0.01) 7");
    assert_eq!(show("fc.weight"), "true | (default) | Some(1) Some(0.5) Some(0.3) 9");
    assert_eq!(show("fc.bias"), "true | (default) | Some(1) Some(0.5) Some(0.0) 9");
}

#[test]
fn depth_counts_layers_in_order() {
    let layers = |settings: &str| -> Vec<usize> {
        let mut layers: Vec<usize> =
            table(settings).rows.iter().filter(|row| row.trainable).map(|row| row.layer).collect();
        layers.dedup();
        layers
    };
    assert_eq!(layers("freeze_first = 8"), [8, 9]);
    assert_eq!(layers("train_first = 2"), [0, 1]);
    assert_eq!(layers("train_last = 1"), [9]);
    assert_eq!(table("train_last = 1").rows[61].rule, "train_last = 1");
}

#[test]
fn batch_norm_follows_its_parameters_unless_told() {
    let description = describe(Arch::ResNet18, 2);
    let training = |table: &ParameterTable| table.first().norm_counts().0;
    let head = table("train = [\"@head\"]");
    assert_eq!(training(&head), 0);
    assert_eq!(head.first().frozen_prefix(&description), 9);
    assert_eq!(head.frozen(&description).len(), 120);
    let told = table("train = [\"@head\"]\nbatch_norm = \"train\"");
    assert_eq!((training(&told), told.first().frozen_prefix(&description)), (20, 0));
    // The statistics may move; the parameters may not.
    assert_eq!(told.frozen(&description).len(), 60);
    assert_eq!(training(&table("batch_norm = \"eval\"")), 0);
    assert_eq!(training(&table("freeze_first = 9")), 0);
    assert_eq!(training(&table("train = [\"layer4.1\", \"@head\"]")), 2);
    assert_eq!(training(&table("train = [\"@bias\"]\nbatch_norm = \"eval\"")), 0);
}

#[test]
fn phases_add_parameters_and_their_norms_and_shorten_the_prefix() {
    let description = describe(Arch::ResNet18, 2);
    let table = table(
        "train = [\"@head\"]\n\
         unfreeze = [{ after_epochs = 2, match = [\"layer4.1\"], lr = 1e-4, warmup_epochs = 1.5 },\n\
         { after_epochs = 3, last = 4, weight_decay = 0.5 }, { after_epochs = 7, match = [\"conv1\"] }]",
    );
    let of = |epoch: u32| {
        let phase = table.phase(epoch);
        let trainable = phase.trainable.iter().filter(|flag| **flag).count();
        (phase.after_epochs, trainable, phase.norm_counts().0, phase.frozen_prefix(&description))
    };
    assert_eq!([of(0), of(1), of(2)], [(0, 2, 0, 9), (0, 2, 0, 9), (2, 8, 2, 8)]);
    assert_eq!([of(6), of(7), of(8)], [(3, 23, 7, 6), (7, 24, 7, 0), (7, 24, 7, 0)]);
    let row = |name: &str| table.rows.iter().find(|row| row.name == name).unwrap();
    let show = |name: &str| {
        let ParameterRow { after_epochs, rule, lr, weight_decay, warmup_epochs, .. } = row(name);
        format!("{after_epochs} | {rule} | {lr:?} {weight_decay:?} {warmup_epochs}")
    };
    assert_eq!(show("fc.weight"), "0 | train[0] = \"@head\" | Some(0.001) Some(0.01) 0");
    assert_eq!(
        show("layer4.1.conv1.weight"),
        "2 | unfreeze[0].match[0] = \"layer4.1\" | Some(0.0001) Some(0.01) 1.5"
    );
    assert_eq!(show("layer3.1.conv1.weight"), "3 | unfreeze[1].last = 4 | Some(0.001) Some(0.5) 0");
    assert_eq!(show("conv1.weight"), "7 | unfreeze[2].match[0] = \"conv1\" | Some(0.001) Some(0.01) 0");
    assert_eq!(show("bn1.weight"), "0 | (default) | None None 0");
    // The proof counts what never thaws: `bn1`, `layer1`, `layer2` and `layer3.0`, of which 12 parameters are convolutions.
    let never = table.frozen(&description);
    assert_eq!(never.len(), 62 - 24 + 3 * 13);
    let during = table.during(table.phase(3));
    assert_eq!((during.totals().trainable_tensors, during.phases.len()), (23, 1));
    let text = table.csv(&description, None).unwrap();
    assert!(
        text.starts_with("name,shape,trainable,rule,group,lr,weight_decay,layer,after_epochs\n"),
        "{text}"
    );
}

/// Clark et al. 2020: the rate of layer i is that of the head times decay^(L − i).
#[test]
fn the_rate_decays_from_layer_to_layer_and_groups_have_the_last_word() {
    let table = table(
        "layer_decay = 0.5\nfreeze = [\"layer1\"]\n\
         groups = [{ match = [\"layer4.1\"], lr = 0.25 }, { match = [\"layer4.0\"], lr_scale = 0.1 }]\n\
         unfreeze = [{ after_epochs = 1, match = [\"layer1\"], lr_scale = 8.0 }]",
    );
    let lr = |name: &str| table.rows.iter().find(|row| row.name == name).unwrap().lr.unwrap() / 1e-3;
    let near = |name: &str, expected: f64| {
        assert!((lr(name) / expected - 1.0).abs() < 1e-12, "{name}: {}", lr(name))
    };
    near("fc.weight", 1.0);
    near("layer4.1.conv1.weight", 250.0);
    near("layer4.0.conv1.weight", 0.025);
    near("layer3.1.conv1.weight", 0.125);
    near("layer1.0.conv1.weight", 8.0 / 256.0);
    near("conv1.weight", 1.0 / 512.0);
}

#[test]
fn what_is_wrong_is_told_at_its_rule() {
    insta::assert_snapshot!(refusals("train = [\"@head\", \"layr4\", \"fc.weight\", \"*.conv9\"]"), @r#"
        train[1] [pattern-unmatched]: `layr4` matches no parameter
            help: did you mean `layer4`?
        train[2] [pattern-redundant]: `fc.weight` has no effect: all that it matches is already selected by the rules before it
            help: remove it, or move it
        train[3] [pattern-unmatched]: `*.conv9` matches no parameter
            help: did you mean `*.conv1`?
        "#);
    insta::assert_snapshot!(refusals("freeze = [\"!layer1\", \"*.running_mean\", \"layer[10-12]\"]"), @r#"
        freeze[0] [pattern-redundant]: `!layer1` has no effect: it excludes, but no pattern before it selects
            help: start with `*`, then exclude
        freeze[1] [pattern-buffer]: `*.running_mean` matches only buffers such as `bn1.running_mean`, which are never trained
            help: use `batch_norm = "eval"` or `"train"` for running statistics
        freeze[2] [pattern-syntax]: `[10-12]` in `layer[10-12]` matches one character, not a number
            help: write a range of numbers: `{10..12}`
        "#);
    insta::assert_snapshot!(refusals("freeze = [\"*\"]"), @r#"
        freeze [nothing-to-train]: this stage has nothing to train
            help: make some parameters trainable, such as `train = ["@head"]`
        "#);
    insta::assert_snapshot!(refusals("train = []"), @r#"
        train [nothing-to-train]: this stage has nothing to train
            help: make some parameters trainable, such as `train = ["@head"]`
        "#);
    insta::assert_snapshot!(refusals("train_last = 0"), @r#"
        train_last [nothing-to-train]: this stage has nothing to train
            help: make some parameters trainable, such as `train = ["@head"]`
        "#);
    insta::assert_snapshot!(refusals("freeze_first = 11"), @r#"
        freeze_first [depth-too-large]: `freeze_first = 11` is more than the 10 layers of `resnet18`
            help: `defrost params` prints the layers in order
        "#);
    insta::assert_snapshot!(refusals("freeze = [\"*.bias\"]"), @r#"
        freeze[0] [batch-norm-split]: `bn1` is partly frozen: `bn1.bias` is frozen and `bn1.weight` trains, and so are 19 more layers
            help: freeze both or neither, or choose how it behaves with `batch_norm = "eval"` or `"train"`
        "#);
    insta::assert_snapshot!(refusals("train = [\"fc\", \"layer4.1.bn2.weight\"]"), @r#"
        train[1] [batch-norm-split]: `layer4.1.bn2` is partly frozen: `layer4.1.bn2.bias` is frozen and `layer4.1.bn2.weight` trains
            help: freeze both or neither, or choose how it behaves with `batch_norm = "eval"` or `"train"`
        "#);
    insta::assert_snapshot!(refusals(
        "freeze = [\"layer1\"]\n\
         groups = [{ match = [\"layer1\"], lr_scale = 0.1 }, { match = [\"fc\", \"layer2\"], lr = 1.0 },\n\
         { match = [\"layer2.1\"], lr = 1.0 }]\n\
         optimizer = { kind = \"sgd\", lr = 0.1, no_decay = [\"@nrom\"] }"
    ), @r#"
        groups[0].match[0] [group-frozen]: `layer1` has no effect: all parameters that it matches are frozen in this stage
            help: remove it, or make these parameters trainable
        groups[2].match [group-overlap]: `layer2.1.conv1.weight` and 5 more would be in two groups: `groups[1]` selects it too
            help: exclude it from one of them with a `!` pattern
        optimizer.no_decay[0] [unknown-alias]: unknown alias `@nrom`
            help: did you mean `@norm`?
        "#);
}

#[test]
fn what_is_wrong_with_what_joins_later_is_told_at_its_entry() {
    let all = refusals(
        "train = [\"fc\", \"layer4.1\"]\n\
         groups = [{ match = [\"layer3.0\"], lr_scale = 0.1 }]\n\
         unfreeze = [{ after_epochs = 1, match = [\"layer4\"] }, { after_epochs = 2, match = [\"layer3\", \"layr2\"] },\n\
         { after_epochs = 3, last = 2 }, { after_epochs = 4, last = 11 }]",
    );
    insta::assert_snapshot!(all, @r#"
        unfreeze[0].match[0] [unfreeze-trains]: `layer4.1.conv1.weight` and 5 more train from the start of the stage
            help: freeze these parameters at first, or exclude them with a `!` pattern
        unfreeze[1].match[1] [pattern-unmatched]: `layr2` matches no parameter
            help: did you mean `layer2`?
        unfreeze[2].last [unfreeze-trains]: `last = 2` has no effect: these layers already train
            help: raise it, or remove the entry
        unfreeze[3].last [depth-too-large]: `last = 11` is more than the 10 layers of `resnet18`
            help: `defrost params` prints the layers in order
        "#);
    let later = refusals(
        "train = [\"fc\"]\ngroups = [{ match = [\"layer3.0\"], lr_scale = 0.1 }]\n\
         unfreeze = [{ after_epochs = 1, match = [\"layer4\", \"layer3\"], lr = 0.5 }]",
    );
    insta::assert_snapshot!(later, @r#"
        unfreeze[0] [group-overlap]: the learning rate or weight decay of `layer3.0.conv1.weight` and 8 more is set twice: `groups[0]` sets it too
            help: set it in only one of them
        "#);
    let twice = refusals(
        "train = [\"fc\"]\n\
         unfreeze = [{ after_epochs = 1, match = [\"layer4\"] }, { after_epochs = 2, match = [\"layer4.1\"] }]",
    );
    insta::assert_snapshot!(twice, @r#"
        unfreeze[1].match[0] [unfreeze-twice]: `layer4.1.conv1.weight` and 5 more would unfreeze twice: `unfreeze[0].match[0]` selects it too
            help: exclude it from one of them with a `!` pattern
        "#);
    let split =
        refusals("train = [\"fc\"]\nunfreeze = [{ after_epochs = 1, match = [\"layer4.1.bn2.weight\"] }]");
    insta::assert_snapshot!(split, @r#"
        unfreeze[0].match[0] [batch-norm-split]: `layer4.1.bn2` is partly frozen: `layer4.1.bn2.bias` is frozen and `layer4.1.bn2.weight` trains
            help: freeze both or neither, or choose how it behaves with `batch_norm = "eval"` or `"train"`
        "#);
}

#[test]
fn the_table_is_written_as_csv() {
    let description = describe(Arch::ResNet18, 2);
    let digests = vec![Digest::of(b""); description.tensors.len()];
    let text = table("train = [\"@head\"]").csv(&description, Some(&digests)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 63);
    assert_eq!(lines[0], "name,shape,trainable,rule,group,lr,weight_decay,layer,blake3");
    assert!(lines[1].starts_with("conv1.weight,64x3x7x7,false,(default),,,,stem,af1349b9"), "{}", lines[1]);
    assert!(
        lines[61].starts_with("fc.weight,2x512,true,\"train[0] = \"\"@head\"\"\",,0.001,0.01,fc,"),
        "{}",
        lines[61]
    );
}

#[test]
fn one_flipped_bit_is_found_and_named() {
    let mut description = describe(Arch::ResNet18, 2);
    description.tensors.truncate(12);
    let tensors = description.tensors.iter().map(|spec| initialize(spec, 1).unwrap()).collect();
    let state = StateDict { tensors };
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, state: &StateDict| -> WeightsFile {
        let path = folder.path().join(name);
        save(&path, &description, state, Dialect::Own, &BTreeMap::new()).unwrap();
        WeightsFile::open(&path).unwrap()
    };
    let before = write("before", &state);
    let names: Vec<String> = description.tensors.iter().map(|spec| spec.name.clone()).collect();
    assert_eq!(changed_tensors(&before, &write("same", &state), &names).unwrap(), []);

    let path: &Path = &folder.path().join("same");
    let mut bytes = std::fs::read(path).unwrap();
    // The lowest bit of the last number of the last tensor, `layer1.0.bn1.num_batches_tracked` being first.
    let last = bytes.len() - 4;
    bytes[last] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let found = changed_tensors(&before, &WeightsFile::open(path).unwrap(), &names).unwrap();
    let lines: Vec<String> = found.iter().map(ChangedTensor::to_string).collect();
    assert_eq!(
        lines,
        ["`layer1.0.bn1.running_var` changed: element 63 was 1.0 (0x3f800000) and is 1.0000001 (0x3f800001)"]
    );
    // Minus zero is not zero.
    let mut turned = state.clone();
    turned.tensors[8] = turned.tensors[8].neg().unwrap();
    assert_eq!(
        changed_tensors(&before, &write("turned", &turned), &names).unwrap()[0].name,
        "layer1.0.bn1.bias"
    );
}
