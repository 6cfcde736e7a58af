//! Predicts seconds and bytes from a workload and measurements.

use serde::{Deserialize, Serialize};

use super::workload::MappedFeatures;
use super::{BatchCost, Calibration, ThreadCounts, Workload, WorkloadPhase};

/// Bytes per second of reading, hashing and writing files; a conservative value for current disks.
const FILE_RATE: f64 = 400e6;
/// Seconds for figures, tables, and creating folders.
const STAGE_SECONDS: f64 = 0.15;
/// The share of memory lost to fragmentation.
const BETWEEN: f64 = 1.05;
/// Threads with their small blocks, and the fonts of figures.
const PROCESS: f64 = 20e6;

/// The estimate of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// An upper bound if the stage may stop early.
    pub seconds: f64,
    /// The peak memory of the process, or of the GPU.
    pub memory_bytes: u64,
    pub source: EstimateSource,
}

/// The basis of an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EstimateSource {
    /// Probes measured on synthetic images.
    Measured,
    /// All phases were seen in runs on this machine.
    Learnt,
}

/// Predicts the workload in a process that holds `baseline` bytes at the start. `None` if a probe was not
/// measured.
pub fn forecast(
    work: &Workload,
    known: &Calibration,
    machine: &ThreadCounts,
    baseline: u64,
) -> Option<Estimate> {
    let mut seconds =
        known.learned(&work.overhead).unwrap_or(work.file_bytes as f64 / FILE_RATE + STAGE_SECONDS);
    let mut source = EstimateSource::Learnt;
    let mut largest: f64 = 0.0;
    for phase in &work.phases {
        let measured = measured_seconds(phase, known, machine)?;
        seconds += match known.learned(&phase.key) {
            Some(each) => each * phase.images as f64,
            None => {
                source = EstimateSource::Measured;
                measured
            }
        };
        largest = largest.max(phase_bytes(phase, known)?);
    }
    if work.phases.is_empty() && known.learned(&work.overhead).is_none() {
        source = EstimateSource::Measured;
    }
    let held = (work.weight_bytes as f64 + largest) * BETWEEN;
    let memory_bytes = match machine.threads {
        // Mapped and cached data are in host memory.
        0 => known.learned(&work.memory_key()).unwrap_or(held) as u64,
        _ => {
            let process = baseline as f64 + PROCESS + held;
            let alike = known.learned(&work.memory_key()).unwrap_or(process) as u64;
            alike + mapped_bytes(work, known)? + work.cache_bytes
        }
    };
    Some(Estimate { seconds, memory_bytes, source })
}

/// The bytes of mapped feature rows; `None` if their length was not measured.
pub(super) fn mapped_bytes(work: &Workload, known: &Calibration) -> Option<u64> {
    let bytes = |mapped: &MappedFeatures| {
        let row = known.measured(&mapped.piece)?.outputs * mapped.bytes_per_number;
        Some((row * mapped.rows) as u64)
    };
    work.mapped.iter().map(bytes).sum()
}

fn measured_seconds(phase: &WorkloadPhase, known: &Calibration, machine: &ThreadCounts) -> Option<f64> {
    let mut compute = 0.0;
    for piece in &phase.pieces {
        let line = known.measured(piece)?.seconds;
        compute += line.fixed * phase.batches as f64 + line.each * phase.images as f64 * phase.area[0];
    }
    let mut reading = 0.0;
    for reads in &phase.reading {
        let [first, again] = known.reading(&reads.piece)?;
        let again = again.min(first);
        reading += again * reads.images as f64 + (first - again) * reads.decodes as f64;
    }
    Some(if phase.reading.is_empty() { compute } else { machine.overlapped(compute, reading) })
}

/// The memory of one batch. Each probe's memory is freed before the next, except packed weights and its output, which
/// the next takes. Two more batches of images are prefetched.
fn phase_bytes(phase: &WorkloadPhase, known: &Calibration) -> Option<f64> {
    let (mut largest, mut taken) = (0.0f64, 0.0);
    let images = phase.batch as f64 * phase.area[1];
    for piece in &phase.pieces {
        let BatchCost { bytes, outputs, .. } = known.measured(piece)?;
        largest = largest.max(taken + bytes.fixed + bytes.each * images);
        taken = images * (outputs * size_of::<f32>()) as f64;
    }
    let batch = phase.reading.iter().map(|reads| reads.batch_bytes).max().unwrap_or(0);
    Some(largest + 3.0 * batch as f64)
}

#[cfg(test)]
mod tests {
    use super::super::{ImageReads, LinearCost};
    use super::*;

    const MACHINE: ThreadCounts = ThreadCounts { processors: 2, threads: 2, workers: 2 };

