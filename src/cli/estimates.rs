//! The machine as `plan` and `run` see it: its name, clock and memory, and earlier measurements.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::Device;
use defrost::bench::ResourceMeter;
use defrost::device::GpuMemory;
use defrost::estimate::{self, Calibration, Estimate, EstimateSettings, ThreadCounts, Workload};
use defrost::plan::{ParentStage, PlanEntry, StageStatus, Status};
use defrost::stage::{FeatureCacheStatus, PlannedStage};
use defrost::{Error, Result};

use super::session::Session;

/// The estimates of a session's stages.
pub struct Estimates {
    pub known: Calibration,
    pub settings: EstimateSettings,
    machine: ThreadCounts,
    threads: usize,
    device: Device,
    /// The memory of the process before a stage starts.
    baseline: u64,
}

impl Estimates {
    pub fn open(session: &Session) -> Self {
        let run = &session.pipeline.run;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = run.threads.unwrap_or(processors);
        let workers = run.workers.unwrap_or(threads);
        let processor = processor_name().unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        let build = if cfg!(debug_assertions) { ", unoptimised" } else { "" };
        let name =
            format!("{processor}, {}, {threads} of {processors} threads{build}", session.choice.variant);
        Self {
            known: Calibration::open(session.store.objects(), &name),
            settings: EstimateSettings {
                workers,
                image_cache: run.image_bytes(),
                features: run.feature_bytes().is_some(),
            },
            machine: ThreadCounts {
                processors,
                threads: if session.choice.device.is_cpu() { threads } else { 0 },
                workers,
            },
            threads,
            device: session.choice.device.clone(),
            baseline: memory("VmRSS:").unwrap_or(0),
        }
    }

    pub fn workload(&self, stage: &PlanEntry, found: &[Option<FeatureCacheStatus>]) -> Workload {
        estimate::workload(&stage.work, found, &self.settings)
    }

    /// `None` if a part of it was never measured.
    pub fn forecast(&self, workload: &Workload) -> Option<Estimate> {
        estimate::forecast(workload, &self.known, &self.machine, self.baseline)
    }

    /// Measures missing values for a stage, with the number of threads that stages use.
    pub fn measure(&mut self, work: &PlannedStage, workload: &Workload) -> Result<()> {
        let threads = self.threads;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|error| Error::failed(format!("cannot start {threads} threads: {error}")))?;
        let Self { known, settings, device, .. } = self;
        let here = ProcessMeter { started: Instant::now(), gauge: GpuMemory::of(device) };
        pool.install(|| estimate::measure(work, workload, settings, known, device, &here))
    }
}

/// The known estimates of the stages that will run in a session, and their workloads. Measurements of the run are
/// stored under these workloads.
pub fn stage_estimates(
    session: &Session,
    statuses: &[StageStatus],
    estimates: &Estimates,
) -> Result<(BTreeMap<String, Estimate>, BTreeMap<String, Workload>)> {
    let (mut expected, mut workloads) = (BTreeMap::new(), BTreeMap::new());
    for (stage, status) in session.plan.stages.iter().zip(statuses) {
        let mut workload = estimates.workload(stage, &[]);
        if status.status != Status::Hit && estimates.forecast(&workload).is_some() {
            workload = estimates.workload(stage, &found(session, stage, statuses)?);
            expected.extend(estimates.forecast(&workload).map(|estimate| (stage.name.clone(), estimate)));
        }
        workloads.insert(stage.name.clone(), workload);
    }
    Ok((expected, workloads))
}

/// The cached features for each prefix of a stage, if the stages above are finished and caching is enabled.
pub fn found(
    session: &Session,
    stage: &PlanEntry,
    statuses: &[StageStatus],
) -> Result<Vec<Option<FeatureCacheStatus>>> {
    let source = |parent: &ParentStage| {
        let finished = statuses[parent.stage].finished.as_ref()?;
        Some(finished.dir.join(parent.file()))
    };
    let sources: Option<Vec<PathBuf>> = stage.parents.iter().map(source).collect();
    let (Some(sources), Some(store)) = (sources, session.feature_store()) else {
        return Ok(Vec::new());
    };
    stage.work.features_found(&sources, &store)
}

/// The clock of this process, and the memory of its large blocks or of the GPU.
struct ProcessMeter {
    started: Instant,
    gauge: Option<GpuMemory>,
}

impl ResourceMeter for ProcessMeter {
    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn watch(&self) -> u64 {
        self.gauge.as_ref().map_or_else(|| crate::ALLOCATOR.reset_peak() as u64, GpuMemory::reset_peak)
    }

    fn peak(&self) -> u64 {
        self.gauge.as_ref().map_or_else(|| crate::ALLOCATOR.peak() as u64, GpuMemory::peak)
    }
}

/// The processor, as Linux names it.
pub fn processor_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Whether no earlier run was made in this process.
static ALONE: AtomicBool = AtomicBool::new(true);

/// Marks the start of one of several runs in a process.
pub fn begin_run() {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    ALONE.store(!BEGUN.swap(true, Ordering::Relaxed), Ordering::Relaxed);
}

/// Peak memory in bytes, as Linux counts it. Unknown after an earlier run in this process, since large blocks are never
/// returned.
pub fn peak_bytes() -> Option<u64> {
    memory("VmHWM:").filter(|_| ALONE.load(Ordering::Relaxed))
}

fn memory(what: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(what))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
