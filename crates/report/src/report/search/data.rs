//! A search and its results so far, as `search.json` has them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pipeline::SearchedSetting;

/// A search and its results so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchReport {
    /// The name of the pipeline.
    pub name: String,
    pub state: SearchState,
    /// The train stage that is ranked.
    pub stage: String,
    /// Such as `validation/accuracy`.
    pub metric: String,
    /// Whether a lower value is better.
    pub lower_is_better: bool,
    /// One in this number of samples goes on to the next rung.
    pub eta: usize,
    pub settings: Vec<SearchedSetting>,
    pub rungs: Vec<RungReport>,
    /// The best first: by the rung that they reached, then by the metric in it.
    pub samples: Vec<SampleReport>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchState {
    /// Samples are missing. A search that was interrupted or killed has this state too.
    Unfinished,
    Complete,
}

/// A rung.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RungReport {
    /// The epochs of the stage; `None` if each sample draws its own.
    pub epochs: Option<u32>,
    /// Number of samples that it trains.
    pub samples: usize,
    pub finished: usize,
    pub failed: usize,
    /// Number of samples that go on to the next rung, or run the whole file.
    pub goes_on: usize,
}

/// A sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleReport {
    /// From 1.
    pub sample: usize,
    pub label: String,
    /// The value of each setting, in the order of [`SearchReport::settings`].
    pub values: Vec<Value>,
    /// The metric in each rung that it finished.
    pub metrics: Vec<f64>,
    pub end: SampleEnd,
    /// The highest rung that it entered, from 1.
    pub rung: usize,
    /// The error of a failed sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Its run directory in that rung, or that of the whole file, below the folder of all runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// Why a sample is where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SampleEnd {
    /// Of the best of the last rung: it runs the whole file.
    Best,
    /// It was ranked too low to go on.
    Stopped,
    Failed,
    /// Its rung is not finished, or it has not run.
    Open,
}

impl SampleEnd {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Open => "open",
        }
    }
}

impl SearchReport {
    /// `a` before `b` if it has the better value of the metric.
    pub fn order(&self, a: f64, b: f64) -> std::cmp::Ordering {
        if self.lower_is_better { a.total_cmp(&b) } else { b.total_cmp(&a) }
    }

    /// Why a sample has its end, in words.
    pub fn reason(&self, sample: &SampleReport) -> String {
        let rung = self.rungs.get(sample.rung.saturating_sub(1));
        let of_rungs = if self.rungs.len() > 1 { format!(" of rung {}", sample.rung) } else { String::new() };
        match (sample.end, rung) {
            (SampleEnd::Best, _) => "runs the whole file".to_owned(),
            (SampleEnd::Stopped, Some(rung)) => {
                format!("below the best {}{of_rungs}", rung.goes_on)
            }
            (SampleEnd::Failed, _) => sample.error.clone().unwrap_or_default(),
            _ => String::new(),
        }
    }
}

impl SampleReport {
    /// The metric in the highest rung that it finished.
    pub fn metric(&self) -> Option<f64> {
        self.metrics.last().copied()
    }
}
