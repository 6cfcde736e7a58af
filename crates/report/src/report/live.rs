//! Pages that follow runs while they run. Their script, if there is one, replaces `main` by that of a newer page.

use maud::{Markup, PreEscaped, html};

use super::curves;
use super::history::HistoryRow;
use super::html::{address, anchor, live_page};
use crate::metrics::TaskMetrics;
use crate::sanitize;

/// A run as it is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveRun {
    pub name: String,
    pub id: String,
    /// The run's label in the pipeline's matrix.
    pub label: Option<String>,
    /// `running`, `complete`, …
    pub state: String,
    /// Such as `2026-11-22 01:59 UTC`.
    pub started: Option<String>,
    /// Why it failed, or why it cannot be read.
    pub error: Option<String>,
    /// The best value of the monitored metric, in words.
    pub best: Option<String>,
    pub stages: Vec<LiveStage>,
}

/// A stage as it is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveStage {
    pub name: String,
    pub kind: String,
    /// `waiting`, `running`, `ran`, …
    pub status: String,
    /// The share of its work that is done, while it runs.
    pub done: Option<f64>,
    /// Its progress or its result, in words.
    pub details: String,
    /// How long it took, in words.
    pub time: Option<String>,
    pub history: Vec<HistoryRow>,
    pub metrics: &'static TaskMetrics,
}

const RUNNING: &str = "running";

impl LiveRun {
    fn is_running(&self) -> bool {
        self.state == RUNNING
    }

    /// The address of its page below that of the list.
    fn address(&self) -> String {
        format!("run/{}/{}/", address(&self.name), address(&self.id))
    }
}

