//! Checks that no schema can express: settings that exclude, need or outlast each other.

use super::diagnostics::Diagnostic;
use super::document::Node;
use super::merge::FREEZE_SETTINGS;
use super::model::DEFAULT_SCALE;
use super::unchecked::UncheckedPipeline;
use super::{
    Augment, Distill, EarlyStop, EvaluationSplit, Features, Model, Monitor, NameError, Optimizer, Pattern,
    PatternError, RemoteWeights, SettingConflict,
};
use super::{
    data_checks, decision_checks, effect_checks, group_checks, label_checks, pixel_checks, sampler_checks,
    schedule_checks, slurm, subset_checks, suggest, test_time_augmentation,
};

/// Checks every data set, model and stage.
pub fn check(draft: &mut UncheckedPipeline) {
    for (name, data) in draft.entries("data") {
        let path = format!("data.{name}");
        image_sizes(draft, &path);
        pixel_checks::data(draft, &path);
        match data.get("format").and_then(Node::text) {
            Some("csv") => data_checks::table(draft, &path),
            Some("yolo") => data_checks::yolo(draft, &path),
            Some("coco") => data_checks::coco(draft, &path),
            Some("voc") => data_checks::voc(draft, &path),
            _ => data_checks::folder(draft, &path),
        }
    }
    slurm::check(draft);
    for (name, _) in draft.entries("model") {
        model(draft, &format!("model.{name}"));
    }
    for (name, stage) in draft.entries("stage") {
        let path = format!("stage.{name}");
        match stage.get("kind").and_then(Node::text) {
            Some("load_weights") => {
                let help = "set one of `file`, `from` (a stage of this pipeline) and `pipeline` (another pipeline file)";
                one_weights_origin(
                    draft,
                    stage,
                    &path,
                    &["file", "from", "average", "pipeline"],
                    "where the weights come from",
                    help,
                );
                remote_weights(draft, stage, &path);
                external_stage(draft, stage);
                if stage.get("average").is_some() && stage.get("restore_batch_norm").is_some() {
                    let place = draft.key_span(&format!("{path}.restore_batch_norm"));
                    let message = "averaged weights have their batch normalisation".to_owned();
                    let help = "remove `restore_batch_norm`".to_owned();
                    draft.report(place, "conflict", message, help);
                }
                for key in ["reinit", "allow_missing", "allow_unexpected", "allow_mismatched"] {
                    patterns(draft, &format!("{path}.{key}"));
                }
                if stage.get("file_classes").is_some() && stage.get("class_rows").is_none() {
                    let place = draft.key_span(&format!("{path}.file_classes"));
                    let message = "`file_classes` has no effect without `class_rows`".to_owned();
                    let help = "add `class_rows = \"by_name\"`, or remove `file_classes`".to_owned();
                    draft.report(place, "no-effect", message, help);
                }
            }
            Some("train") => train(draft, name, &path),
            Some("evaluate") => {
                let help = "set `from` (one stage) or `ensemble` (several)";
                one_weights_origin(draft, stage, &path, &["from", "ensemble"], "what is evaluated", help);
                ensemble(draft, stage, &path);
                evaluate(draft, name, &path);
            }
            _ => {}
        }
    }
}

/// Checks the name of weights that are fetched, and that a digest has a file.
fn remote_weights(draft: &mut UncheckedPipeline, stage: &Node, path: &str) {
    let file = stage.get("file");
    // With variables, it is checked once they are replaced.
    let name = file.and_then(Node::text).filter(|text| !text.contains("${")).and_then(RemoteWeights::parse);
    if let (Some(node), Some(Err(NameError { message, help }))) = (file, name) {
        draft.report(node.span(), "weights-name", message, help);
    }
    if stage.get("sha256").is_some() && file.is_none() {
        let place = draft.key_span(&format!("{path}.sha256"));
        let help = "remove it: weights of a stage are identified by its cache key".to_owned();
        draft.report(place, "no-effect", "`sha256` has no effect without `file`".to_owned(), help);
    }
}

