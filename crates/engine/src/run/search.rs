//! The results of a search: what became of each sample, which samples go on, and the report.
//!
//! They follow from the run directories alone. The report is for people and other programs; nothing is decided by it.

use std::fs;
use std::path::{Path, PathBuf};

use super::summary::{monitored, summarize};
use super::{RunDirectory, RunState};
use crate::error::{Error, Result};
use crate::pipeline::{Monitor, Search};
use crate::report::{
    RungReport, SampleEnd, SampleReport, SearchReport, SearchState, png, search_csv, search_html, search_svg,
};
use crate::store::{self, disk};

/// The folder of a search, below that of the runs of its name.
const FOLDER: &str = "search";
const DOCUMENT: &str = "search.json";

/// What became of a sample in a rung.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleOutcome {
    /// The metric of the finished stage.
    Finished(f64),
    /// The error.
    Failed(String),
    /// It has not run, or was interrupted.
    Open,
}

impl SampleOutcome {
    /// The outcome of a run of a rung.
    ///
    /// # Errors
    /// The run directory cannot be read.
    pub fn of(run: &Path, search: &Search) -> Result<Self> {
        let Ok(run) = RunDirectory::open(run) else { return Ok(Self::Open) };
        match run.state() {
            RunState::Complete => {
                let metric = metric_name(search.monitor);
                Ok(match monitored(&run, &search.stage, &metric).filter(|best| best.value.is_finite()) {
                    Some(best) => Self::Finished(best.value),
                    None => Self::Failed(format!("`{}` has no value of `{metric}`", search.stage)),
                })
            }
            RunState::Failed => {
                let error = summarize(&run)?.error.map(|error| error.message);
                Ok(Self::Failed(error.unwrap_or_else(|| "the run failed".to_owned())))
            }
            RunState::Running | RunState::Interrupted => Ok(Self::Open),
        }
    }

    fn metric(&self) -> Option<f64> {
        if let Self::Finished(metric) = self { Some(*metric) } else { None }
    }

    /// The error of a failed sample.
    pub fn error(&self) -> Option<&str> {
        if let Self::Failed(error) = self { Some(error) } else { None }
    }
}

/// As written in settings: `validation/accuracy`.
pub fn metric_name(monitor: Monitor) -> String {
    format!("validation/{}", monitor.score())
}

/// A sample in a rung.
#[derive(Clone, Debug, PartialEq)]
pub struct RungSample {
    /// From 1.
    pub sample: usize,
    pub outcome: SampleOutcome,
    pub run_dir: PathBuf,
}

/// The finished samples of a rung, the best first. Of equal ones, that with the lower number is first.
pub fn ranked(search: &Search, rung: &[RungSample]) -> Vec<usize> {
    let mut finished: Vec<(f64, usize)> =
        rung.iter().filter_map(|sample| Some((sample.outcome.metric()?, sample.sample))).collect();
    finished.sort_by(|a, b| {
        let better = search.monitor.improvement(a.0, b.0);
        0.0f64.total_cmp(&better).then(a.1.cmp(&b.1))
    });
    finished.into_iter().map(|(_, sample)| sample).collect()
}

/// The samples that go on from a rung, the best first: one in `eta` of all, or after the last rung the finalists. Fewer if
/// fewer have finished.
pub fn going_on(search: &Search, place: usize, rung: &[RungSample]) -> Vec<usize> {
    let count = match place + 1 < search.rungs() {
        true => rung.len().div_ceil(search.eta),
        false => search.finalists,
    };
    let mut best = ranked(search, rung);
    best.truncate(count);
    best
}

