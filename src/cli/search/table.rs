//! A search in the terminal: its rungs, and its samples by rank.

use std::path::Path;
use std::process::ExitCode;

use defrost::Result;
use defrost::pipeline::Search;
use defrost::report::{SampleReport, SearchReport, SearchState, duration, searched_groups};
use defrost::run::{SampleOutcome, metric_name};
use serde_json::json;

use super::super::Console;
use super::super::console::shown;
use super::super::page::PageOptions;

/// Rows of the table that `run` prints after a rung.
const AFTER_A_RUNG: usize = 5;

/// `rung 1 of 3: 64 samples, 2 epochs of `head``.
pub fn heading(search: &Search, rung: usize, samples: usize) -> String {
    let epochs = search
        .epochs(rung)
        .map_or_else(String::new, |epochs| format!(", {epochs} epochs of `{}`", search.stage));
    let which =
        if search.rungs() > 1 { format!("rung {} of {}: ", rung + 1, search.rungs()) } else { String::new() };
    shown(format!("\n{which}{samples} samples{epochs}").trim_start_matches('\n'))
}

/// The kind of value that is better.
pub fn better(lower: bool) -> &'static str {
    if lower { "lower" } else { "higher" }
}

pub fn outcome(search: &Search, outcome: &SampleOutcome) -> String {
    match outcome {
        SampleOutcome::Finished(metric) => format!("{} {metric:.4}", metric_name(search.monitor)),
        SampleOutcome::Failed(error) => format!("\x1b[31mfailed\x1b[0m: {}", shown(error)),
        SampleOutcome::Open => "not finished".to_owned(),
    }
}

/// The best samples of a finished rung, and how many go on.
pub fn ended(search: &Search, report: &SearchReport, rung: usize, seconds: f64) -> String {
    let of = &report.rungs[rung];
    let mut ranked: Vec<(&SampleReport, f64)> =
        report.samples.iter().filter_map(|sample| Some((sample, *sample.metrics.get(rung)?))).collect();
    ranked.sort_by(|a, b| report.order(a.1, b.1).then(a.0.sample.cmp(&b.0.sample)));
    let mut lines = Vec::new();
    for (place, (sample, metric)) in ranked.iter().take(AFTER_A_RUNG).enumerate() {
        lines.push(format!("{:>5}  {metric:.4}  {}", place + 1, shown(&sample.label)));
    }
    if ranked.len() > AFTER_A_RUNG
        && let Some((_, worst)) = ranked.last()
    {
        lines.push(format!("       … to {worst:.4}"));
    }
    let failed = if of.failed > 0 { format!(", {} failed", of.failed) } else { String::new() };
    let next = match rung + 1 < search.rungs() {
        true => format!("{} go on, {} stop", of.goes_on, of.finished.saturating_sub(of.goes_on)),
        false if of.goes_on == 1 => "the best runs the whole file".to_owned(),
        false => format!("the best {} run the whole file", of.goes_on),
    };
    lines.push(format!("{next}{failed} ({})", duration(seconds)));
    lines.join("\n")
}

/// The best sample of a finished search.
pub fn best(report: &SearchReport) -> String {
    let Some(best) = report.samples.first() else { return String::new() };
    let metric = best.metric().map_or_else(String::new, |metric| format!(", {} {metric:.4}", report.metric));
    format!("best: \x1b[1m{}\x1b[0m{metric}", shown(&best.label))
}

/// `defrost status` of a file with a search.
pub fn status(
    report: &SearchReport,
    folder: &Path,
    page: PageOptions,
    console: &Console,
) -> Result<ExitCode> {
    if console.json() {
        console.document(&json!({ "search": report, "settings": searched_groups(report), "folder": folder }));
        return Ok(ExitCode::SUCCESS);
    }
    let better = better(report.lower_is_better);
    let state = if report.state == SearchState::Complete { "complete" } else { "not finished" };
    console.say(format!(
        "\x1b[1m{}\x1b[0m  search of {} samples by {} of `{}` ({better} is better): {state}",
        shown(&report.name),
        report.samples.len(),
        shown(&report.metric),
        shown(&report.stage)
    ));
    for (index, rung) in report.rungs.iter().enumerate() {
        let epochs = rung.epochs.map_or_else(String::new, |epochs| format!(", {epochs} epochs"));
        let failed = if rung.failed > 0 { format!(", {} failed", rung.failed) } else { String::new() };
        console.say(format!(
            "  rung {}{epochs}: {} of {} samples finished{failed}, {} go on",
            index + 1,
            rung.finished,
            rung.samples,
            rung.goes_on
        ));
    }
    console.say("");
    let rows = page.rows(report.samples.len());
    let width = report
        .samples
        .iter()
        .take(rows)
        .map(|sample| shown(&sample.label).chars().count())
        .max()
        .unwrap_or(0);
    for (place, sample) in report.samples.iter().take(rows).enumerate() {
        let metric = sample.metric().map_or_else(|| "     –".to_owned(), |metric| format!("{metric:.4}"));
        let line = format!(
            "{:>5}  {metric}  {:width$}  rung {}  {:8}  {}",
            place + 1,
            shown(&sample.label),
            sample.rung,
            sample.end.as_str(),
            shown(report.reason(sample))
        );
        console.say(line.trim_end());
    }
    if rows < report.samples.len() {
        console.say(format!("  and {} more: `--all` or `--limit N` shows them", report.samples.len() - rows));
    }
    let groups = searched_groups(report);
    if !groups.is_empty() {
        console.say(format!("\n{} after the first rung, by setting", shown(&report.metric)));
        let names = groups.iter().map(|group| group.setting.chars().count()).max().unwrap_or(0);
        let values = groups.iter().map(|group| group.values.chars().count()).max().unwrap_or(0);
        for (index, group) in groups.iter().enumerate() {
            let is_first = index == 0 || groups[index - 1].setting != group.setting;
            let name = if is_first { shown(&group.setting) } else { String::new() };
            let explains = if is_first {
                format!("  explains {:.0} %", group.importance * 100.0)
            } else {
                String::new()
            };
            console.say(format!(
                "  {name:names$}  {:values$}  {:>4} samples  mean {:.4}  best {:.4}{explains}",
                shown(&group.values),
                group.samples,
                group.mean,
                group.best
            ));
        }
    }
    console.say(format!("\nreport: {}", shown(folder.join("search.html").display())));
    Ok(ExitCode::SUCCESS)
}