/// Checks that exactly one of several keys says where the weights come from.
fn one_weights_origin(
    draft: &mut UncheckedPipeline,
    stage: &Node,
    path: &str,
    keys: &[&str],
    what: &str,
    help: &str,
) {
    let given: Vec<&str> = keys.iter().copied().filter(|key| stage.get(key).is_some()).collect();
    match given[..] {
        [] => {
            let message = format!("missing key `{}`", keys[0]);
            draft.report(stage.span(), "missing-key", message, help.to_owned());
        }
        [_] => {}
        [first, second, ..] => {
            let message = format!("`{first}` and `{second}` both set {what}");
            let place = draft.key_span(&format!("{path}.{second}"));
            draft.report(place, "conflict", message, "keep one of them".to_owned());
        }
    }
}

/// Checks that `pipeline` and `stage` of another pipeline are set together.
fn external_stage(draft: &mut UncheckedPipeline, stage: &Node) {
    let (place, missing, help) = match (stage.get("pipeline"), stage.get("stage")) {
        (Some(pipeline), None) => {
            (pipeline, "stage", "add the stage of that pipeline, such as `stage = \"domain@best\"`")
        }
        (None, Some(of)) => {
            (of, "pipeline", "add its file as `pipeline`; for a stage of this pipeline, use `from`")
        }
        _ => return,
    };
    draft.report(place.span(), "missing-key", format!("missing key `{missing}`"), help.to_owned());
}

/// The schema checks the sizes themselves; here a missing size has its default.
fn image_sizes(draft: &mut UncheckedPipeline, path: &str) {
    let side = |key: &str| draft.get(&format!("{path}.{key}")).map(|node| node.to_json());
    let image_size = side("image_size").map_or(Some(224), |size| size.as_u64());
    if let (Some(Some(resize)), Some(size)) = (side("resize").map(|resize| resize.as_u64()), image_size)
        && resize < size
    {
        let message = format!("`resize` ({resize}) is smaller than `image_size` ({size})");
        let help = "the centre crop is cut from the resized image".to_owned();
        draft.report(draft.span(&format!("{path}.resize")), "conflict", message, help);
    }
    // The resolved file of a run has all defaults.
    let rounding = draft.get(&format!("{path}.resize_rounding")).and_then(Node::text);
    let is_rounded = rounding.is_some_and(|rounding| rounding != "nearest");
    let is_given = |key: &str| draft.get(&format!("{path}.{key}")).is_some();
    let is_scaled = draft.entries("stage").iter().any(|(_, stage)| stage.get("image_size").is_some());
    if is_given("resize") && is_rounded && !is_scaled {
        let place = draft.key_span(&format!("{path}.resize_rounding"));
        let message = "`resize_rounding` has no effect: `resize` sets the shorter side".to_owned();
        draft.report(place, "no-effect", message, "remove one of them".to_owned());
    }
}

fn model(draft: &mut UncheckedPipeline, path: &str) {
    let Some(model) = draft.read::<Model>(path) else { return };
    if model.stochastic_depth > 0.0 && !model.arch.has_stochastic_depth() {
        let arch = draft.get(&format!("{path}.arch")).and_then(Node::text).unwrap_or_default();
        let message = format!("`{arch}` has no stochastic depth");
        let place = draft.key_span(&format!("{path}.stochastic_depth"));
        let help = "remove `stochastic_depth`, or use an architecture that supports it".to_owned();
        draft.report(place, "no-effect", message, help);
    }
    if !model.variant.is_default() && !model.arch.variants().contains(&model.variant) {
        let (arch, variant) = (model.arch.name(), model.variant.name());
        let message = format!("`{arch}` has no variant `{variant}`");
        let others: Vec<String> =
            model.arch.variants().iter().map(|variant| format!("`{}`", variant.name())).collect();
        let help = match others.is_empty() {
            true => "remove `variant`".to_owned(),
            false => format!("remove `variant`, or use {}", others.join(" or ")),
        };
        draft.report(draft.span(&format!("{path}.variant")), "no-effect", message, help);
    }
    if !model.position_resampling.is_default() && !model.arch.resamples_positions() {
        let arch = draft.get(&format!("{path}.arch")).and_then(Node::text).unwrap_or_default();
        let message = format!("`{arch}` does not resample position embeddings");
        let place = draft.key_span(&format!("{path}.position_resampling"));
        draft.report(place, "no-effect", message, "remove `position_resampling`".to_owned());
    }
    let scale = format!("{path}.head.scale");
    let scaled = draft.read::<f64>(&scale).is_some_and(|scale| scale != DEFAULT_SCALE);
    if model.head.compares_embeddings() && scaled {
        let message = "`scale` has no effect without class scores".to_owned();
        let help = "remove `scale`, or `classifier = false`".to_owned();
        draft.report(draft.key_span(&scale), "no-effect", message, help);
    }
    if model.head.detects() && !model.arch.is_detector() {
        let message = format!("`{}` has no detector: it classifies whole images", model.arch.name());
        let help = "use a detector, such as `arch = \"yolo11s\"`, or another kind of head".to_owned();
        draft.report(draft.span(&format!("{path}.head.kind")), "no-detector", message, help);
    }
}

