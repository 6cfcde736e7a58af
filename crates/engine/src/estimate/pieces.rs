//! The probes of a stage's work, and the keys of their measurements.

use serde_json::json;

use super::Settings;
use crate::bench::{Piece, Sight};
use crate::data::Split;
use crate::digest::Digest;
use crate::freeze;
use crate::pipeline::{Augment, Head, Precision};
use crate::stage::{Member, PlannedStage, Prefix, ResolvedStage, Subject, Train, View};

/// The probes of a stage with their keys, for each of its models.
pub(super) fn pieces<'a>(work: &'a PlannedStage) -> Vec<(&'a Subject, Vec<(String, Piece<'a>)>)> {
    let parted = |subject: &'a Subject, prefixes: &[usize]| {
        let layers = subject.build().description.layers.len();
        let pass = |from, to| (pass_key(subject, size(work), from, to), Piece::Pass { from, to });
        let passes: Vec<_> = prefixes.iter().flat_map(|&from| [pass(0, from), pass(from, layers)]).collect();
        (subject, passes)
    };
    match work {
        ResolvedStage::LoadWeights(..) | ResolvedStage::InitWeights(_) => Vec::new(),
        ResolvedStage::Evaluate(evaluate, _) => {
            let member = |member: &'a Member| parted(&member.subject, &[member.layers]);
            evaluate.members.iter().map(member).collect()
        }
        ResolvedStage::Train(train, _) => {
            let prefixes: Vec<usize> = train.prefixes.iter().map(|prefix| prefix.layers).collect();
            let (subject, mut pieces) = parted(&train.subject, &prefixes);
            for (phase, _, prefix) in train.phases() {
                let piece =
                    Piece::Step { from: prefix.layers, stage: &train.settings, table: &train.table, phase };
                pieces.push((step_key(train, phase, prefix), piece));
            }
            let teacher = train.teacher.iter().map(|teacher| parted(teacher, &[0]));
            std::iter::once((subject, pieces)).chain(teacher).collect()
        }
    }
}

/// As [`pieces`], for loading images.
pub(super) fn sights<'a>(
    work: &'a PlannedStage,
    settings: &Settings,
    plain: &'a Augment,
) -> Vec<(String, Sight<'a>)> {
    let (Some(dataset), Some(view)) = (work.dataset(), work.view()) else { return Vec::new() };
    let augments = match work {
        ResolvedStage::Train(train, _) => vec![plain, &train.settings.augment],
        _ => vec![plain],
    };
    let sight = |augment| {
        let kept = keeps(work) && settings.image_cache > 0;
        let sight = Sight { dataset, folder: &view.0, augment, workers: settings.workers, kept };
        (sight_key(work, augment, settings), sight)
    };
    augments.into_iter().map(sight).collect()
}

/// Images of a stage that are read to measure loading, spread over the whole set.
pub(super) fn examples(work: &PlannedStage, count: usize) -> Vec<usize> {
    let Some(dataset) = work.dataset() else { return Vec::new() };
    let samples = match work {
        ResolvedStage::Evaluate(evaluate, _) => evaluate.samples(dataset),
        _ => dataset.split(Split::Train),
    };
    let every = samples.len().div_ceil(count).max(1);
    samples.into_iter().step_by(every).collect()
}

pub(super) fn size(work: &PlannedStage) -> usize {
    work.view().map_or(0, |view| view.0.image_size)
}

/// Whether caching decoded images is useful: an evaluation reads them once.
pub(super) fn keeps(work: &PlannedStage) -> bool {
    matches!(work, ResolvedStage::Train(..))
}

pub(super) fn names(subject: &Subject) -> String {
    let arch = serde_json::to_value(subject.model.arch).unwrap_or_default();
    let head = match &subject.model.head {
        Head::Linear(_) => String::new(),
        other => format!(" under {}", json!(other)),
    };
    format!("{} with {} classes{head}", arch.as_str().unwrap_or_default(), subject.classes.len())
}

pub(super) fn pass_key(subject: &Subject, size: usize, from: usize, to: usize) -> String {
    format!("pass of {}, layers {from} to {to}, at {size}", names(subject))
}

/// The trainable tensors and the kind of training matter, the rates do not.
pub(super) fn step_key(train: &Train, phase: &freeze::Phase, prefix: &Prefix) -> String {
    let kind = train.settings.optimizer.settings().name();
    let training = phase.norms.iter().map(|mode| *mode == crate::model::NormMode::Training);
    let trains = json!({ "trainable": phase.trainable, "norms": training.collect::<Vec<_>>() });
    let (from, size) = (prefix.layers, train.view.0.image_size);
    let digest = Digest::of_json(&trains).short();
    let stage = &train.settings;
    let precision = match stage.precision {
        Precision::F32 => String::new(),
        rounded => format!(" in {}", rounded.name()),
    };
    let beside = [(stage.accumulate > 1, " accumulated"), (stage.clip_norm.is_some(), " clipped")];
    let beside = beside.into_iter().chain([(stage.ema.is_some(), " averaged")]);
    let beside: String = beside.filter(|(there, _)| *there).map(|(_, name)| name).collect();
    format!(
        "{kind}{beside}{precision} step of {}, layers from {from}, trainable {digest}, at {size}",
        names(&train.subject)
    )
}

pub(super) fn sight_key(work: &PlannedStage, augment: &Augment, settings: &Settings) -> String {
    let root = work.dataset().map(|dataset| dataset.root.display().to_string());
    let view = work.view().map(View::document);
    let digest = Digest::of_json(&json!({ "root": root, "view": view, "augment": augment })).short();
    let kept = keeps(work) && settings.image_cache > 0;
    format!("images {digest} at {}, {} workers, kept {kept}", size(work), settings.workers)
}