    fn workload() -> Workload {
        Workload {
            phases: vec![
                WorkloadPhase {
                    name: "features",
                    epochs: 1,
                    batches: 4,
                    images: 100,
                    batch: 32,
                    pieces: vec!["pass".into()],
                    reading: vec![ImageReads {
                        piece: "photos".into(),
                        images: 100,
                        decodes: 100,
                        batch_bytes: 1000,
                    }],
                    area: [1.0; 2],
                    key: "features".into(),
                },
                WorkloadPhase {
                    name: "step",
                    epochs: 10,
                    batches: 70,
                    images: 1000,
                    batch: 16,
                    pieces: vec!["step".into()],
                    reading: Vec::new(),
                    area: [1.0; 2],
                    key: "steps".into(),
                },
            ],
            weight_bytes: 4000,
            file_bytes: 400_000_000,
            mapped: vec![MappedFeatures { piece: "pass".into(), rows: 100, bytes_per_number: 4 }],
            cache_bytes: 7,
            overhead: "overhead".into(),
        }
    }

    fn known(folder: &std::path::Path) -> Calibration {
        let mut known = Calibration::open(folder, "machine");
        let line = |fixed, each| LinearCost { fixed, each };
        known.set_measured(
            "pass",
            BatchCost { seconds: line(0.0, 0.02), bytes: line(500.0, 100.0), outputs: 10 },
        );
        known.set_measured(
            "step",
            BatchCost { seconds: line(0.1, 0.01), bytes: line(0.0, 500.0), outputs: 0 },
        );
        known.set_reading("photos", [0.01, 0.001]);
        known
    }

    #[test]
    fn phases_add_up_and_the_largest_sets_the_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut known = known(folder.path());
        let estimate = forecast(&workload(), &known, &MACHINE, 10_000).unwrap();
        // Files and figures, computing and reading features on the same processors, and steps.
        let expected = (1.0 + 0.15) + (2.0 + 1.0) + (7.0 + 10.0);
        assert!((estimate.seconds - expected).abs() < 1e-9, "{estimate:?}");
        assert_eq!(estimate.memory_bytes, 20_010_000 + 12_600 + 4000 + 7);
        assert_eq!(estimate.source, EstimateSource::Measured);

        known.learn("steps", 0.04);
        known.learn("overhead", 0.25);
        let estimate = forecast(&workload(), &known, &MACHINE, 0).unwrap();
        assert!((estimate.seconds - (0.25 + 3.0 + 40.0)).abs() < 1e-9, "{estimate:?}");
        assert_eq!(estimate.source, EstimateSource::Measured, "the features were never seen");
        known.learn("features", 0.02);
        known.learn(&workload().memory_key(), 9000.0);
        let estimate = forecast(&workload(), &known, &MACHINE, 0).unwrap();
        assert!((estimate.seconds - (0.25 + 2.0 + 40.0)).abs() < 1e-9, "{estimate:?}");
        assert_eq!((estimate.source, estimate.memory_bytes), (EstimateSource::Learnt, 9000 + 4000 + 7));
    }

    /// A cached image is decoded once for all the mosaics that show it, and batches of several sizes take longer.
    #[test]
    fn composed_images_and_larger_batches_cost_what_they_take() {
        let folder = tempfile::tempdir().unwrap();
        let known = known(folder.path());
        let reads =
            |images, decodes| ImageReads { piece: "photos".into(), images, decodes, batch_bytes: 1000 };
        let mut work = workload();
        work.phases.remove(0);
        work.phases[0].reading = vec![reads(800, 100), reads(200, 0)];
        work.phases[0].area = [1.5, 2.0];
        let estimate = forecast(&work, &known, &MACHINE, 0).unwrap();
        let (computed, read) = (7.0 + 15.0, 0.001 * 1000.0 + (0.01 - 0.001) * 100.0);
        assert!((estimate.seconds - (1.15 + computed + read)).abs() < 1e-9, "{estimate:?}");
        let held = (4000.0 + 2.0 * 16.0 * 500.0 + 3000.0) * 1.05;
        assert_eq!(estimate.memory_bytes, 20_000_000 + held as u64 + 4000 + 7);
        // A step behind layers that run every time takes their output.
        work.phases[0].pieces.insert(0, "pass".into());
        let behind = forecast(&work, &known, &MACHINE, 0).unwrap().memory_bytes - estimate.memory_bytes;
        assert_eq!(behind, (2.0 * 16.0 * 10.0 * 4.0 * 1.05) as u64);
    }

    #[test]
    fn what_was_never_measured_is_not_guessed() {
        let folder = tempfile::tempdir().unwrap();
        let nothing = Calibration::open(folder.path(), "machine");
        assert_eq!(forecast(&workload(), &nothing, &MACHINE, 0), None);
        assert!(forecast(&Workload::default(), &nothing, &MACHINE, 0).is_some(), "files alone need nothing");
    }
}