fn train(draft: &mut UncheckedPipeline, name: &str, path: &str) {
    freeze_settings(draft, path);
    patterns(draft, &format!("{path}.freeze"));
    patterns(draft, &format!("{path}.train"));
    adapter(draft, path);
    optimizer(draft, &format!("{path}.optimizer"));
    group_checks::check(draft, path);
    schedule_checks::check(draft, name, path);
    augment(draft, &format!("{path}.augment"));
    pixel_checks::augment(draft, name, &format!("{path}.augment"));
    effect_checks::check(draft, name, path);
    features(draft, path);
    distill(draft, path);
    label_checks::train(draft, name, path);
    sampler_checks::check(draft, name, path);
    let parts = draft.parts_of(name);
    if parts.is_some_and(|parts| !parts.train) {
        let data = draft.name_of(name, "data").unwrap_or_default();
        let message =
            format!("`data.{data}` has no training images: `split.all` puts them into another split");
        let help = "name a data set with training images in `data`, or remove `split.all`".to_owned();
        let place = draft.span(&format!("{path}.data"));
        return draft.report(place, "no-split", message, help);
    }
    if parts.is_some_and(|parts| !parts.validation) {
        let monitor: Option<Monitor> = draft.read(&format!("{path}.monitor"));
        let asked = [
            ("early_stop", draft.read::<EarlyStop>(&format!("{path}.early_stop")).is_some()),
            ("monitor", monitor.unwrap_or_default() != Monitor::default()),
        ];
        for (key, _) in asked.iter().filter(|(_, asked)| *asked) {
            let data = draft.name_of(name, "data").unwrap_or_default();
            let message = format!("`{key}` needs a validation split, and `data.{data}` has none");
            let help = format!("hold out images with `data.{data}.split.validation`, or remove `{key}`");
            draft.report(draft.key_span(&format!("{path}.{key}")), "no-validation", message, help);
        }
    }
}

fn freeze_settings(draft: &mut UncheckedPipeline, path: &str) {
    let stage = draft.root.nearest(path);
    let mut given: Vec<(&str, &Node)> =
        FREEZE_SETTINGS.iter().filter_map(|key| Some((*key, stage.get(key)?))).collect();
    given.sort_by_key(|(_, node)| node.key.as_ref().map(|key| key.range.start));
    if let [(first, _), rest @ ..] = given.as_slice() {
        for (key, _) in rest {
            let message = format!("`{key}` and `{first}` both select which parameters train");
            let help = format!("keep one of {}", suggest::list(given.iter().map(|(key, _)| *key)));
            draft.report(draft.key_span(&format!("{path}.{key}")), "conflict", message, help);
        }
    }
}

/// With adapters, nothing else trains by default, not even a new head: so it must be said.
fn adapter(draft: &mut UncheckedPipeline, path: &str) {
    patterns(draft, &format!("{path}.adapter.match"));
    let stage = draft.root.nearest(path);
    let selects = FREEZE_SETTINGS.iter().any(|key| stage.get(key).is_some());
    if stage.get("adapter").is_none() || selects {
        return;
    }
    let message = "a stage with `adapter` must say what else trains".to_owned();
    let help =
        "write `train = [\"@head\"]`, or `train = [\"@adapter\"]` if the adapters train alone".to_owned();
    draft.report(draft.key_span(&format!("{path}.adapter")), "adapter-alone", message, help);
}

