//! The probes of a stage's work, and the keys of their measurements.

use serde_json::json;

use super::EstimateSettings;
use crate::bench::{LoadProbe, Probe};
use crate::data::Split;
use crate::digest::Digest;
use crate::freeze;
use crate::pipeline::{Augment, Head, Precision, RGB_CHANNELS};
use crate::stage::{
    EnsembleMember, FrozenPrefix, ModelSpec, PlannedStage, Preprocess, ResolvedStage, TrainStage,
};

/// The probes of a stage with their keys, for each of its models.
pub(super) fn probes<'a>(work: &'a PlannedStage) -> Vec<(&'a ModelSpec, Vec<(String, Probe<'a>)>)> {
    let parted = |model_spec: &'a ModelSpec, prefixes: &[usize]| {
        let layers = model_spec.build().description.layers.len();
        let pass = |from, to| (pass_key(model_spec, size(work), from, to), Probe::Pass { from, to });
        let passes: Vec<_> = prefixes.iter().flat_map(|&from| [pass(0, from), pass(from, layers)]).collect();
        (model_spec, passes)
    };
    match work {
        ResolvedStage::LoadWeights(..) | ResolvedStage::InitWeights(_) => Vec::new(),
        ResolvedStage::Evaluate(evaluate, _) => {
            let member = |member: &'a EnsembleMember| parted(&member.model_spec, &[member.layers]);
            evaluate.members.iter().map(member).collect()
        }
        ResolvedStage::Train(train, _) => {
            let prefixes: Vec<usize> = train.prefixes.iter().map(|prefix| prefix.layers).collect();
            let (model_spec, mut pieces) = parted(&train.model_spec, &prefixes);
            for (phase, _, prefix) in train.phases() {
                let piece =
                    Probe::Step { from: prefix.layers, stage: &train.settings, table: &train.table, phase };
                pieces.push((step_key(train, phase, prefix), piece));
            }
            let teacher = train.teacher.iter().map(|teacher| parted(teacher, &[0]));
            std::iter::once((model_spec, pieces)).chain(teacher).collect()
        }
    }
}

/// As [`probes`], for loading images.
pub(super) fn load_probes<'a>(
    work: &'a PlannedStage,
    settings: &EstimateSettings,
    plain: &'a Augment,
) -> Vec<(String, LoadProbe<'a>)> {
    let (Some(dataset), Some(view)) = (work.dataset(), work.preprocess()) else { return Vec::new() };
    let augments = match work {
        ResolvedStage::Train(train, _) => {
            let augment = &train.settings.augment;
            vec![(plain, false), (augment, false), (augment, true)]
        }
        _ => vec![(plain, false)],
    };
    let sight = |(augment, composed)| {
        let kept = caches_images(work) && settings.image_cache > 0;
        let sight =
            LoadProbe { dataset, images: &view.0, augment, workers: settings.workers, kept, composed };
        (load_key(work, augment, composed, settings), sight)
    };
    augments.into_iter().map(sight).collect()
}

/// Images of a stage that are read to measure loading, spread over the whole set.
pub(super) fn sample_images(work: &PlannedStage, count: usize) -> Vec<usize> {
    let Some(dataset) = work.dataset() else { return Vec::new() };
    let samples = match work {
        ResolvedStage::Evaluate(evaluate, _) => evaluate.samples(dataset),
        _ => dataset.split(Split::Train),
    };
    let every = samples.len().div_ceil(count).max(1);
    samples.into_iter().step_by(every).collect()
}

pub(super) fn size(work: &PlannedStage) -> usize {
    work.preprocess().map_or(0, |view| view.0.image_size)
}

/// Whether caching decoded images is useful: an evaluation reads them once.
pub(super) fn caches_images(work: &PlannedStage) -> bool {
    matches!(work, ResolvedStage::Train(..))
}

pub(super) fn model_key(model_spec: &ModelSpec) -> String {
    let arch = serde_json::to_value(model_spec.model.arch).unwrap_or_default();
    let head = match &model_spec.model.head {
        Head::Linear(_) => String::new(),
        other => format!(" under {}", json!(other)),
    };
    let channels = match model_spec.channels {
        RGB_CHANNELS => String::new(),
        other => format!(" of {other} channels"),
    };
    format!("{} with {} classes{head}{channels}", arch.as_str().unwrap_or_default(), model_spec.classes.len())
}

pub(super) fn pass_key(model_spec: &ModelSpec, size: usize, from: usize, to: usize) -> String {
    format!("pass of {}, layers {from} to {to}, at {size}", model_key(model_spec))
}

/// The trainable tensors and the kind of training matter, the rates do not.
pub(super) fn step_key(train: &TrainStage, phase: &freeze::FreezePhase, prefix: &FrozenPrefix) -> String {
    let kind = train.settings.optimizer.settings().name();
    let training = phase.norms.iter().map(|mode| *mode == crate::model::NormMode::Training);
    let mut trains = json!({ "trainable": phase.trainable, "norms": training.collect::<Vec<_>>() });
    if let Some(adapter) = &train.model_spec.adapter {
        trains["adapter"] = json!(adapter);
    }
    let (from, size) = (prefix.layers, train.preprocess.0.image_size);
    let digest = Digest::of_json(&trains).short();
    let stage = &train.settings;
    let precision = match stage.precision {
        Precision::F32 => String::new(),
        rounded => format!(" in {}", rounded.name()),
    };
    let variants = [(stage.accumulate > 1, " accumulated"), (stage.clip_norm.is_some(), " clipped")];
    let variants = variants.into_iter().chain([(stage.ema.is_some(), " averaged")]);
    let variants: String = variants.filter(|(there, _)| *there).map(|(_, name)| name).collect();
    format!(
        "{kind}{variants}{precision} step of {}, layers from {from}, trainable {digest}, at {size}",
        model_key(&train.model_spec)
    )
}

/// `composed` says whether several images are put into one, where the augmentation does so.
pub(super) fn load_key(
    work: &PlannedStage,
    augment: &Augment,
    composed: bool,
    settings: &EstimateSettings,
) -> String {
    let root = work.dataset().map(|dataset| dataset.root.display().to_string());
    let view = work.preprocess().map(Preprocess::document);
    let digest = Digest::of_json(&json!({ "root": root, "view": view, "augment": augment })).short();
    let kept = caches_images(work) && settings.image_cache > 0;
    let composed = if composed { ", composed" } else { "" };
    format!("images {digest} at {}, {} workers, kept {kept}{composed}", size(work), settings.workers)
}
