//! The runs that someone watches: their summaries, read again only after a change.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use super::directory::{EVENTS, PLAN, STATE};
use super::summary::{RunSummary, summarize};
use super::{RunDirectory, RunState};
use crate::regular_file;
use crate::report::{HistoryRow, read_history};

/// What changes with a run: the sizes and times of its files, and whether a process works in it.
type Stamp = (Vec<Option<(u64, Option<SystemTime>)>>, bool);

/// Summaries of runs, kept while the files of their run do not change.
#[derive(Default)]
pub struct RunWatch {
    known: BTreeMap<PathBuf, (Stamp, Result<RunSummary, String>)>,
}

impl RunWatch {
    /// The summary of each run, or why it cannot be read. Forgets all other runs.
    pub fn summaries(&mut self, runs: &[RunDirectory]) -> Vec<Result<RunSummary, String>> {
        let mut before = std::mem::take(&mut self.known);
        let mut summaries = Vec::with_capacity(runs.len());
        for run in runs {
            let stamp = stamp(run);
            let known = before.remove(run.path()).filter(|(known, _)| *known == stamp);
            let (stamp, summary) =
                known.unwrap_or_else(|| (stamp, summarize(run).map_err(|error| error.to_string())));
            summaries.push(summary.clone());
            self.known.insert(run.path().to_owned(), (stamp, summary));
        }
        summaries
    }
}

fn stamp(run: &RunDirectory) -> Stamp {
    let of_file = |name: &str| {
        let metadata = run.path().join(name).metadata().ok()?;
        Some((metadata.len(), metadata.modified().ok()))
    };
    (vec![of_file(EVENTS), of_file(PLAN), of_file(STATE)], run.state() == RunState::Running)
}

/// The finished epochs of a stage, also while it runs; empty if it has none or they cannot be read.
pub fn epochs(run: &RunDirectory, stage: &str) -> Vec<HistoryRow> {
    let text = regular_file::read_text(&run.stage(stage).join("history.csv")).unwrap_or_default();
    read_history(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::RunRecord;
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn summaries_follow_the_files_of_a_run() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("turtles/3f9c1a2b");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(PLAN), "{}").unwrap();
        let run = RunDirectory::open(&folder).unwrap();
        let mut watch = RunWatch::default();
        let mut state = || watch.summaries(std::slice::from_ref(&run)).remove(0).map(|summary| summary.state);
        assert!(state().unwrap_err().contains("plan.json"));
        let record = RunRecord {
            name: "turtles".into(),
            label: None,
            recipe: Digest::of(b"turtles"),
            profile: "scalar".into(),
            stages: Vec::new(),
        };
        run.begin(&record, b"", "name = \"turtles\"\n").unwrap();
        assert_eq!(state(), Ok(RunState::Interrupted), "no process works in it");
        run.set_state(RunState::Complete).unwrap();
        assert_eq!((state(), state()), (Ok(RunState::Complete), Ok(RunState::Complete)));
        assert!(watch.summaries(&[]).is_empty() && watch.known.is_empty());
        assert_eq!(epochs(&run, "frozen"), []);
    }
}
