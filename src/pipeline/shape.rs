//! What no schema can say: settings that exclude, need or outrun each other.

use regex::Regex;

use super::document::Node;
use super::draft::Draft;
use super::merge::WHO_TRAINS;
use super::suggest;
use super::{
    Augment, Data, Evaluate, EvaluationSplit, Group, ImageFolder, LoadWeights, Optimizer, Schedule, Stage,
    Train,
};

/// Checks every data set and stage that could be read.
pub fn check(draft: &mut Draft) {
    for (name, data) in draft.data.clone() {
        if let Some(Data::ImageFolder(folder)) = data {
            image_folder(draft, &format!("data.{name}"), &folder);
        }
    }
    for (name, stage) in draft.stages.clone() {
        let path = format!("stage.{name}");
        match stage {
            Some(Stage::LoadWeights(load)) => load_weights(draft, &path, &load),
            Some(Stage::Train(stage)) => train(draft, &name, &path, &stage),
            Some(Stage::Evaluate(stage)) => evaluate(draft, &path, &stage),
            Some(Stage::InitWeights(_)) | None => {}
        }
    }
}

fn image_folder(draft: &mut Draft, path: &str, folder: &ImageFolder) {
    let split = &folder.split;
    let at = format!("{path}.split");
    if split.folders.is_some() {
        for key in ["validation", "test", "stratify", "seed", "group"] {
            if draft.root.nearest(&at).get(key).is_some() {
                let message = format!("`{key}` has no effect: the folders say which image is where");
                let place = draft.key(&format!("{at}.{key}"));
                draft.report(place, "conflict", message, format!("remove `{key}` or `folders`"));
            }
        }
    } else if split.validation + split.test >= 1.0 {
        let message = format!(
            "validation ({}) and test ({}) leave no image for training",
            split.validation, split.test
        );
        draft.report(draft.place(&at), "out-of-range", message, "their sum must be below 1".to_owned());
    }
    if let Some(group) = &split.group {
        let place = draft.place(&format!("{at}.group"));
        match Regex::new(group) {
            Err(error) => draft.report(place, "bad-regex", reason(&error), None),
            Ok(regex) if regex.captures_len() < 2 => {
                let message = "`group` captures nothing, so no images stay together".to_owned();
                let help = format!("put what they share in parentheses, such as `({group})`");
                draft.report(place, "bad-regex", message, help);
            }
            Ok(_) => {}
        }
    }
    if let Some(resize) = folder.resize.filter(|resize| *resize < folder.image_size) {
        let message = format!("`resize` ({resize}) is smaller than `image_size` ({})", folder.image_size);
        let help = "the centre crop is cut from the resized image".to_owned();
        draft.report(draft.place(&format!("{path}.resize")), "out-of-range", message, help);
    }
}

fn load_weights(draft: &mut Draft, path: &str, load: &LoadWeights) {
    let lists = [
        ("reinit", &load.reinit),
        ("allow_missing", &load.allow_missing),
        ("allow_unexpected", &load.allow_unexpected),
        ("allow_mismatched", &load.allow_mismatched),
    ];
    for (key, list) in lists {
        patterns(draft, &format!("{path}.{key}"), list);
    }
}

fn train(draft: &mut Draft, name: &str, path: &str, stage: &Train) {
    who_trains(draft, path);
    for (key, list) in [("freeze", &stage.freeze), ("train", &stage.train)] {
        patterns(draft, &format!("{path}.{key}"), list.as_deref().unwrap_or_default());
    }
    optimizer(draft, &format!("{path}.optimizer"), &stage.optimizer);
    for (index, group) in stage.groups.iter().enumerate() {
        parameter_group(draft, &format!("{path}.groups[{index}]"), group);
    }
    let (Schedule::Constant(_) | Schedule::Cosine(_)) = &stage.schedule;
    let warmup = match &stage.schedule {
        Schedule::Constant(constant) => constant.warmup_epochs,
        Schedule::Cosine(cosine) => cosine.warmup_epochs,
    };
    if warmup > f64::from(stage.epochs) {
        let message = format!("the warmup ({warmup} epochs) is longer than the stage ({})", stage.epochs);
        draft.report(draft.place(&format!("{path}.schedule.warmup_epochs")), "out-of-range", message, None);
    }
    augment(draft, &format!("{path}.augment"), &stage.augment);
    if draft.trains_with_validation(name) == Some(false) {
        for key in ["early_stop", "monitor"] {
            if draft.root.nearest(path).get(key).is_some() {
                let data = stage.data.as_deref().unwrap_or_default();
                let message = format!("`{key}` needs a validation split, and `data.{data}` has none");
                let help = format!("hold out images with `data.{data}.split.validation`, or remove `{key}`");
                draft.report(draft.key(&format!("{path}.{key}")), "no-validation", message, help);
            }
        }
    }
}