fn optimizer(draft: &mut UncheckedPipeline, path: &str) {
    patterns(draft, &format!("{path}.no_decay"));
    let conflict = draft.read::<Optimizer>(path).and_then(|optimizer| optimizer.settings().conflict());
    if let Some(SettingConflict { key, message, help }) = conflict {
        draft.report(
            draft.key_span(&format!("{path}.{key}")),
            "conflict",
            message.to_owned(),
            help.to_owned(),
        );
    }
}

fn augment(draft: &mut UncheckedPipeline, path: &str) {
    let Some(augment) = draft.read::<Augment>(path) else { return };
    let composed = [("mosaic", augment.mosaic.is_some()), ("affine", augment.affine.is_some())];
    if augment.random_resized_crop.is_some()
        && let Some((key, _)) = composed.into_iter().find(|(_, given)| *given)
    {
        let message =
            format!("`{key}` and `random_resized_crop` both decide which part of an image is shown");
        let place = draft.key_span(&format!("{path}.{key}"));
        draft.report(place, "conflict", message, "keep one of them".to_owned());
    }
    let mut ranges = Vec::new();
    if let Some(crop) = &augment.random_resized_crop {
        ranges.extend([("random_resized_crop.scale", crop.scale), ("random_resized_crop.ratio", crop.ratio)]);
    }
    if let Some(erasing) = &augment.random_erasing {
        ranges.extend([("random_erasing.scale", erasing.scale), ("random_erasing.ratio", erasing.ratio)]);
    }
    if let Some(blur) = &augment.gaussian_blur {
        ranges.push(("gaussian_blur.sigma", blur.sigma));
    }
    for (key, [least, most]) in ranges.into_iter().filter(|(_, [least, most])| least > most) {
        let name = key.rsplit('.').next().unwrap_or(key);
        let message = format!("`{name}` has its larger value first: {least}, {most}");
        draft.report(
            draft.span(&format!("{path}.{key}")),
            "conflict",
            message,
            format!("write `[{most}, {least}]`"),
        );
    }
    if let Some(drawn) = augment.rand_augment.filter(|drawn| drawn.magnitude >= drawn.num_magnitude_bins) {
        let (magnitude, bins) = (drawn.magnitude, drawn.num_magnitude_bins);
        let message =
            format!("`magnitude` is {magnitude}, but must be less than `num_magnitude_bins` ({bins})");
        let place = draft.span(&format!("{path}.rand_augment.magnitude"));
        draft.report(place, "conflict", message, format!("the largest magnitude is {}", bins - 1));
    }
}

/// Terms of a detector's distillation that do nothing.
fn distill(draft: &mut UncheckedPipeline, path: &str) {
    let Some(distill) = draft.read::<Distill>(&format!("{path}.distill")) else { return };
    let (key, message, help) = match distill.detection_weights() {
        [0.0, 0.0] => (
            "box_weight",
            "the teacher has no effect: `class_weight` and `box_weight` are 0",
            "raise one of them, or remove `distill`",
        ),
        [_, 0.0] if draft.get(&format!("{path}.distill.temperature")).is_some() => (
            "temperature",
            "`temperature` has no effect with `box_weight = 0`: class scores are compared as they are",
            "remove `temperature`",
        ),
        _ => return,
    };
    let place = draft.key_span(&format!("{path}.distill.{key}"));
    draft.report(place, "no-effect", message.to_owned(), help.to_owned());
}

