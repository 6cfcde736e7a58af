//! Runs read for a comparison: parameters, metrics, curves, and what their stages took wherever they were computed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use super::compare::beside_settings;
use super::locate::name_of;
use super::overview::results;
use super::{RunDirectory, RunRecord, all_runs, happened};
use crate::digest::{Difference, Digest, differences};
use crate::error::Result;
use crate::events::Event;
use crate::pipeline::label;
use crate::report::{ComparedRun, Overlay, ReportData, RunGroup, StageReport};

/// A run with what decides which others it is grouped with.
struct Read {
    run: ComparedRun,
    /// Settings, inputs and versions, but for name and seed.
    alike: Value,
    parameters: Option<(u64, u64)>,
}

/// Reads runs for a comparison, those that differ in their seed alone as one group.
///
/// # Errors
/// The plan or the settings of one cannot be read.
pub fn overlay(runs: &[RunDirectory]) -> Result<Overlay> {
    let costs = Costs::of(runs)?;
    let mut groups: Vec<Vec<Read>> = Vec::new();
    for run in runs {
        let read = read(run, &costs)?;
        match groups.iter_mut().find(|group| group[0].alike == read.alike) {
            Some(group) => group.push(read),
            None => groups.push(vec![read]),
        }
    }
    let mut names: Vec<&str> = groups.iter().flatten().map(|read| read.run.name.as_str()).collect();
    names.dedup();
    let title = names.join(", ");
    let labels = labels(&groups);
    let groups = groups.into_iter().zip(labels).map(|(mut group, label)| {
        group.sort_by_key(|read| read.run.seed);
        let parameters = group[0].parameters;
        RunGroup::new(label, group.into_iter().map(|read| read.run).collect(), parameters)
    });
    Ok(Overlay { title, groups: groups.collect() })
}

fn read(run: &RunDirectory, costs: &Costs) -> Result<Read> {
    let record = run.record()?;
    let mut settings = run.settings()?;
    let seed = settings["seed"].as_u64().unwrap_or(0);
    if let Some(settings) = settings.as_object_mut() {
        settings.retain(|name, _| name != "name" && name != "seed");
    }
    let report = ReportData::read(run.path())?;
    let trained = report.stages.iter().rev().find_map(|stage| stage.training.as_ref());
    let parameters = trained.map(|training| {
        let counts = &training.parameters;
        (counts.trainable_parameters, counts.trainable_parameters + counts.frozen_parameters)
    });
    let evaluated = record.stages.iter().filter(|stage| stage.kind == "evaluate");
    let metrics = evaluated.flat_map(|stage| {
        let whole = |name: &str| {
            let parts = ["verification.", "identification."];
            !parts.iter().fold(name, |name, part| name.strip_prefix(part).unwrap_or(name)).contains('.')
        };
        let found = results(run, &stage.name).into_iter().filter(|(name, _)| whole(name));
        found.map(|(name, value)| (format!("{}/{name}", stage.name), value)).collect::<Vec<_>>()
    });
    let mut metrics: BTreeMap<String, f64> = metrics.collect();
    if metrics.is_empty() {
        // Where nothing is evaluated, the best epochs are what there is to compare.
        metrics.extend(report.stages.iter().filter_map(|stage| {
            let best = stage.training.as_ref()?.best.as_ref()?;
            Some((format!("{} validation/accuracy", stage.name), best.validation_accuracy?))
        }));
    }
    Ok(Read {
        alike: json!({ "settings": settings, "beside": beside_settings(&record) }),
        parameters,
        run: ComparedRun {
            run_dir: run.path().display().to_string(),
            name: name_of(run),
            id: run.id(),
            label: record.label.clone(),
            seed,
            state: run.state().to_string(),
            seconds: costs.seconds(&record),
            memory_bytes: costs.memory(&record),
            metrics,
            curve: curve(&record, &report),
        },
    })
}

/// The accuracy of the last train stage and of those it starts from, epochs counted on.
fn curve(record: &RunRecord, report: &ReportData) -> Vec<[f64; 2]> {
    let mut chain: Vec<&StageReport> = Vec::new();
    let mut next =
        record.stages.iter().rev().find(|stage| stage.kind == "train").map(|stage| stage.name.as_str());
    while let Some(name) = next {
        let stage = report.stages.iter().find(|stage| stage.name == name && stage.kind == "train");
        chain.extend(stage);
        next = stage.and_then(StageReport::from).map(|from| from.split('@').next().unwrap_or(from));
    }
    let mut points = Vec::new();
    for stage in chain.into_iter().rev() {
        let before = points.len() as f64;
        let accuracy = stage.history.iter().map(|row| row.validation_accuracy.unwrap_or(row.train_accuracy));
        let numbered = accuracy.enumerate().map(|(index, value)| [before + index as f64 + 1.0, value]);
        points.extend(numbered.filter(|point| point[1].is_finite()));
    }
    points
}

