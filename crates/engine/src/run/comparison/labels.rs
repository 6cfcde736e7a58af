//! Labels for the rows of a comparison, from what distinguishes them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{AveragedSettings, LoadedRun, value_at};
use crate::digest::differences;
use crate::pipeline::run_label;

/// With more differing settings than this, a label names the first ones and the run.
const MOST_SETTINGS: usize = 3;

/// One unique label for each group. It is the label in the matrix, without the averaged settings. If there is none, it
/// lists the settings that differ between groups. If none differ, it is the name and the id.
pub(super) fn labels(groups: &[Vec<LoadedRun>], averaged: &AveragedSettings) -> Vec<String> {
    let fields = differing(groups);
    let short = short_names(&fields);
    let several_names =
        groups.iter().map(|group| group[0].run.name.as_str()).collect::<BTreeSet<_>>().len() > 1;
    let of_group = |group: &Vec<LoadedRun>| {
        let first = &group[0];
        let parts = matrix_parts(group, &fields, averaged);
        if !parts.is_empty() {
            return parts.join(", ");
        }
        let values = fields
            .iter()
            .take(MOST_SETTINGS)
            .map(|field| format!("{}={}", short[field], text(value_at(&first.alike["settings"], field))));
        values.collect::<Vec<_>>().join(", ")
    };
    // Another name says enough, and their settings may differ in everything.
    let is_alone = |group: &[LoadedRun]| {
        let same = groups.iter().filter(|other| other[0].run.name == group[0].run.name);
        several_names && same.count() == 1
    };
    let own = without_the_axis(groups.iter().map(of_group).collect());
    let named: Vec<String> = own
        .into_iter()
        .zip(groups)
        .map(|(label, group)| match (label.is_empty() || is_alone(group), several_names) {
            (true, _) => group[0].run.name.clone(),
            (false, true) => format!("{}: {label}", group[0].run.name),
            (false, false) => label,
        })
        .collect();
    let told_apart = |(index, label): (usize, &String)| {
        let run = &groups[index][0].run;
        let alone = named.iter().filter(|other| *other == label).count() == 1;
        if alone { label.clone() } else { format!("{label} ({}/{})", run.name, run.id) }
    };
    named.iter().enumerate().map(told_apart).collect()
}

/// The settings that differ between groups, sorted by path.
fn differing(groups: &[Vec<LoadedRun>]) -> Vec<String> {
    let Some((first, others)) = groups.split_first() else { return Vec::new() };
    let settings = |group: &[LoadedRun]| group[0].alike["settings"].clone();
    let found = others.iter().flat_map(|group| differences(&settings(first), &settings(group)));
    let fields: BTreeSet<String> = found.map(|difference| difference.field).collect();
    fields.into_iter().collect()
}

/// The shortest unique suffix of each dotted path: `lr` for `stage.a.optimizer.lr`, or `a.optimizer.lr` if
/// `b.optimizer.lr` exists too.
fn short_names(fields: &[String]) -> BTreeMap<String, String> {
    let ends = |field: &str| {
        let starts: Vec<usize> =
            field.match_indices('.').map(|(place, _)| place + 1).rev().chain([0]).collect();
        starts.into_iter().map(|start| field[start..].to_owned()).collect::<Vec<_>>()
    };
    let unique = |end: &String, own: &String| {
        fields.iter().filter(|other| *other != own).all(|other| !ends(other).contains(end))
    };
    let short =
        |field: &String| ends(field).into_iter().find(|end| unique(end, field)).unwrap_or(field.clone());
    fields.iter().map(|field| (field.clone(), short(field))).collect()
}

/// The parts of a matrix label that all runs of a group share, without those of averaged settings.
fn matrix_parts(group: &[LoadedRun], fields: &[String], averaged: &AveragedSettings) -> Vec<String> {
    let (run, others) = (&group[0].run, &group[1..]);
    let shared = |part: &(&str, &str)| {
        let has = |label: &str| run_label::parts(label).any(|found| found == *part);
        others.iter().all(|other| other.run.label.as_deref().is_some_and(has))
    };
    // A single run of an averaged group still has its value in its label. Another setting with the same last word may
    // differ between the groups, for example the seed of the split and that of the pipeline. Then the part belongs to
    // that setting.
    let is_averaged = |(axis, value): &(&str, &str)| {
        let ends_so = |path: &str| path.rsplit('.').next() == Some(axis);
        let differs =
            |field: &String| ends_so(field) && text(value_at(&group[0].alike["settings"], field)) == *value;
        let is_value = |path: &&str| ends_so(path) && text(value_at(&group[0].settings, path)) == *value;
        averaged.paths().any(|path| is_value(&path)) && !fields.iter().any(differs)
    };
    let parts = run.label.as_deref().into_iter().flat_map(run_label::parts).filter(shared);
    parts
        .filter(|part| !is_averaged(part))
        .map(|(axis, value)| run_label::part(Some(axis).filter(|axis| !axis.is_empty()), value))
        .collect()
}

/// If all labels are values of the same setting, the heading of the rows need not repeat it.
fn without_the_axis(labels: Vec<String>) -> Vec<String> {
    let axes: Option<BTreeSet<&str>> =
        labels.iter().map(|label| label.split_once('=').map(|(axis, _)| axis)).collect();
    let one_value_each = || labels.iter().all(|label| !label.contains(", "));
    // A bare number is ambiguous: `3` of `split.seed=3`.
    let words = || {
        labels
            .iter()
            .all(|label| label.split_once('=').is_some_and(|(_, value)| value.parse::<f64>().is_err()))
    };
    if labels.len() < 2 || axes.is_none_or(|axes| axes.len() != 1) || !one_value_each() || !words() {
        return labels;
    }
    let value = |label: &String| label.split_once('=').map_or(label.clone(), |(_, value)| value.to_owned());
    labels.iter().map(value).collect()
}

/// A setting's value for people; `–` if it is not set.
fn text(value: Option<&Value>) -> String {
    value.map_or("–".to_owned(), |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_named_by_the_shortest_end_of_its_path_that_is_its_own() {
        let fields =
            ["stage.a.optimizer.lr", "stage.b.optimizer.lr", "data.d.split.seed", "seed"].map(str::to_owned);
        let short = short_names(&fields);
        let names = fields.each_ref().map(|field| short[field].as_str());
        assert_eq!(names, ["a.optimizer.lr", "b.optimizer.lr", "split.seed", "seed"]);
    }

    #[test]
    fn a_common_setting_is_left_out_of_words_but_not_of_numbers() {
        let labels = |labels: [&str; 2]| without_the_axis(labels.map(str::to_owned).into());
        assert_eq!(labels(["arch=resnet18", "arch=resnet50"]), ["resnet18", "resnet50"]);
        assert_eq!(labels(["lr=0.1", "lr=0.2"]), ["lr=0.1", "lr=0.2"]);
    }
}
