//! The columns of the table: cost and results, a selection or those that the caller chose.

use super::{Heading, MeanStd, MetricSplit, RunComparison, RunGroup, Unit};
use crate::error::{Error, Result};
use crate::pipeline::suggest;

/// One column of the table: its heading, and the text for each group.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: String,
    pub cells: Vec<String>,
    /// The values as plotted.
    pub values: Vec<Option<MeanStd>>,
    /// Whether it depends on the machine: two runs of the same pipeline have different values.
    pub of_machine: bool,
    /// Whether it was measured on test images, which must not be used to select a run.
    pub of_test: bool,
}

/// The maximum number of metric columns for selection, and of test columns.
const METRIC_COLUMNS: usize = 4;

/// The metrics of a group that no stage measured: key, heading, unit, and whether it depends on the machine.
const OWN: [(&str, &str, Unit, bool); 4] = [
    ("trainable_parameters", "trainable", Unit::Count, false),
    ("parameters", "parameters", Unit::Count, false),
    ("seconds", "time", Unit::Seconds, true),
    ("memory_bytes", "memory", Unit::Mebibytes, true),
];

impl RunComparison {
    /// How differences are computed, and how to read them.
    pub const DIFFERENCES: &str = "mean ± sample standard deviation over pairs of runs with the same seed, and in brackets \
                                   the 95 % confidence interval; where it contains 0, these seeds show no difference";

    /// The columns of the table, after the label. Without a choice: runs, parameters, metrics for selection, time,
    /// memory, and test metrics.
    pub fn columns(&self) -> Vec<Column> {
        let own = |name: &str| self.column(name);
        let mut columns = vec![self.runs()];
        if !self.chosen.is_empty() {
            let (of_test, others): (Vec<Column>, Vec<Column>) =
                self.chosen.iter().filter_map(|name| own(name)).partition(|column| column.of_test);
            columns.extend(others.into_iter().chain(of_test));
            return columns;
        }
        columns.extend(own("trainable_parameters"));
        columns.extend(own("parameters"));
        columns.extend(self.shown_metrics(false).into_iter().filter_map(own));
        columns.extend(own("seconds"));
        columns.extend(own("memory_bytes"));
        columns.extend(self.shown_metrics(true).into_iter().filter_map(own));
        columns
    }

    /// The metrics of the differences from the baseline: the columns that are measured per run, with the text for each
    /// group. Empty without a baseline.
    pub fn difference_columns(&self) -> Vec<Column> {
        if self.baseline.is_none() {
            return Vec::new();
        }
        let headings = self.headings();
        let names: Vec<&String> = match &self.chosen[..] {
            [] => [false, true]
                .into_iter()
                .flat_map(|of_test| self.shown_metrics(of_test))
                .filter_map(|name| headings.get_key_value(&name.to_owned()).map(|(name, _)| *name))
                .collect(),
            chosen => chosen.iter().collect(),
        };
        names.into_iter().filter_map(|name| self.difference_column(name, headings.get(name)?)).collect()
    }

    fn difference_column(&self, name: &str, heading: &Heading) -> Option<Column> {
        let like = self.baseline_group()?.metrics.get(name)?.mean;
        let unit = heading.unit;
        let cell = |group: &RunGroup| {
            let Some(difference) = group.differences.get(name) else { return String::new() };
            let sd =
                difference.sd.map(|sd| format!(" ± {}", &unit.signed(sd, like)[1..])).unwrap_or_default();
            let interval = difference
                .interval
                .map(|[low, high]| format!(" [{}, {}]", unit.signed(low, like), unit.signed(high, like)));
            let mean = unit.signed(difference.mean, like);
            let pairs = match difference.pairs {
                0 => " (no common seed)",
                1 => " (1 pair)",
                _ => "",
            };
            format!("{mean}{sd}{}{}{pairs}", unit.symbol_of_difference(), interval.unwrap_or_default())
        };
        let value = |group: &RunGroup| {
            let difference = group.differences.get(name)?;
            Some(MeanStd { mean: difference.mean, sd: difference.sd, n: difference.pairs })
        };
        Some(Column {
            name: heading.text.clone(),
            cells: self.groups.iter().map(cell).collect(),
            values: self.groups.iter().map(value).collect(),
            of_machine: heading.of_machine,
            of_test: self.is_of_test(name),
        })
    }

