//! Compares runs: their cost and results. Runs that differ only in averaged settings are one group.

use std::collections::BTreeMap;

use serde::Serialize;

use super::text::count;
use crate::csv_cells;
use crate::metrics::{Metric, MetricFormat};

/// Runs to compare, in display order.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunComparison {
    pub title: String,
    pub groups: Vec<RunGroup>,
    /// The settings whose values are averaged, as dotted paths.
    pub averaged_over: Vec<String>,
    /// The metric of the curves.
    #[serde(skip)]
    pub curve: Option<&'static Metric>,
}

/// The images that a metric was measured on. Runs are selected by validation metrics; test metrics evaluate the
/// selected one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricSplit {
    Train,
    Validation,
    #[default]
    Test,
}

impl MetricSplit {
    /// The split in an evaluation's `split` setting; `test` if it has none.
    pub fn named(split: Option<&str>) -> Self {
        match split {
            Some("train") => Self::Train,
            Some("validation") => Self::Validation,
            _ => Self::Test,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// Runs that differ only in averaged settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunGroup {
    pub label: String,
    pub runs: Vec<ComparedRun>,
    /// For the last train stage: the number of trainable parameters, and the number of all parameters.
    pub trainable_parameters: Option<u64>,
    pub parameters: Option<u64>,
    /// The time to compute all its stages, in whichever run that happened. It depends on the machine.
    pub seconds: Option<MeanStd>,
    /// The peak memory of the process while its stages were computed. It depends on the machine.
    pub memory_bytes: Option<MeanStd>,
    /// By stage and metric: `test/accuracy`, or `finetune/validation_accuracy` of the best epoch of a train stage.
    pub metrics: BTreeMap<String, MeanStd>,
    /// The images that each of these metrics was measured on.
    pub parts: BTreeMap<String, MetricSplit>,
}

/// One run of a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ComparedRun {
    pub run_dir: String,
    pub name: String,
    pub id: String,
    pub label: Option<String>,
    pub seed: u64,
    pub state: String,
    pub seconds: Option<f64>,
    pub memory_bytes: Option<u64>,
    pub metrics: BTreeMap<String, f64>,
    pub parts: BTreeMap<String, MetricSplit>,
    /// The metrics that can be columns of the table.
    #[serde(skip)]
    pub headings: BTreeMap<String, Heading>,
    /// The epochs of its last train stage and of the train stages above, numbered consecutively. The values are the
    /// validation metric of [`RunComparison::curve`], or the training metric without a validation split.
    pub curve: Vec<[f64; 2]>,
}

/// The names of a metric's column.
#[derive(Clone, Debug, PartialEq)]
pub struct Heading {
    /// The stage and the metric's title, such as `finetune validation accuracy`.
    pub text: String,
    pub metric: &'static Metric,
}

/// The mean over runs, and the sample standard deviation if there are several.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MeanStd {
    pub mean: f64,
    pub sd: Option<f64>,
    pub n: usize,
}

impl MeanStd {
    /// `None` without values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        Some(Self { mean, sd: (n > 1).then(|| libm::sqrt(squares / (n - 1) as f64)), n })
    }

    /// `71.2 ± 1.6 %`: both with the same decimals, and the unit once.
    fn text(&self, unit: &Unit) -> String {
        let decimals = unit.decimals.unwrap_or_else(|| decimals(self.mean * unit.factor));
        let number = |value: f64| format!("{:.decimals$}", value * unit.factor);
        let sd = self.sd.map(|sd| format!(" ± {}", number(sd))).unwrap_or_default();
        format!("{}{sd}{}", number(self.mean), unit.symbol)
    }
}

/// The format of the numbers in a column.
struct Unit {
    factor: f64,
    /// Three significant digits, unless the number of decimals is given.
    decimals: Option<usize>,
    symbol: &'static str,
}

static PLAIN: Unit = Unit { factor: 1.0, decimals: None, symbol: "" };
static PERCENT: Unit = Unit { factor: 100.0, decimals: Some(1), symbol: "\u{a0}%" };
const SECONDS: Unit = Unit { factor: 1.0, decimals: None, symbol: "\u{a0}s" };
const MEBIBYTES: Unit = Unit { factor: 1.0 / (1u64 << 20) as f64, decimals: Some(0), symbol: "\u{a0}MiB" };

impl Unit {
    /// Scores such as F1 are plain numbers here, as in papers.
    fn of(format: MetricFormat) -> &'static Self {
        match format {
            MetricFormat::Percent => &PERCENT,
            MetricFormat::Share | MetricFormat::Number => &PLAIN,
        }
    }
}