/// The report of a search as far as it got. `rungs` has the samples of each rung that was entered, and `best` the finished
/// runs of the whole file.
pub fn search_report(
    name: &str,
    search: &Search,
    rungs: &[Vec<RungSample>],
    best: &[(usize, PathBuf)],
    runs: &Path,
) -> SearchReport {
    let sizes = search.sizes();
    let going: Vec<Vec<usize>> =
        rungs.iter().enumerate().map(|(place, rung)| going_on(search, place, rung)).collect();
    let of_rung = |place: usize| {
        let entered = rungs.get(place);
        let count = |is: fn(&SampleOutcome) -> bool| {
            entered.into_iter().flatten().filter(|sample| is(&sample.outcome)).count()
        };
        let samples = entered.map_or(sizes[place], Vec::len);
        let finished = count(|outcome| matches!(outcome, SampleOutcome::Finished(_)));
        let failed = count(|outcome| matches!(outcome, SampleOutcome::Failed(_)));
        let whole = finished + failed == samples && entered.is_some();
        let goes_on = if whole { going[place].len() } else { sizes[place + 1] };
        RungReport { epochs: search.epochs(place), samples, finished, failed, goes_on }
    };
    let report = SearchReport {
        name: name.to_owned(),
        state: SearchState::Unfinished,
        stage: search.stage.clone(),
        metric: metric_name(search.monitor),
        lower_is_better: search.monitor.lower_is_better(),
        eta: search.eta,
        settings: search.settings.clone(),
        rungs: (0..search.rungs()).map(of_rung).collect(),
        samples: Vec::new(),
    };
    let relative = |path: &Path| {
        let below = path.strip_prefix(runs).unwrap_or(path);
        below.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/")
    };
    let of_sample = |index: usize| {
        let sample = index + 1;
        let entered: Vec<&RungSample> =
            rungs.iter().filter_map(|rung| rung.iter().find(|other| other.sample == sample)).collect();
        let whole = best.iter().find(|(other, _)| *other == sample).map(|(_, path)| path);
        let rung = entered.len().max(1);
        let finished = report.rungs.get(rung - 1).is_some_and(|of| of.finished + of.failed == of.samples);
        let (end, error) = match entered.last().map(|last| &last.outcome) {
            _ if whole.is_some() => (SampleEnd::Best, None),
            Some(SampleOutcome::Failed(error)) => (SampleEnd::Failed, Some(error.clone())),
            Some(SampleOutcome::Finished(_)) if finished => {
                let goes_on = going[rung - 1].contains(&sample);
                (if goes_on { SampleEnd::Open } else { SampleEnd::Stopped }, None)
            }
            _ => (SampleEnd::Open, None),
        };
        SampleReport {
            sample,
            label: search.labels[index].clone(),
            values: search.samples[index].clone(),
            metrics: entered.iter().map_while(|sample| sample.outcome.metric()).collect(),
            end,
            rung,
            error,
            run: whole.or(entered.last().map(|last| &last.run_dir)).map(|path| relative(path)),
        }
    };
    let mut samples: Vec<SampleReport> = (0..search.samples.len()).map(of_sample).collect();
    samples.sort_by(|a, b| {
        let reached = |sample: &SampleReport| sample.metrics.len();
        let values = || match (a.metric(), b.metric()) {
            (Some(a), Some(b)) => report.order(a, b),
            _ => std::cmp::Ordering::Equal,
        };
        reached(b).cmp(&reached(a)).then_with(values).then(a.sample.cmp(&b.sample))
    });
    let state = if best.is_empty() { SearchState::Unfinished } else { SearchState::Complete };
    SearchReport { state, samples, ..report }
}

/// Writes the report of a search as data, table, picture and page, and returns its folder.
///
/// # Errors
/// The folder is not writable.
pub fn write_search(runs: &Path, report: &SearchReport) -> Result<PathBuf> {
    let folder = runs.join(&report.name).join(FOLDER);
    fs::create_dir_all(&folder).map_err(|error| Error::io("make", &folder, error))?;
    let write = |name: &str, bytes: &[u8]| store::write_output(&folder.join(name), bytes);
    disk::write_json(&folder.join(DOCUMENT), report)?;
    write("search.csv", search_csv(report).as_bytes())?;
    if let Some(figure) = search_svg(report) {
        write("search.svg", figure.document().as_bytes())?;
        write("search.png", &png(&figure)?)?;
    }
    write("search.html", search_html(report).as_bytes())?;
    Ok(folder)
}

