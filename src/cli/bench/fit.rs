//! `defrost bench --fit`: the largest batch of a train stage that fits into memory.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use defrost::data::Dataset;
use defrost::device::{GpuMemory, gigabytes};
use defrost::estimate;
use defrost::plan::PlanEntry;
use defrost::stage::{PlannedStage, ResolvedStage, TrainStage};
use defrost::{Error, Result};
use serde::Serialize;

use super::Args;
use crate::cli::console::shown;
use crate::cli::estimates::{Estimates, found};
use crate::cli::session::Session;
use crate::cli::train_stage::train_stage;
use crate::cli::{Console, PipelineOptions};

/// The part of the free memory that a stage may use: the estimate has an error, and other programs go on.
const USABLE: f64 = 0.9;

/// A way to divide the images of an optimizer step.
#[derive(Serialize)]
struct Division {
    batch_size: usize,
    accumulate: usize,
    memory_bytes: u64,
    fits: bool,
}

/// The answer, as printed with `--json`.
#[derive(Serialize)]
struct Fit<'a> {
    stage: &'a str,
    images_per_step: usize,
    available_bytes: u64,
    divisions: Vec<Division>,
    batch_size: Option<usize>,
    accumulate: Option<usize>,
}

pub fn run(file: &Path, args: &Args, console: &Console) -> Result<ExitCode> {
    let options = PipelineOptions {
        set: args.set.clone(),
        device: Some(args.device.clone()),
        threads: args.threads,
        only: args.only.clone(),
        runs_dir: None,
    };
    let session = Session::open_one(file, &options, None, console)?;
    let (planned, train, dataset) = train_stage(&session, args.stage.as_deref())?;
    let available = match args.memory {
        Some(bytes) => bytes,
        None => (free_memory(&session)? as f64 * USABLE) as u64,
    };
    let mut estimates = Estimates::open(&session);
    let statuses = session.statuses()?;
    let cached = found(&session, planned, &statuses)?;
    let images_per_step = train.settings.batch_size * train.settings.accumulate as usize;
    let mut divisions = Vec::new();
    for batch_size in divisors(images_per_step) {
        let accumulate = images_per_step / batch_size;
        let work = divided(train, dataset, batch_size, accumulate);
        let workload = estimate::workload(&work, &cached, &estimates.settings);
        if !estimate::missing(&workload, &estimates.known).is_empty() {
            console.status(format!("timing `{}` on this machine, once", planned.name));
            estimates.measure(&work, &workload)?;
        }
        let estimate = estimates.forecast(&workload);
        let memory_bytes =
            estimate.ok_or_else(|| Error::bug("a measured stage without an estimate"))?.memory_bytes;
        let fits = memory_bytes <= available;
        divisions.push(Division { batch_size, accumulate, memory_bytes, fits });
        if fits {
            break;
        }
    }
    estimates.known.save();
    let fitting = divisions.last().filter(|division| division.fits);
    let fit = Fit {
        stage: &planned.name,
        images_per_step,
        available_bytes: available,
        batch_size: fitting.map(|division| division.batch_size),
        accumulate: fitting.map(|division| division.accumulate),
        divisions,
    };
    if console.json() {
        console.document(&fit);
    } else {
        console.say(page(&fit, train, planned));
    }
    match fit.batch_size {
        Some(_) => Ok(ExitCode::SUCCESS),
        None => Err(Error::failed(format!(
            "a step of `{}` does not fit into {} even with one image at a time",
            planned.name,
            gigabytes(available)
        ))
        .hint("freeze more layers, use a smaller `image_size` or a smaller network")),
    }
}

/// All divisors, the largest first.
fn divisors(number: usize) -> impl Iterator<Item = usize> {
    (1..=number).rev().filter(move |divisor| number.is_multiple_of(*divisor))
}

/// The stage with the same images per optimizer step, in other batches.
fn divided(train: &TrainStage, dataset: &Arc<Dataset>, batch_size: usize, accumulate: usize) -> PlannedStage {
    let mut train = train.clone();
    (train.settings.batch_size, train.settings.accumulate) = (batch_size, accumulate as u32);
    ResolvedStage::Train(Box::new(train), Arc::clone(dataset))
}

/// The bytes that a new process may take: of the GPU, or of this machine.
fn free_memory(session: &Session) -> Result<u64> {
    if let Some(gauge) = GpuMemory::of(&session.choice.device) {
        return Ok(gauge.available());
    }
    let unknown = || {
        Error::usage("the free memory of this machine is unknown").hint("say how much to use: `--memory 8GB`")
    };
    let text = std::fs::read_to_string("/proc/meminfo").map_err(|_| unknown())?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).ok_or_else(unknown)?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().map_err(|_| unknown())?;
    Ok(kib * 1024)
}

fn page(fit: &Fit, train: &TrainStage, stage: &PlanEntry) -> String {
    let available = gigabytes(fit.available_bytes);
    let mut lines = vec![
        format!(
            "stage {}: {} images per optimizer step, {available} of memory",
            shown(&stage.name),
            fit.images_per_step
        ),
        format!("  {:>10}  {:>10}  {:>10}", "batch_size", "accumulate", "memory"),
    ];
    for Division { batch_size, accumulate, memory_bytes, fits } in &fit.divisions {
        let verdict = if *fits { "fits" } else { "too much" };
        lines.push(format!(
            "  {batch_size:>10}  {accumulate:>10}  {:>10}  {verdict}",
            gigabytes(*memory_bytes)
        ));
    }
    let Some((batch_size, accumulate)) = fit.batch_size.zip(fit.accumulate) else { return lines.join("\n") };
    let settings = &train.settings;
    if (batch_size, accumulate) == (settings.batch_size, settings.accumulate as usize) {
        lines.push("the file's batch_size fits".to_owned());
        return lines.join("\n");
    }
    lines.push("write into the file:".to_owned());
    lines.push(format!("  batch_size = {batch_size}"));
    lines.push(format!("  accumulate = {accumulate}"));
    let norms = train.table.freeze_summary(&train.description, settings);
    if batch_size < settings.batch_size && norms.norms > norms.norms_in_eval {
        lines.push(format!(
            "BatchNorm in training mode then sees {batch_size} images at a time, not {}",
            settings.batch_size
        ));
    }
    lines.join("\n")
}

/// A size such as `12GB` or `8GiB`.
pub fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 4] = [("GiB", 1073741824.0), ("MiB", 1048576.0), ("GB", 1e9), ("MB", 1e6)];
    let bytes = UNITS.iter().find_map(|(unit, bytes)| {
        let number: f64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        (number > 0.0 && number < 1e9).then_some((number * bytes) as u64)
    });
    bytes.ok_or_else(|| "use a size such as `12GB` or `8GiB`".to_owned())
}
