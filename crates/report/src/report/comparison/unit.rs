//! How the numbers of a column are written.

use serde::Serialize;

use crate::metrics::MetricFormat;
use crate::report::text::count;

/// What a number measures, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A fraction of 1, as a percentage.
    Percent,
    /// Three significant digits.
    Number,
    /// A whole number.
    Count,
    Seconds,
    Milliseconds,
    /// Bytes, in MB of 10⁶.
    Megabytes,
    /// Bytes, in MiB of 2²⁰.
    Mebibytes,
}

impl Unit {
    /// Scores such as F1 are plain numbers here, as in papers.
    pub fn of(format: MetricFormat) -> Self {
        match format {
            MetricFormat::Percent => Self::Percent,
            MetricFormat::Share | MetricFormat::Number => Self::Number,
        }
    }

    /// `71.2 ± 1.6 %`: both with the same decimals, and the unit once.
    pub(super) fn mean_and_deviation(self, mean: f64, sd: Option<f64>) -> String {
        if self == Self::Count && sd.is_none_or(|sd| sd == 0.0) && mean.fract() == 0.0 && mean >= 0.0 {
            return count(mean as u64);
        }
        let decimals = self.decimals(mean);
        let sd = sd.map(|sd| format!(" ± {}", self.number(sd, decimals))).unwrap_or_default();
        let mean = self.number(mean, decimals).replacen('-', "−", 1);
        format!("{mean}{sd}{}", self.symbol())
    }

    /// A difference with its sign and without its symbol, with the decimals of `like`.
    pub(super) fn signed(self, value: f64, like: f64) -> String {
        let text = self.number(value, self.decimals(like));
        match text.strip_prefix('-') {
            Some(magnitude) => format!("−{magnitude}"),
            None => format!("+{text}"),
        }
    }

    /// The symbol after a number. Percentages differ by points.
    pub(super) fn symbol_of_difference(self) -> &'static str {
        if self == Self::Percent { "\u{a0}points" } else { self.symbol() }
    }

    fn symbol(self) -> &'static str {
        match self {
            Self::Percent => "\u{a0}%",
            Self::Number | Self::Count => "",
            Self::Seconds => "\u{a0}s",
            Self::Milliseconds => "\u{a0}ms",
            Self::Megabytes => "\u{a0}MB",
            Self::Mebibytes => "\u{a0}MiB",
        }
    }

    fn factor(self) -> f64 {
        match self {
            Self::Percent => 100.0,
            Self::Milliseconds => 1e3,
            Self::Megabytes => 1e-6,
            Self::Mebibytes => 1.0 / (1u64 << 20) as f64,
            Self::Number | Self::Count | Self::Seconds => 1.0,
        }
    }

    fn number(self, value: f64, decimals: usize) -> String {
        format!("{:.decimals$}", value * self.factor())
    }

    fn decimals(self, value: f64) -> usize {
        match self {
            Self::Percent | Self::Count => 1,
            Self::Mebibytes => 0,
            _ => significant_decimals(value * self.factor()),
        }
    }
}

/// The number of decimals that shows three significant digits of a number.
fn significant_decimals(value: f64) -> usize {
    match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_decimals_and_the_symbol_of_their_unit() {
        assert_eq!(Unit::Number.mean_and_deviation(0.8, Some(0.1)), "0.800 ± 0.100");
        assert_eq!(Unit::Seconds.mean_and_deviation(31.25, None), "31.2\u{a0}s");
        assert_eq!(Unit::Milliseconds.mean_and_deviation(0.004, None), "4.00\u{a0}ms");
        assert_eq!(Unit::Megabytes.mean_and_deviation(10_480_000.0, None), "10.5\u{a0}MB");
        assert_eq!(Unit::Count.mean_and_deviation(2_590_000.0, Some(0.0)), "2,590,000");
        assert_eq!(Unit::Count.mean_and_deviation(7.5, Some(0.7)), "7.5 ± 0.7");
        assert_eq!(Unit::Percent.signed(-0.0125, 0.5), "−1.2");
        assert_eq!(Unit::Number.mean_and_deviation(-0.12, None), "−0.120");
        assert_eq!(Unit::Number.signed(0.25, 0.5), "+0.250");
    }
}
