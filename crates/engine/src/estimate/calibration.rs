//! Measurements of this machine: a small file in the store, shared by all runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::BatchCost;
use crate::store::disk;
use crate::{data, model, ops, train};

const FILE: &str = "calibration.json";
/// The version of the file format and of the meaning of its numbers.
const FORM: u32 = 2;
/// The weight of the newest run in learned values.
const NEWS: f64 = 0.5;

/// The measured cost of probes, and the duration of phases in earlier runs.
///
/// It is only a cache: a missing or damaged file starts empty.
pub struct Calibration {
    file: PathBuf,
    machine: String,
    known: Known,
    changed: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Known {
    /// By probe.
    measured: BTreeMap<String, BatchCost>,
    /// Seconds per image, by data: the first time, and from the cache.
    read: BTreeMap<String, [f64; 2]>,
    /// Seconds per image by phase, and of work outside the phases.
    learnt: BTreeMap<String, f64>,
}

#[derive(Default, Serialize, Deserialize)]
struct Stored {
    form: u32,
    machines: BTreeMap<String, Known>,
}

impl Calibration {
    /// The measurements in the folder of a store. `machine` names processor and threads; the versions of the
    /// timed code are added.
    pub fn open(folder: &std::path::Path, machine: &str) -> Self {
        let rooms =
            [ops::code_paths::ALL, model::code_paths::ALL, data::code_paths::ALL, train::code_paths::ALL];
        let engine = rooms.concat().into_iter().map(|path| format!("{} {}", path.name(), path.version()));
        let engine: Vec<String> = engine.collect();
        let machine = format!("{machine}, defrost {}, {}", env!("CARGO_PKG_VERSION"), engine.join(", "));
        let file = folder.join(FILE);
        let known = read(&file).machines.remove(&machine).unwrap_or_default();
        Self { file, machine, known, changed: false }
    }

    pub fn measured(&self, piece: &str) -> Option<&BatchCost> {
        self.known.measured.get(piece)
    }

    pub fn reading(&self, piece: &str) -> Option<[f64; 2]> {
        self.known.read.get(piece).copied()
    }

    pub fn learned(&self, phase: &str) -> Option<f64> {
        self.known.learnt.get(phase).copied()
    }

    pub fn set_measured(&mut self, piece: &str, cost: BatchCost) {
        self.known.measured.insert(piece.to_owned(), cost);
        self.changed = true;
    }

    pub fn set_reading(&mut self, piece: &str, seconds: [f64; 2]) {
        self.known.read.insert(piece.to_owned(), seconds);
        self.changed = true;
    }

    /// Includes the duration of a phase in a run.
    pub fn learn(&mut self, phase: &str, seconds: f64) {
        if seconds.is_finite() && seconds >= 0.0 {
            let known = self.known.learnt.entry(phase.to_owned()).or_insert(seconds);
            *known += NEWS * (seconds - *known);
            self.changed = true;
        }
    }

    /// Saves new measurements. Those of other machines stay; a failure only costs measuring again.
    pub fn save(&mut self) {
        if !self.changed {
            return;
        }
        let mut stored = read(&self.file);
        stored.form = FORM;
        // Keeps measurements that another process has saved since, unless this one has its own.
        let mut all = stored.machines.remove(&self.machine).unwrap_or_default();
        all.measured.extend(self.known.measured.clone());
        all.read.extend(self.known.read.clone());
        all.learnt.extend(self.known.learnt.clone());
        stored.machines.insert(self.machine.clone(), all);
        let folder = self.file.parent().map(std::fs::create_dir_all);
        if matches!(folder, Some(Ok(()))) && disk::write_json(&self.file, &stored).is_ok() {
            self.changed = false;
        }
    }
}

/// The file's content, or nothing if it is missing, damaged or of another version.
fn read(file: &std::path::Path) -> Stored {
    let stored: Stored = disk::read_json(file).unwrap_or_default();
    let sound = |known: &Known| {
        let lines = known.measured.values().flat_map(|cost| [cost.seconds, cost.bytes]);
        let numbers = lines.flat_map(|line| [line.fixed, line.each]);
        let read = known.read.values().flatten().copied();
        numbers
            .chain(read)
            .chain(known.learnt.values().copied())
            .all(|number| number.is_finite() && number >= 0.0)
    };
    if stored.form == FORM && stored.machines.values().all(sound) { stored } else { Stored::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::LinearCost;

    #[test]
    fn machines_know_each_their_own_and_a_damaged_file_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let cost = BatchCost { seconds: LinearCost { fixed: 0.5, each: 0.25 }, ..BatchCost::default() };
        let mut one = Calibration::open(folder.path(), "one");
        one.set_measured("step", cost);
        one.learn("epoch", 2.0);
        one.learn("epoch", 3.0);
        one.learn("epoch", f64::NAN);
        one.save();
        let mut two = Calibration::open(folder.path(), "two");
        assert_eq!(two.measured("step"), None);
        two.set_reading("photos", [0.5, 0.125]);
        two.save();
        let one = Calibration::open(folder.path(), "one");
        assert_eq!((one.measured("step"), one.learned("epoch")), (Some(&cost), Some(2.5)));

        for damage in [
            &b"{"[..],
            b"",
            br#"{"form":2,"machines":{"one":{"measured":3}}}"#,
            br#"{"form":9,"machines":{}}"#,
        ] {
            std::fs::write(folder.path().join(FILE), damage).unwrap();
            let mut one = Calibration::open(folder.path(), "one");
            assert_eq!(one.measured("step"), None);
            one.set_measured("step", cost);
            one.save();
            assert_eq!(Calibration::open(folder.path(), "one").measured("step"), Some(&cost));
        }
    }
}