fn features(draft: &mut UncheckedPipeline, path: &str) {
    let Some(features) = draft.read::<Features>(&format!("{path}.features")) else { return };
    if draft.get(&format!("{path}.distill")).is_some() {
        let message =
            "features are not kept with `distill`: the teacher sees every image in every epoch".to_owned();
        let help = "remove `features` or `distill`".to_owned();
        return draft.report(draft.key_span(&format!("{path}.features")), "no-effect", message, help);
    }
    let augment = draft.get(&format!("{path}.augment"));
    let (random, composes) = match augment {
        Some(_) => match draft.read::<Augment>(&format!("{path}.augment")) {
            Some(augment) => (augment != Augment::default(), augment.composes().then(|| augment.mixes())),
            None => return,
        },
        None => (false, None),
    };
    let (key, message, help) = match (random, features.views) {
        (true, _) if composes == Some(false) => (
            "features",
            "features are not kept with `mosaic`, `affine` or `multi_scale`: images are composed differently in every epoch",
            "remove `features`, or these changes of `augment`",
        ),
        (true, _) if composes == Some(true) => (
            "features",
            "features are not kept with `mixup` or `cutmix`: images are mixed differently in every epoch",
            "remove `features`, or `mixup` and `cutmix`",
        ),
        (true, None) => (
            "features",
            "features are not kept: the augmentation changes the images in every epoch",
            "set `views`, the number of augmented views to keep of each image, or remove `features`",
        ),
        (false, Some(_)) => (
            "features.views",
            "`views` has no effect without `augment`: all views of an image are equal",
            "remove `views`, or set `augment`",
        ),
        _ => return,
    };
    draft.report(draft.key_span(&format!("{path}.{key}")), "no-effect", message.to_owned(), help.to_owned());
}

fn ensemble(draft: &mut UncheckedPipeline, stage: &Node, path: &str) {
    let compares = draft.embedding_comparison(path);
    if let (Some(_), Some(key)) = (stage.get("ensemble"), compares) {
        let message = format!("`{key}` compares embeddings, which cannot be averaged over several models");
        let help = "evaluate one stage with `from`".to_owned();
        draft.report(draft.key_span(&format!("{path}.{key}")), "conflict", message, help);
    }
}

fn evaluate(draft: &mut UncheckedPipeline, name: &str, path: &str) {
    label_checks::evaluate(draft, name, path);
    subset_checks::check(draft, name, path);
    decision_checks::check(draft, name, path);
    test_time_augmentation::check(draft, path);
    let given = |key: &str| draft.get(&format!("{path}.{key}")).is_some();
    let sides = ["identification.gallery", "identification.query"];
    // If the stage names two other splits, its own split is not used.
    let replaced = sides.into_iter().all(given) && !given("verification");
    let idle = replaced && given("split");
    let mut asked: Vec<&str> = sides.into_iter().filter(|key| given(key)).collect();
    if !replaced {
        asked.push("split");
    }
    if idle {
        let message = "`split` has no effect: `identification` names both splits".to_owned();
        draft.report(
            draft.key_span(&format!("{path}.split")),
            "no-effect",
            message,
            "remove `split`".to_owned(),
        );
    }
    for key in asked {
        validation_split_exists(draft, name, &format!("{path}.{key}"));
    }
}

fn validation_split_exists(draft: &mut UncheckedPipeline, stage: &str, at: &str) {
    let Some(parts) = draft.parts_of(stage) else { return };
    let part = match draft.get(at) {
        Some(_) => draft.read(at),
        None => Some(EvaluationSplit::default()),
    };
    let Some(part) = part.filter(|part| !parts.has(*part)) else { return };
    let data = draft.name_of(stage, "data").unwrap_or_default();
    let message = format!("`data.{data}` has no {} split to evaluate on", part.name());
    let there: Vec<String> = EvaluationSplit::ALL
        .into_iter()
        .filter(|split| parts.has(*split))
        .map(|split| format!("`{}`", split.name()))
        .collect();
    let help = match part {
        EvaluationSplit::Train => format!("it has {}", there.join(" and ")),
        part => {
            let name = part.name();
            format!(
                "hold out images with `data.{data}.split.{name}`, or use another split: it has {}",
                there.join(" and ")
            )
        }
    };
    draft.report(draft.span(at), "no-split", message, help);
}

fn patterns(draft: &mut UncheckedPipeline, path: &str) {
    if let Some(list) = draft.read::<Vec<String>>(path) {
        pattern_list(draft, path, &list);
    }
}

/// Whether each text is a pattern; which names it matches is checked where the model is known, and reported with what is
/// found here.
pub(super) fn pattern_list(draft: &mut UncheckedPipeline, path: &str, list: &[String]) {
    for (index, text) in list.iter().enumerate() {
        if let Err(PatternError { code, message, help }) = Pattern::parse(text) {
            let place = draft.span(&format!("{path}[{index}]"));
            draft.faults.push(Diagnostic::new(place, code, message).help(help));
        }
    }
}