fn who_trains(draft: &mut Draft, path: &str) {
    let stage = draft.root.nearest(path);
    let mut given: Vec<(&str, &Node)> =
        WHO_TRAINS.iter().filter_map(|key| Some((*key, stage.get(key)?))).collect();
    given.sort_by_key(|(_, node)| node.key.as_ref().map(|key| key.range.start));
    if let [(first, _), rest @ ..] = given.as_slice() {
        for (key, _) in rest {
            let message = format!("`{key}` and `{first}` both say which parameters train");
            let help = format!("keep one of {}", suggest::list(given.iter().map(|(key, _)| *key)));
            draft.report(draft.key(&format!("{path}.{key}")), "conflict", message, help);
        }
    }
}

fn optimizer(draft: &mut Draft, path: &str, optimizer: &Optimizer) {
    let no_decay = match optimizer {
        Optimizer::Sgd(sgd) => {
            if sgd.nesterov && sgd.momentum == 0.0 {
                let message = "Nesterov's momentum needs momentum".to_owned();
                let help = "set `momentum` above 0, such as 0.9, or remove `nesterov`".to_owned();
                draft.report(draft.key(&format!("{path}.nesterov")), "conflict", message, help);
            }
            &sgd.no_decay
        }
        Optimizer::Adamw(adamw) => &adamw.no_decay,
    };
    patterns(draft, &format!("{path}.no_decay"), no_decay);
}

fn parameter_group(draft: &mut Draft, path: &str, group: &Group) {
    patterns(draft, &format!("{path}.match"), &group.patterns);
    if group.lr.is_some() && group.lr_scale.is_some() {
        let message = "`lr` and `lr_scale` both say the learning rate".to_owned();
        draft.report(
            draft.key(&format!("{path}.lr_scale")),
            "conflict",
            message,
            "keep one of them".to_owned(),
        );
    }
    if group.lr.is_none() && group.lr_scale.is_none() && group.weight_decay.is_none() {
        let message = "this group changes nothing".to_owned();
        let help = "set `lr`, `lr_scale` or `weight_decay`".to_owned();
        draft.report(draft.place(path), "missing-key", message, help);
    }
}

fn augment(draft: &mut Draft, path: &str, augment: &Augment) {
    let Some(crop) = &augment.random_resized_crop else { return };
    for (key, [least, most]) in [("scale", crop.scale), ("ratio", crop.ratio)] {
        if least > most {
            let message = format!("`{key}` runs from {least} down to {most}");
            let place = draft.place(&format!("{path}.random_resized_crop.{key}"));
            draft.report(place, "out-of-range", message, format!("write `[{most}, {least}]`"));
        }
    }
}

fn evaluate(draft: &mut Draft, path: &str, stage: &Evaluate) {
    let Some(name) = &stage.data else { return };
    let Some(Some(data)) = draft.data.get(name) else { return };
    let (part, there) = match stage.split {
        EvaluationSplit::Train => ("train", true),
        EvaluationSplit::Validation => ("validation", data.has_validation()),
        EvaluationSplit::Test => ("test", data.has_test()),
    };
    if !there {
        let message = format!("`data.{name}` has no {part} split to evaluate on");
        let help = format!("hold out images with `data.{name}.split.{part}`, or choose another `split`");
        draft.report(draft.place(&format!("{path}.split")), "no-split", message, help);
    }
}

/// Only what needs no parameter names; the rest is checked where the model is known.
fn patterns(draft: &mut Draft, path: &str, list: &[String]) {
    for (index, pattern) in list.iter().enumerate() {
        let place = draft.place(&format!("{path}[{index}]"));
        let positive = pattern.strip_prefix('!').unwrap_or(pattern);
        if positive.trim().is_empty() {
            let help = "write a name such as `layer1`, or `*` for everything".to_owned();
            draft.report(place, "bad-pattern", "the pattern is empty".into(), help);
        } else if let Some(regex) = positive.strip_prefix("re:")
            && let Err(error) = Regex::new(regex)
        {
            draft.report(place, "bad-regex", reason(&error), None);
        } else if let Some(alias) = positive.strip_prefix('@') {
            const ALIASES: [&str; 4] = ["head", "backbone", "norm", "bias"];
            if !ALIASES.contains(&alias) {
                let help = match suggest::closest(alias, ALIASES) {
                    Some(meant) => format!("did you mean `@{meant}`?"),
                    None => "aliases: `@head`, `@backbone`, `@norm`, `@bias`".into(),
                };
                draft.report(place, "unknown-alias", format!("unknown alias `@{alias}`"), help);
            }
        }
    }
}

/// The last line of a regex error says why; those before it draw the pattern.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    format!("not a regular expression: {}", last.trim_start_matches("error: "))
}