    /// The note below the table, if it has columns of both kinds.
    pub fn advice(&self) -> Option<&'static str> {
        let columns = self.columns();
        let has = |of_test: bool| {
            columns.iter().any(|column| column.of_test == of_test && column.name.contains(' '))
        };
        (has(true) && has(false) && self.groups.len() > 1).then_some(
            "choose by the validation columns: a test result that was used to choose is no longer a test",
        )
    }

    /// The keys of metrics by names that people write: a key (`validation/ap50`), a metric of the compared evaluation
    /// (`ap50`, `ap50/car`), or a pattern with `*`.
    ///
    /// # Errors
    /// A name that no metric has.
    pub fn find_metrics(&self, names: &[String]) -> Result<Vec<String>> {
        let mut keys: Vec<String> = OWN.iter().map(|(name, ..)| (*name).to_owned()).collect();
        keys.extend(self.headings().keys().map(|key| (*key).clone()));
        let start = self.evaluation.as_ref().map(|stage| format!("{stage}/"));
        let short =
            |key: &str| start.as_deref().and_then(|start| key.strip_prefix(start)).unwrap_or(key).to_owned();
        let mut found: Vec<String> = Vec::new();
        let of_name = |name: &str| -> Vec<String> {
            let whole: Vec<String> = keys.iter().filter(|key| matches(name, key)).cloned().collect();
            match whole.is_empty() {
                true => keys.iter().filter(|key| matches(name, &short(key))).cloned().collect(),
                false => whole,
            }
        };
        for list in names {
            // The name of a class may have a comma.
            let names =
                if of_name(list).is_empty() { list.split(',').collect() } else { vec![list.as_str()] };
            for name in names {
                let mut known = of_name(name);
                if known.is_empty() {
                    return Err(self.unknown_metric(name, &keys, &short));
                }
                known.retain(|key| !found.contains(key));
                found.append(&mut known);
            }
        }
        Ok(found)
    }

    fn unknown_metric(&self, name: &str, keys: &[String], short: &dyn Fn(&str) -> String) -> Error {
        /// The metrics of single classes and of types of errors would be a wall.
        const SHOWN: usize = 24;
        if name.is_empty() {
            return Error::usage("--metrics: an empty name").hint("separate names by one comma");
        }
        let error = Error::usage(format!("--metrics: no run has a metric `{name}`"));
        let known: Vec<String> = keys.iter().map(|key| short(key)).collect();
        let elsewhere = keys.iter().find(|key| key.ends_with(&format!("/{name}")));
        if let Some(meant) =
            elsewhere.map(String::as_str).or_else(|| suggest::closest(name, known.iter().map(String::as_str)))
        {
            return error.hint(format!("did you mean `{meant}`?"));
        }
        let general: Vec<&String> =
            known.iter().filter(|name| !name.contains(['/', '.'])).take(SHOWN).collect();
        let general = general.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        error.hint(format!("they have {general}, and more: `--json` lists all"))
    }

    fn runs(&self) -> Column {
        let count = |group: &RunGroup| Some(group.runs.len() as f64);
        self.measured("runs", &|group| MeanStd::of(&[count(group)?]), Unit::Count)
    }

    /// The column of a metric by its key; `None` if no run has it.
    fn column(&self, key: &str) -> Option<Column> {
        if let Some(&(name, title, unit, of_machine)) = OWN.iter().find(|(name, ..)| *name == key) {
            let value = |group: &RunGroup| group.own().into_iter().find(|(own, _)| *own == name)?.1;
            return Some(Column { of_machine, ..self.measured(title, &value, unit) });
        }
        let headings = self.headings();
        let heading = headings.get(&key.to_owned())?;
        let column = self.measured(&heading.text, &|group| group.metrics.get(key).copied(), heading.unit);
        Some(Column { of_machine: heading.of_machine, of_test: self.is_of_test(key), ..column })
    }

    fn measured(&self, name: &str, value: &dyn Fn(&RunGroup) -> Option<MeanStd>, unit: Unit) -> Column {
        let values: Vec<Option<MeanStd>> = self.groups.iter().map(value).collect();
        let cell = |value: &Option<MeanStd>| {
            value.map_or_else(String::new, |value| unit.mean_and_deviation(value.mean, value.sd))
        };
        let cells = values.iter().map(cell).collect();
        Column { name: name.to_owned(), cells, values, of_machine: false, of_test: false }
    }

    fn is_of_test(&self, key: &str) -> bool {
        self.groups.iter().any(|group| group.parts.get(key) == Some(&MetricSplit::Test))
    }

    /// Scores of training images select nothing, so they are shown where they are asked for.
    fn is_of_training(&self, key: &str) -> bool {
        self.groups.iter().any(|group| group.parts.get(key) == Some(&MetricSplit::Train))
    }

    /// The metrics of the table that were measured on test images, or on validation images, by their positions in the
    /// task's list. A train stage has only a few columns. The last ones are final results of a run.
    fn shown_metrics(&self, of_test: bool) -> Vec<&str> {
        let mut shown: Vec<(u8, &str)> = self
            .headings()
            .into_iter()
            .filter(|(name, _)| self.is_of_test(name) == of_test && !self.is_of_training(name))
            .filter_map(|(name, heading)| Some((heading.place?, name.as_str())))
            .collect();
        // An evaluation says more than the epochs of the stages ahead of it.
        let is_of_epoch = |name: &str| name.contains("/validation_");
        if shown.iter().any(|(_, name)| !is_of_epoch(name)) {
            shown.retain(|(_, name)| !is_of_epoch(name));
        }
        shown.sort_unstable();
        shown.into_iter().take(METRIC_COLUMNS).map(|(_, name)| name).collect()
    }
}