/// The number of decimals that shows three significant digits of a number.
fn decimals(value: f64) -> usize {
    match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    }
}

impl RunGroup {
    /// The mean and deviation over its runs.
    pub fn new(label: String, runs: Vec<ComparedRun>, parameters: Option<(u64, u64)>) -> Self {
        let measure = |value: &dyn Fn(&ComparedRun) -> Option<f64>| {
            MeanStd::of(&runs.iter().filter_map(value).collect::<Vec<_>>())
        };
        let names = runs.iter().flat_map(|run| run.metrics.keys().cloned());
        let metrics = names.map(|name| (name.clone(), measure(&|run| run.metrics.get(&name).copied())));
        Self {
            metrics: metrics.filter_map(|(name, measure)| Some((name, measure?))).collect(),
            parts: runs.iter().flat_map(|run| run.parts.clone()).collect(),
            seconds: measure(&|run| run.seconds),
            memory_bytes: measure(&|run| Some(run.memory_bytes? as f64)),
            trainable_parameters: parameters.map(|(trainable, _)| trainable),
            parameters: parameters.map(|(_, all)| all),
            label,
            runs,
        }
    }
}

/// One column of the table: its heading, and the text for each group.
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

impl RunComparison {
    /// The columns of the table, after the label: runs, parameters, metrics for selection, time, memory, and test
    /// metrics.
    pub fn columns(&self) -> Vec<Column> {
        let shown = |value: Option<u64>| value.map(count).unwrap_or_default();
        let alone = |value: Option<u64>| value.and_then(|value| MeanStd::of(&[value as f64]));
        let plain = |name: &str, value: fn(&RunGroup) -> Option<u64>| Column {
            name: name.to_owned(),
            cells: self.groups.iter().map(|group| shown(value(group))).collect(),
            values: self.groups.iter().map(|group| alone(value(group))).collect(),
            of_machine: false,
            of_test: false,
        };
        let mut columns = vec![
            plain("runs", |group| Some(group.runs.len() as u64)),
            plain("trainable", |group| group.trainable_parameters),
            plain("parameters", |group| group.parameters),
        ];
        let of_metric = |(name, heading): (&String, &Heading)| {
            let unit = Unit::of(heading.metric.format);
            self.measured(&heading.text, false, |group| group.metrics.get(name).copied(), unit)
        };
        columns.extend(self.shown_metrics(false).into_iter().map(of_metric));
        columns.push(self.measured("time", true, |group| group.seconds, &SECONDS));
        columns.push(self.measured("memory", true, |group| group.memory_bytes, &MEBIBYTES));
        let of_test = self.shown_metrics(true).into_iter().map(of_metric);
        columns.extend(of_test.map(|column| Column { of_test: true, ..column }));
        columns
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

    fn measured(
        &self,
        name: &str,
        of_machine: bool,
        value: impl Fn(&RunGroup) -> Option<MeanStd>,
        unit: &Unit,
    ) -> Column {
        let values: Vec<Option<MeanStd>> = self.groups.iter().map(value).collect();
        let cell = |value: &Option<MeanStd>| value.map_or_else(String::new, |value| value.text(unit));
        Column {
            name: name.to_owned(),
            cells: values.iter().map(cell).collect(),
            values,
            of_machine,
            of_test: false,
        }
    }

    /// The metrics of the table that were measured on test images, or on others, by their positions in the task's list.
    /// A train stage has only a few columns. The last ones are final results of a run.
    fn shown_metrics(&self, of_test: bool) -> Vec<(&String, &Heading)> {
        let is_of_test = |name: &String| {
            self.groups
                .iter()
                .any(|group| group.parts.get(name).copied().unwrap_or_default() == MetricSplit::Test)
        };
        let runs = self.groups.iter().flat_map(|group| &group.runs);
        let headings: BTreeMap<&String, &Heading> = runs.flat_map(|run| &run.headings).collect();
        let mut shown: Vec<(u8, &String, &Heading)> = headings
            .into_iter()
            .filter(|(name, _)| is_of_test(name) == of_test)
            .filter_map(|(name, heading)| Some((heading.metric.column?, name, heading)))
            .collect();
        shown.sort_by_key(|(place, name, _)| (*place, *name));
        shown.into_iter().take(METRIC_COLUMNS).map(|(_, name, heading)| (name, heading)).collect()
    }
}

/// The table as CSV: mean, standard deviation and number of runs of every metric, including those that are not shown.
pub fn comparison_csv(overlay: &RunComparison) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["runs", "measure", "mean", "sd", "n", "part"]).expect(IN_MEMORY);
    for group in &overlay.groups {
        let alone = |value: Option<u64>| value.and_then(|value| MeanStd::of(&[value as f64]));
        let own = [
            ("trainable_parameters", alone(group.trainable_parameters)),
            ("parameters", alone(group.parameters)),
            ("seconds", group.seconds),
            ("memory_bytes", group.memory_bytes),
        ];
        let metrics = group.metrics.iter().map(|(name, measure)| (name.as_str(), Some(*measure)));
        for (name, measure) in own.into_iter().chain(metrics) {
            let Some(MeanStd { mean, sd, n }) = measure else { continue };
            let sd = sd.map(|sd| sd.to_string()).unwrap_or_default();
            let part = group.parts.get(name).map_or("", |part| part.name());
            let [label, name] = [group.label.as_str(), name].map(csv_cells::text);
            let row = [&*label, &*name, &mean.to_string(), &sd, &n.to_string(), part];
            writer.write_record(row).expect(IN_MEMORY);
        }
    }
    String::from_utf8(writer.into_inner().expect(IN_MEMORY)).expect("fields are text")
}

