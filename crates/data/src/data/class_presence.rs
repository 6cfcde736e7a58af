//! Checks which classes each split of a data set has, against the settings.
//!
//! A class without training images cannot be learnt, and a split without a class cannot measure it. Both are errors
//! unless `split.require_classes = false` allows them. In the training split, the class must also be named in
//! `classes`, because a class that is only found is meant to be trained.

use super::Split;
use super::dataset::Dataset;
use super::source::{list, quoted};
use crate::Error;
use crate::error::InputErrors;

/// The data set's settings for classes that a split lacks.
pub struct PresenceRule {
    /// Whether every split must have every class.
    pub every_class: bool,
    /// Whether the pipeline file, or the data set itself, names the classes.
    pub named: bool,
    /// Whether `classes` can leave out a class. In YOLO's files without a `data.yaml`, it numbers the classes.
    pub selectable: bool,
}

impl PresenceRule {
    /// Whether a split may lack a class.
    pub fn allows_gap(&self, part: Split) -> bool {
        !self.every_class && (self.named || part != Split::Train)
    }
}

/// The classes without an image, for each split.
pub fn gaps(dataset: &Dataset, parts: &[Split]) -> Vec<(Split, Vec<String>)> {
    let counts = dataset.counts();
    let lacks = |part: &Split| {
        let without = dataset.classes.iter().zip(&counts).filter(|(_, counts)| counts[*part as usize] == 0);
        (*part, without.map(|(class, _)| class.clone()).collect::<Vec<_>>())
    };
    parts.iter().map(lacks).filter(|(_, classes)| !classes.is_empty()).collect()
}

/// Returns an error for missing classes in a table's splits.
pub fn require(dataset: &Dataset, parts: &[Split], demand: &PresenceRule, mistakes: &mut InputErrors) {
    let found = gaps(dataset, parts);
    let whole: Vec<String> = dataset
        .classes
        .iter()
        .filter(|class| !found.iter().any(|(_, without)| without.contains(class)))
        .cloned()
        .collect();
    for (part, classes) in found.iter().filter(|(part, _)| !demand.allows_gap(*part)) {
        let what = match (dataset.is_multi_label(), classes.len()) {
            (true, 1) => "label",
            (true, _) => "labels",
            (false, 1) => "class",
            (false, _) => "classes",
        };
        let message =
            format!("the {} split has no image of {what} {}", part_name(*part), quoted(classes, ", "));
        mistakes.add("split without a class", Error::usage(message).hint(how_to_fix(*part, &whole, demand)));
    }
}

/// How to fix or allow a missing class. `whole` are the classes that every split has.
pub fn how_to_fix(part: Split, whole: &[String], demand: &PresenceRule) -> String {
    let leave = match (demand.selectable, whole.len()) {
        (false, _) => String::new(),
        (true, 2..=8) => format!(", or leave it out with `classes = [{}]`", list(whole)),
        (true, _) => ", or leave it out by listing the others in `classes`".to_owned(),
    };
    match (part, demand.every_class) {
        (Split::Train, _) => format!("add training images of it{leave}"),
        _ => format!("set `split.require_classes = false` to allow a split without a class{leave}"),
    }
}

/// The warning if the settings allow a class without training images.
pub fn untrained(dataset: &Dataset) -> Option<String> {
    // A data set without training images is for evaluation alone.
    if dataset.split(Split::Train).is_empty() {
        return None;
    }
    let (_, classes) = gaps(dataset, &[Split::Train]).pop()?;
    Some(format!("no training image has {}: the model cannot learn to predict it", quoted(&classes, ", ")))
}

fn part_name(part: Split) -> &'static str {
    match part {
        Split::Train => "training",
        Split::Validation => "validation",
        Split::Test => "test",
    }
}
