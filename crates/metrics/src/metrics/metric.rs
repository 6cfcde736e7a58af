//! Metrics as data: what files call each number, what people read, and which way is better.
//!
//! Tables, events, curves, comparisons, the terminal and reports read these lists. A task adds a metric by declaring it.

use std::collections::BTreeMap;

/// Values by the name of their metric.
pub type Scores = BTreeMap<String, f64>;

/// How a value is written for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricFormat {
    /// A share of 1, as a percentage.
    Percent,
    /// A share of 1: a percentage in reports, a plain number in comparisons.
    Share,
    /// Any other number, such as a loss.
    Number,
}

/// Which of two values is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Higher,
    Lower,
}

impl Direction {
    /// Whether `value` is better than `other`.
    pub fn is_better(self, value: f64, other: f64) -> bool {
        match self {
            Self::Higher => value > other,
            Self::Lower => value < other,
        }
    }
}

/// The text at the axis of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AxisLabel {
    /// Such as `Accuracy`.
    pub heading: &'static str,
    /// Such as `images classified correctly, %`.
    pub unit: &'static str,
}

/// A number that a task measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name in files and settings, such as `macro_f1`; a dotted path where `metrics.json` nests it.
    pub name: &'static str,
    /// What people read, such as `macro F1`.
    pub title: &'static str,
    pub format: MetricFormat,
    pub better: Direction,
    /// Of a metric that is drawn by epoch.
    pub axis: Option<AxisLabel>,
    /// Whether training images are measured too. Such a metric is known after every step.
    pub in_training: bool,
    /// Whether `history.csv` leaves out its column where no epoch has a value.
    pub optional: bool,
    /// The place among the columns of a comparison, the smallest first; none of a metric without a column.
    pub column: Option<u8>,
}

impl Metric {
    pub const fn new(
        name: &'static str,
        title: &'static str,
        format: MetricFormat,
        better: Direction,
    ) -> Self {
        Self { name, title, format, better, axis: None, in_training: false, optional: false, column: None }
    }

    pub const fn drawn(self, heading: &'static str, unit: &'static str) -> Self {
        Self { axis: Some(AxisLabel { heading, unit }), ..self }
    }

    pub const fn in_training(self) -> Self {
        Self { in_training: true, ..self }
    }

    pub const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    pub const fn column(self, place: u8) -> Self {
        Self { column: Some(place), ..self }
    }
}

/// What a task measures.
#[derive(Debug, PartialEq, Eq)]
pub struct TaskMetrics {
    /// Of each epoch, in the order of the columns of `history.csv`. `monitor` may name any of them.
    pub history: &'static [Metric],
    /// Of an evaluation: numbers of its `metrics.json`, in the order in which `status` shows them.
    pub evaluation: &'static [Metric],
    /// The names of those that sum a stage up. The first that has a value does.
    pub headline: &'static [&'static str],
}

impl Default for &'static TaskMetrics {
    fn default() -> Self {
        &TaskMetrics::NONE
    }
}

/// The number that sums a finished stage up.
#[derive(Clone, Debug, PartialEq)]
pub struct Headline {
    /// Such as `validation accuracy`.
    pub title: String,
    pub value: f64,
    pub format: MetricFormat,
}

impl TaskMetrics {
    /// Of a stage that measures nothing.
    pub const NONE: Self = Self { history: &[], evaluation: &[], headline: &[] };