/// The list of runs, with the curves of those that are running. `script` is the address of the script.
pub fn live_list_html(folder: &str, runs: &[LiveRun], script: &str) -> String {
    let running = || runs.iter().filter(|run| run.is_running());
    let content = html! {
        header {
            div.row {
                h1 { "Runs" }
                code.muted { (sanitize::line(folder)) }
                span.tag { (runs.len()) }
            }
        }
        @for run in running() {
            section.card {
                div.row {
                    h2 { a href=(run.address()) { (sanitize::line(&run.name)) } }
                    (heading(run))
                }
                (stages(run))
                @let current = run.stages.iter().rfind(|stage| !stage.history.is_empty());
                @if let Some(stage) = current { (picture(stage)) }
            }
        }
        @if running().count() < runs.len() {
            section.card {
                div.scroll {
                    table.wide {
                        tr { th { "run" } th { "state" } th.extra { "started" } th { "best" } }
                        @for run in runs.iter().filter(|run| !run.is_running()) {
                            tr {
                                td.name {
                                    a href=(run.address()) { (sanitize::line(&run.name)) } " "
                                    code.muted { (sanitize::line(&run.id)) }
                                    @if let Some(label) = &run.label { " " (sanitize::line(label)) }
                                }
                                td { (state(run)) }
                                td.extra { (run.started.as_deref().unwrap_or_default()) }
                                td.result {
                                    @match (&run.error, &run.best) {
                                        (Some(error), _) => span style="color: var(--bad)" { (sanitize::line(error)) },
                                        (None, best) => (sanitize::line(best.as_deref().unwrap_or_default())),
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        @if runs.is_empty() { p.muted { "No runs yet. A run appears here when it starts." } }
    };
    live_page("defrost: runs", &content, script)
}

/// One run with the curves of all its train stages. `script` is the address of the script.
pub fn live_run_html(run: &LiveRun, script: &str) -> String {
    let content = html! {
        p { a href="../../../" { "all runs" } }
        header {
            div.row { h1 { (sanitize::line(&run.name)) } (heading(run)) }
            @if let Some(error) = &run.error { p style="color: var(--bad)" { (sanitize::line(error)) } }
        }
        section.card {
            (stages(run))
            p.files { a href="report.html" { "report" } }
        }
        @for stage in run.stages.iter().filter(|stage| !stage.history.is_empty()) {
            section.card id=(anchor(&stage.name)) { (picture(stage)) }
        }
    };
    live_page(&format!("{} {}", run.name, run.id), &content, script)
}

fn heading(run: &LiveRun) -> Markup {
    html! {
        code.muted { (sanitize::line(&run.id)) }
        (state(run))
        @if let Some(label) = &run.label { span.muted { (sanitize::line(label)) } }
        @if let Some(started) = &run.started { span.muted { "started " (started) } }
    }
}

fn state(run: &LiveRun) -> Markup {
    html! { span class={ "tag " (run.state) } { (run.state) } }
}

fn stages(run: &LiveRun) -> Markup {
    html! {
        div.scroll {
            table.wide {
                tr { th { "stage" } th.extra { "kind" } th { "status" } th.number.extra { "time" } th { "progress" } }
                @for stage in &run.stages {
                    tr.best[stage.status == RUNNING] {
                        td.name { (sanitize::line(&stage.name)) }
                        td.extra { (sanitize::line(&stage.kind)) }
                        td { (stage.status) }
                        td.number.extra { (stage.time.as_deref().unwrap_or_default()) }
                        td.result {
                            (sanitize::line(&stage.details))
                            @if let Some(done) = stage.done {
                                div.meter { i style=(format!("width:{:.1}%", done.clamp(0.0, 1.0) * 100.0)) {} }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn picture(stage: &LiveStage) -> Markup {
    html! { div.picture { (PreEscaped(curves(&stage.name, &stage.history, stage.metrics).inline())) } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Direction, Metric, MetricFormat};

    static METRICS: TaskMetrics = TaskMetrics {
        history: &[Metric::new("loss", "loss", MetricFormat::Number, Direction::Lower)
            .in_training()
            .drawn("Loss", "mean")],
        evaluation: &[],
        headline: &[],
    };

    fn run(name: &str, state: &str) -> LiveRun {
        let row = HistoryRow {
            epoch: 1,
            lr: 0.1,
            train: [("loss".to_owned(), 0.5)].into(),
            ..HistoryRow::default()
        };
        let stage = LiveStage {
            name: "<fit>".into(),
            kind: "train".into(),
            status: state.into(),
            done: Some(0.25),
            details: "epoch 1/4, loss 0.5".into(),
            history: vec![row],
            metrics: &METRICS,
            ..LiveStage::default()
        };
        LiveRun {
            name: name.into(),
            id: "3f9c1a2b".into(),
            state: state.into(),
            stages: vec![stage],
            ..LiveRun::default()
        }
    }

    #[test]
    fn running_runs_have_their_curves_in_the_list() {
        let failed = LiveRun { error: Some("the <disk> is full".into()), ..run("b", "failed") };
        let page = live_list_html("/home/me/runs", &[run("a <1>", "running"), failed], "watch.js");
        assert_eq!(page.matches("<svg").count(), 1);
        assert!(
            page.contains("href=\"run/a%20%3C1%3E/3f9c1a2b/\"") && page.contains("width:25.0%"),
            "{page}"
        );
        assert!(page.contains("the &lt;disk&gt; is full") && page.contains("src=\"watch.js\""), "{page}");
        assert!(!page.contains("<fit>") && !page.contains("a <1>"));
        assert!(live_list_html("runs", &[], "watch.js").contains("No runs yet"));
    }

    #[test]
    fn the_page_of_a_run_links_to_its_report() {
        let page = live_run_html(&run("a", "running"), "../../../watch.js");
        assert!(page.contains("href=\"report.html\"") && page.contains("href=\"../../../\""), "{page}");
        assert!(page.contains("<svg") && !page.contains("<fit>"), "{page}");
        let nothing = live_run_html(&LiveRun::default(), "watch.js");
        assert!(!nothing.contains("<svg"));
    }
}
