//! How the metric depends on each setting: its mean over samples with low, middle and high values, or with each choice.

use serde::Serialize;
use serde_json::Value;

use super::SearchReport;
use super::data::SampleReport;

/// Samples with near values of a setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SettingGroup {
    pub setting: String,
    /// Such as `0.0001 to 0.0021`, or a choice.
    pub values: String,
    pub samples: usize,
    pub mean: f64,
    pub best: f64,
    /// The share of the variance of the metric between the groups of the setting: 0 if it makes no difference, 1 if nothing
    /// else does.
    pub importance: f64,
}

/// The number of groups of a setting with many values.
const PARTS: usize = 3;

/// The groups of every setting, the most important setting first. They compare the samples after the first rung, which all
/// of them finish. Empty if fewer than two did.
pub fn searched_groups(search: &SearchReport) -> Vec<SettingGroup> {
    let finished: Vec<(&SampleReport, f64)> =
        search.samples.iter().filter_map(|sample| Some((sample, *sample.metrics.first()?))).collect();
    if finished.len() < 2 {
        return Vec::new();
    }
    let mut settings: Vec<Vec<SettingGroup>> =
        (0..search.settings.len()).map(|setting| of_setting(search, setting, &finished)).collect();
    settings.sort_by(|a, b| importance(b).total_cmp(&importance(a)));
    settings.into_iter().flatten().collect()
}

fn importance(groups: &[SettingGroup]) -> f64 {
    groups.first().map_or(0.0, |group| group.importance)
}

fn of_setting(search: &SearchReport, setting: usize, finished: &[(&SampleReport, f64)]) -> Vec<SettingGroup> {
    let mut sorted: Vec<(&Value, f64)> =
        finished.iter().filter_map(|(sample, metric)| Some((sample.values.get(setting)?, *metric))).collect();
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let has_order = !search.settings[setting].choice;
    sorted.sort_by(|(a, _), (b, _)| match has_order {
        true => number(a).total_cmp(&number(b)),
        false => a.to_string().cmp(&b.to_string()),
    });
    let groups: Vec<&[(&Value, f64)]> = if has_order {
        sorted.chunks(sorted.len().div_ceil(PARTS)).collect()
    } else {
        sorted.chunk_by(|(a, _), (b, _)| a == b).collect()
    };
    let all: Vec<f64> = sorted.iter().map(|(_, metric)| *metric).collect();
    let whole = mean(&all);
    let spread: f64 = all.iter().map(|metric| (metric - whole) * (metric - whole)).sum();
    let metrics = |group: &[(&Value, f64)]| group.iter().map(|(_, metric)| *metric).collect::<Vec<f64>>();
    let between: f64 = groups
        .iter()
        .map(|group| {
            let away = mean(&metrics(group)) - whole;
            group.len() as f64 * away * away
        })
        .sum();
    let importance = if spread > 0.0 { between / spread } else { 0.0 };
    let group = |group: &&[(&Value, f64)]| {
        let metrics = metrics(group);
        let best = metrics.iter().copied().min_by(|a, b| search.order(*a, *b)).unwrap_or(f64::NAN);
        let (first, last) = (group[0].0, group[group.len() - 1].0);
        let values = if first == last {
            value_text(first)
        } else {
            format!("{} to {}", value_text(first), value_text(last))
        };
        let name = search.settings[setting].name.clone();
        SettingGroup { setting: name, values, samples: group.len(), mean: mean(&metrics), best, importance }
    };
    groups.iter().map(group).collect()
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

/// A value of a setting, without the quotes of a text.
pub(super) fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => format!("{:?}", number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::search;
    use super::*;

    #[test]
    fn a_setting_that_decides_the_metric_is_more_important_than_one_that_does_not() {
        let groups = searched_groups(&search());
        let lines: Vec<String> = groups
            .iter()
            .map(|group| {
                let SettingGroup { setting, values, samples, mean, best, importance } = group;
                format!("{setting} {values}: {samples}, {mean:.3}, {best:.3}, {importance:.2}")
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        lr 0.002154434690031882 to 0.004641588833612782: 2, 0.450, 0.500, 0.91
        lr 0.01 to 0.021544346900318846: 2, 0.650, 0.700, 0.91
        lr 0.046415888336127795 to 0.1: 2, 0.850, 0.900, 0.91
        kind adamw: 3, 0.700, 0.900, 0.09
        kind sgd: 3, 0.600, 0.800, 0.09
        ");
    }
}