/// Whether a name is that of a key, where `*` matches any characters.
fn matches(pattern: &str, key: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|start| key.strip_prefix(start)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((end, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::super::tests::comparison;
    use super::*;

    #[test]
    fn seeds_come_to_mean_and_sample_deviation() {
        let overlay = comparison();
        let columns = overlay.columns();
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(
            names,
            ["runs", "trainable", "parameters", "fit validation accuracy", "time", "memory", "test accuracy"]
        );
        assert_eq!(columns[0].cells, ["3", "1"]);
        assert_eq!(columns[3].cells, ["40.0 ± 5.0\u{a0}%", "25.0\u{a0}%"]);
        assert_eq!(columns[6].cells, ["80.0 ± 10.0\u{a0}%", "50.0\u{a0}%"]);
        assert!(columns[6].of_test && !columns[3].of_test && overlay.advice().is_some());
        assert_eq!(columns[1].cells, ["10", ""]);
    }

    #[test]
    fn chosen_metrics_are_the_columns() {
        let mut overlay = comparison();
        overlay.evaluation = Some("test".to_owned());
        let find = |names: &[&str]| {
            overlay.find_metrics(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(find(&["accuracy"]).unwrap(), ["test/accuracy"]);
        assert_eq!(find(&["*/*accuracy", "accuracy"]).unwrap(), ["fit/validation_accuracy", "test/accuracy"]);
        let error = find(&["acuracy"]).unwrap_err();
        assert!(error.message.contains("no run has a metric `acuracy`"), "{error}");
        assert_eq!(error.hint.as_deref(), Some("did you mean `accuracy`?"));
        overlay.chosen = find(&["accuracy", "parameters"]).unwrap();
        let columns = overlay.columns();
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["runs", "parameters", "test accuracy"]);
    }

    #[test]
    fn differences_are_those_of_equal_seeds() {
        let mut overlay = comparison();
        assert!(overlay.difference_columns().is_empty());
        overlay.compare_with("b");
        let columns = overlay.difference_columns();
        assert_eq!(columns[0].name, "fit validation accuracy");
        assert_eq!(columns[0].cells, ["+10.0\u{a0}points (1 pair)", ""], "one pair has no interval");
        assert_eq!(columns[1].cells, ["+20.0\u{a0}points (1 pair)", ""]);
        overlay.compare_with("a");
        assert_eq!(overlay.difference_columns()[1].cells, ["", "−20.0\u{a0}points (1 pair)"]);
        overlay.groups[1].runs[0].seed = 9;
        overlay.compare_with("a");
        assert_eq!(overlay.difference_columns()[1].cells[1], "−30.0\u{a0}points (no common seed)");
    }

    #[test]
    fn a_pattern_matches_whole_keys() {
        for (pattern, key, expected) in [
            ("ap50", "ap50", true),
            ("ap50", "ap50_95", false),
            ("ap50/*", "ap50/car", true),
            ("*/ap50", "test/ap50", true),
            ("*/*50", "test/ap50", true),
            ("a*b*", "ab", true),
            ("a*bb", "ab", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, key), expected, "{pattern} {key}");
        }
    }
}
