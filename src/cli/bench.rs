//! `defrost bench`: how long steps of an architecture take on this machine.

use std::process::ExitCode;
use std::time::Instant;

use clap::ValueEnum;
use defrost::bench::{self, NetworkBench, NetworkSettings, Timing};
use defrost::{Error, Result};
use serde::Serialize;

use super::Console;

const EXAMPLES: &str = "\
Examples:
  defrost bench --arch resnet50
  defrost bench --arch resnet18 --mode infer --batch 1 --threads 1 --json";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The architecture, by its name in pipeline files
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// What a step does
    #[arg(long, value_enum, default_value_t = Mode::Train)]
    mode: Mode,
    /// Images in each step
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// The side of the square images in pixels
    #[arg(long, default_value_t = 224)]
    image_size: usize,
    /// Outputs of the head
    #[arg(long, default_value_t = 1000)]
    classes: usize,
    /// Steps that are timed
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// Steps ahead of them
    #[arg(long, default_value_t = 2)]
    warmup: usize,
    /// Threads for computing; all there are if left out
    #[arg(long)]
    threads: Option<usize>,
    /// `auto` or `cpu`
    #[arg(long, default_value = "auto")]
    device: String,
}

#[derive(Clone, Copy, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// One optimizer step on all parameters: forward, backward, SGD with momentum
    Train,
    /// One optimizer step on the head, the frozen backbone computed anew
    Frozen,
    /// The forward pass of evaluation
    Infer,
}

/// What was measured, as the one JSON document.
#[derive(Serialize)]
struct Measured {
    arch: String,
    mode: Mode,
    device: &'static str,
    dtype: &'static str,
    batch: usize,
    image_size: usize,
    threads: usize,
    classes: usize,
    steps: usize,
    /// Parameters that train.
    trainable: usize,
    step_ms: Spread,
    images_per_s: f64,
    /// The most memory this process has held so far, in units of 10⁶ bytes; unknown but on Linux.
    peak_rss_mb: Option<f64>,
}

#[derive(Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let device = device(&args.device)?;
    let threads = threads(args.threads)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| Error::failed(format!("cannot start {threads} threads: {error}")))?;
    let name = args.arch.clone().ok_or_else(|| {
        Error::usage("`bench` needs an architecture").hint("name one, such as `--arch resnet50`")
    })?;
    let bench = NetworkBench::new(NetworkSettings {
        arch: bench::arch(&name)?,
        mode: match args.mode {
            Mode::Train => bench::Mode::Train,
            Mode::Frozen => bench::Mode::Frozen,
            Mode::Infer => bench::Mode::Infer,
        },
        batch: args.batch,
        image_size: args.image_size,
        classes: args.classes,
        warmup: args.warmup,
        steps: args.steps,
    })?;
    let started = Instant::now();
    let timing = pool.install(|| bench.time(&|| started.elapsed().as_secs_f64()))?;
    let measured = Measured {
        arch: name,
        mode: args.mode,
        device,
        dtype: "f32",
        batch: args.batch,
        image_size: args.image_size,
        threads,
        classes: args.classes,
        steps: args.steps,
        trainable: bench.trainable(),
        step_ms: spread(&timing),
        images_per_s: args.batch as f64 / timing.median(),
        peak_rss_mb: peak_rss_mb(),
    };
    if console.json() {
        console.document(&measured);
    } else {
        console.say(page(&measured));
    }
    Ok(ExitCode::SUCCESS)
}

fn device(wanted: &str) -> Result<&'static str> {
    match wanted {
        "auto" | "cpu" => Ok("cpu"),
        other => Err(Error::usage(format!("this build cannot compute on `{other}`: it computes on the CPU only"))
            .hint("leave `--device` out, or say `--device cpu`")),
    }
}

fn threads(wanted: Option<usize>) -> Result<usize> {
    match wanted {
        Some(0) => Err(Error::usage("0 threads compute nothing").hint("leave `--threads` out to use all there are")),
        Some(threads) => Ok(threads),
        None => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
    }
}

fn spread(timing: &Timing) -> Spread {
    Spread { median: timing.median() * 1e3, min: timing.min() * 1e3, max: timing.max() * 1e3 }
}

/// Linux's count of the most pages ever resident.
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

fn page(measured: &Measured) -> String {
    let Measured { arch, batch, image_size, threads, step_ms, .. } = measured;
    let what = match measured.mode {
        Mode::Train => "train step, all parameters",
        Mode::Frozen => "train step, backbone frozen",
        Mode::Infer => "inference",
    };
    let plural = if *threads == 1 { "" } else { "s" };
    let mut lines =
        vec![format!("{arch}: {what}, batch {batch} at {image_size}×{image_size}, {threads} thread{plural}, f32")];
    let mut line = |label: &str, text: String| lines.push(format!("  {label:<14}{text}"));
    line("step", format!("{:.1} ms  ({:.1} to {:.1})", step_ms.median, step_ms.min, step_ms.max));
    line("throughput", format!("{:.1} images/s", measured.images_per_s));
    if let Some(peak) = measured.peak_rss_mb {
        line("peak memory", format!("{peak:.0} MB"));
    }
    lines.join("\n")
}