    /// A metric of an epoch by its name.
    pub fn of_epoch(&self, name: &str) -> Option<&'static Metric> {
        self.history.iter().find(|metric| metric.name == name)
    }

    /// A metric of an evaluation by its name.
    pub fn of_evaluation(&self, name: &str) -> Option<&'static Metric> {
        self.evaluation.iter().find(|metric| metric.name == name)
    }

    /// The metrics of an epoch that sum a stage up, the first first.
    pub fn headlines(&self) -> impl Iterator<Item = &'static Metric> {
        self.headline.iter().filter_map(|name| self.of_epoch(name))
    }

    /// The first headline that `scores` has.
    pub fn first(&self, scores: &Scores) -> Option<(&'static Metric, f64)> {
        self.headlines().find_map(|metric| Some((metric, *scores.get(metric.name)?)))
    }

    /// The metrics of an epoch by prominence: those that are better high ahead of losses, each by its place in
    /// comparisons.
    pub fn by_prominence(&self) -> Vec<&'static Metric> {
        let mut metrics: Vec<&Metric> = self.history.iter().collect();
        metrics.sort_by_key(|metric| (metric.better == Direction::Lower, metric.column.unwrap_or(u8::MAX)));
        metrics
    }

    /// What sums a finished stage up, from the numbers of its `metrics.json` by dotted path.
    pub fn summary(&self, numbers: &Scores) -> Option<Headline> {
        let of_epoch = |part: &str, metric: &Metric| {
            let value = |row: &&str| numbers.get(&format!("{row}.{part}_{}", metric.name)).copied();
            ["best", "last"].iter().find_map(value)
        };
        let validated = |name: &str| {
            let metric = self.of_epoch(name)?;
            Some((format!("validation {}", metric.title), metric, of_epoch("validation", metric)?))
        };
        let evaluated = |name: &str| {
            let metric = self.of_evaluation(name)?;
            Some((metric.title.to_owned(), metric, *numbers.get(name)?))
        };
        let trained = |metric: &'static Metric| {
            Some((format!("training {}", metric.title), metric, of_epoch("train", metric)?))
        };
        let mut names = self.headline.iter();
        let found = names.find_map(|name| validated(name).or_else(|| evaluated(name)));
        let (title, metric, value) = found.or_else(|| self.headlines().find_map(trained))?;
        Some(Headline { title, value, format: metric.format })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static METRICS: TaskMetrics = TaskMetrics {
        history: &[
            Metric::new("loss", "loss", MetricFormat::Number, Direction::Lower).in_training().column(8),
            Metric::new("accuracy", "accuracy", MetricFormat::Percent, Direction::Higher).in_training(),
            Metric::new("map", "mAP", MetricFormat::Share, Direction::Higher).optional().column(1),
        ],
        evaluation: &[Metric::new("map", "mAP", MetricFormat::Share, Direction::Higher)],
        headline: &["map", "accuracy"],
    };

    fn scores(values: &[(&str, f64)]) -> Scores {
        values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn the_first_headline_that_has_a_value_sums_a_stage_up() {
        let title =
            |numbers: &[(&str, f64)]| METRICS.summary(&scores(numbers)).map(|headline| headline.title);
        let trained = [("best.validation_accuracy", 0.5), ("best.validation_map", 0.25), ("last.epoch", 3.0)];
        assert_eq!(title(&trained).as_deref(), Some("validation mAP"));
        assert_eq!(title(&trained[..1]).as_deref(), Some("validation accuracy"));
        assert_eq!(title(&[("last.train_accuracy", 0.5)]).as_deref(), Some("training accuracy"));
        assert_eq!(title(&[("map", 0.5), ("loss", 1.0)]).as_deref(), Some("mAP"));
        assert_eq!(title(&[("loss", 1.0)]), None);
        let (metric, value) = METRICS.first(&scores(&[("accuracy", 0.5), ("loss", 0.1)])).unwrap();
        assert_eq!((metric.name, value), ("accuracy", 0.5));
    }

    #[test]
    fn losses_come_last_by_prominence() {
        let names: Vec<&str> = METRICS.by_prominence().iter().map(|metric| metric.name).collect();
        assert_eq!(names, ["map", "accuracy", "loss"]);
        assert!(Direction::Lower.is_better(0.1, 0.2) && !Direction::Higher.is_better(0.1, f64::NAN));
    }
}