const IN_MEMORY: &str = "a vector takes all rows, and all rows have as many fields as the header";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Direction;

    static VALIDATION: Metric =
        Metric::new("accuracy", "accuracy", MetricFormat::Percent, Direction::Higher).column(0);
    static TEST: Metric =
        Metric::new("accuracy", "accuracy", MetricFormat::Percent, Direction::Higher).column(2);

    fn run(seed: u64, accuracy: f64) -> ComparedRun {
        let measured = [
            ("test/accuracy", accuracy, MetricSplit::Test),
            ("test/odd", 1.0, MetricSplit::Test),
            ("fit/validation_accuracy", accuracy / 2.0, MetricSplit::Validation),
        ];
        let metrics = measured.iter().map(|(name, value, _)| ((*name).to_owned(), *value)).collect();
        let parts = measured.iter().map(|(name, _, part)| ((*name).to_owned(), *part)).collect();
        let heading = |text: &str, metric| Heading { text: text.to_owned(), metric };
        let headings = [
            ("test/accuracy".to_owned(), heading("test accuracy", &TEST)),
            ("fit/validation_accuracy".to_owned(), heading("fit validation accuracy", &VALIDATION)),
        ];
        let curve = vec![[1.0, accuracy]];
        ComparedRun { seed, metrics, parts, headings: headings.into(), curve, ..ComparedRun::default() }
    }

    #[test]
    fn seeds_come_to_mean_and_sample_deviation() {
        let group = RunGroup::new("a".into(), vec![run(1, 0.7), run(2, 0.8), run(3, 0.9)], Some((10, 1000)));
        let accuracy = group.metrics["test/accuracy"];
        assert!((accuracy.mean - 0.8).abs() < 1e-12 && (accuracy.sd.unwrap() - 0.1).abs() < 1e-12);
        assert_eq!(accuracy.n, 3);
        assert_eq!(accuracy.text(&PLAIN), "0.800 ± 0.100");
        assert_eq!(MeanStd::of(&[31.25]).unwrap().text(&SECONDS), "31.2\u{a0}s");
        let overlay = RunComparison {
            title: "t".into(),
            groups: vec![group, RunGroup::new("b".into(), vec![run(1, 0.5)], None)],
            averaged_over: vec!["seed".into()],
            curve: None,
        };
        let columns = overlay.columns();
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(
            names,
            ["runs", "trainable", "parameters", "fit validation accuracy", "time", "memory", "test accuracy"]
        );
        assert_eq!(columns[3].cells, ["40.0 ± 5.0\u{a0}%", "25.0\u{a0}%"]);
        assert_eq!(columns[6].cells, ["80.0 ± 10.0\u{a0}%", "50.0\u{a0}%"]);
        assert!(columns[6].of_test && !columns[3].of_test && overlay.advice().is_some());
        assert_eq!(columns[1].cells, ["10", ""]);
        let csv = comparison_csv(&overlay);
        assert!(
            csv.contains("b,test/accuracy,0.5,,1,test\n") && csv.contains("a,test/odd,1,0,3,test\n"),
            "{csv}"
        );
    }
}