/// What each group is called: by its labels less what its runs differ in; else by the settings that tell it from the
/// others, where they are few; else by name and id.
fn labels(groups: &[Vec<Read>]) -> Vec<String> {
    let first = groups.first().map(|group| &group[0].alike["settings"]);
    let mut fields: Vec<Difference> = Vec::new();
    for group in groups {
        for found in first.map(|first| differences(first, &group[0].alike["settings"])).unwrap_or_default() {
            if !fields.iter().any(|known| known.field == found.field) {
                fields.push(found);
            }
        }
    }
    let of_settings = |group: &[Read]| {
        let value = |field: &str| {
            let found = field.split('.').try_fold(&group[0].alike["settings"], |value, key| match value {
                Value::Array(items) => items.get(key.parse::<usize>().ok()?),
                other => other.get(key),
            });
            let text = found.map_or("–".to_owned(), |value| {
                value.as_str().map_or_else(|| value.to_string(), str::to_owned)
            });
            format!("{}={text}", field.rsplit('.').next().unwrap_or(field))
        };
        (1..=2)
            .contains(&fields.len())
            .then(|| fields.iter().map(|known| value(&known.field)).collect::<Vec<_>>().join(", "))
    };
    let of_group = |group: &Vec<Read>| {
        let (run, others) = (&group[0].run, &group[1..]);
        let shared = |part: &(&str, &str)| {
            others.iter().all(|other| {
                other
                    .run
                    .label
                    .as_deref()
                    .is_some_and(|other| label::parts(other).any(|found| found == *part))
            })
        };
        let parts = run.label.as_deref().into_iter().flat_map(label::parts).filter(shared);
        // The seed is what a group runs over, also where only one of them is there.
        let parts = parts.filter(|(axis, _)| *axis != "seed");
        let parts: Vec<String> = parts
            .map(|(axis, value)| label::part(Some(axis).filter(|axis| !axis.is_empty()), value))
            .collect();
        if !parts.is_empty() {
            return parts.join(", ");
        }
        of_settings(group).unwrap_or_else(|| match groups.len() {
            1 => run.name.clone(),
            _ => format!("{}/{}", run.name, run.id),
        })
    };
    without_the_axis(groups.iter().map(of_group).collect())
}

/// Where all labels are values of one and the same axis, that need not be said each time.
fn without_the_axis(labels: Vec<String>) -> Vec<String> {
    let axes: Option<BTreeSet<&str>> =
        labels.iter().map(|label| label.split_once('=').map(|(axis, _)| axis)).collect();
    if labels.len() < 2
        || axes.is_none_or(|axes| axes.len() != 1)
        || labels.iter().any(|label| label.contains(", "))
    {
        return labels;
    }
    labels
        .iter()
        .map(|label| label.split_once('=').map_or(label.as_str(), |(_, value)| value).to_owned())
        .collect()
}

/// What stages took where they were computed, by key: a run that found one in the store did not pay for it.
struct Costs {
    by_key: BTreeMap<Digest, (f64, Option<u64>)>,
}

impl Costs {
    /// Reads the events of the runs, and of all others that lie beside them.
    fn of(runs: &[RunDirectory]) -> Result<Self> {
        let mut roots: Vec<&Path> = runs.iter().filter_map(|run| run.path().parent()?.parent()).collect();
        roots.sort();
        roots.dedup();
        let mut all = Vec::new();
        for root in roots {
            all.extend(all_runs(root)?);
        }
        all.extend(runs.iter().cloned());
        let mut by_key = BTreeMap::new();
        for run in all {
            let Ok(record) = run.record() else { continue };
            for (_, event) in happened(&run) {
                let Event::StageCost { stage, seconds, memory_bytes, .. } = event else { continue };
                if let Some(key) = record.stage(&stage).and_then(|stage| stage.key) {
                    by_key.insert(key, (seconds, memory_bytes));
                }
            }
        }
        Ok(Self { by_key })
    }

    /// None where some stage's time is not known.
    fn seconds(&self, record: &RunRecord) -> Option<f64> {
        record.stages.iter().map(|stage| Some(self.by_key.get(&stage.key?)?.0)).sum()
    }

    /// None where some stage's peak is not known: it might be the highest.
    fn memory(&self, record: &RunRecord) -> Option<u64> {
        let peaks: Option<Vec<u64>> =
            record.stages.iter().map(|stage| self.by_key.get(&stage.key?)?.1).collect();
        peaks?.into_iter().max()
    }
}