/// The latest search of a name, as it was reported, and its folder. `None` if there is none.
pub fn read_search(runs: &Path, name: &str) -> Option<(SearchReport, PathBuf)> {
    let folder = runs.join(name).join(FOLDER);
    Some((disk::read_json(&folder.join(DOCUMENT)).ok()?, folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use SampleOutcome::{Failed, Finished, Open};

    fn search(monitor: Monitor) -> Search {
        Search {
            seed: 0,
            stage: "head".to_owned(),
            monitor,
            finalists: 1,
            early_epochs: vec![1],
            last_epochs: Some(3),
            eta: 3,
            settings: Vec::new(),
            samples: vec![Vec::new(); 5],
            labels: (1..=5).map(|sample| format!("sample={sample}")).collect(),
        }
    }

    fn rung(outcomes: &[SampleOutcome]) -> Vec<RungSample> {
        let sample = |(index, outcome): (usize, &SampleOutcome)| RungSample {
            sample: index + 1,
            outcome: outcome.clone(),
            run_dir: PathBuf::from(format!("runs/t/{index}")),
        };
        outcomes.iter().enumerate().map(sample).collect()
    }

    #[test]
    fn the_best_third_goes_on_and_ties_go_to_the_lower_number() {
        let all = rung(&[Finished(0.5), Finished(0.9), Failed("x".into()), Finished(0.9), Finished(0.1)]);
        let (higher, lower) = (search(Monitor::ValidationAccuracy), search(Monitor::ValidationLoss));
        assert_eq!(ranked(&higher, &all), [2, 4, 1, 5]);
        assert_eq!(ranked(&lower, &all), [5, 1, 2, 4]);
        assert_eq!(going_on(&higher, 0, &all), [2, 4]);
        assert_eq!(going_on(&higher, 1, &all), [2], "after the last rung, the finalists");
        let failed = rung(&[Failed("x".into()), Failed("x".into()), Finished(0.2)]);
        assert_eq!(going_on(&higher, 0, &failed), [3], "a failed sample never goes on");
    }

    #[test]
    fn a_report_says_where_each_sample_ended() {
        let first =
            rung(&[Finished(0.5), Finished(0.9), Failed("lost".into()), Finished(0.8), Finished(0.1)]);
        let second = vec![first[1].clone(), RungSample { outcome: Open, ..first[3].clone() }];
        let search = search(Monitor::ValidationAccuracy);
        let ends = |rungs: &[Vec<RungSample>], best: &[(usize, PathBuf)]| -> Vec<String> {
            let report = search_report("t", &search, rungs, best, Path::new("runs"));
            let end = |sample: &SampleReport| {
                format!("{} {} {}", sample.sample, sample.end.as_str(), report.reason(sample))
                    .trim_end()
                    .to_owned()
            };
            report.samples.iter().map(end).collect()
        };
        let expected = [
            "2 open",
            "4 open",
            "1 stopped below the best 2 of rung 1",
            "5 stopped below the best 2 of rung 1",
            "3 failed lost",
        ];
        assert_eq!(ends(&[first.clone(), second.clone()], &[]), expected);
        let done = vec![second[0].clone(), RungSample { outcome: Finished(0.95), ..second[1].clone() }];
        let best = [(4, PathBuf::from("runs/t/w"))];
        let expected = [
            "4 best runs the whole file",
            "2 stopped below the best 1 of rung 2",
            "1 stopped below the best 2 of rung 1",
            "5 stopped below the best 2 of rung 1",
            "3 failed lost",
        ];
        assert_eq!(ends(&[first, done], &best), expected);
        assert_eq!(ends(&[], &[]).len(), 5);
    }
}
