//! `defrost bench`: times network steps and image loading on this machine, and finds a batch size that fits.

mod fit;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use candle_core::Device;
use clap::ValueEnum;
use defrost::bench::{self, Clock, ImagesSettings, NetworkBench, NetworkSettings, StepCounts, Timing};
use defrost::device;
use defrost::{Error, Result, sanitize};
use serde::Serialize;

use super::{Console, estimates};

const EXAMPLES: &str = "\
Examples:
  defrost bench --arch resnet50
  defrost bench --arch resnet18 --mode infer --batch 1 --threads 1 --json
  defrost bench --arch yolo11n --image-size 640 --batch 8
  defrost bench --mode data --images photos
  defrost bench --fit turtles.toml --stage finetune --memory 8GB";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Architecture, as named in pipeline files
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// Pipeline file: find the largest `batch_size` of a train stage that fits into memory, with the `accumulate` that
    /// keeps the images per optimizer step. Nothing is timed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["arch", "images"])]
    fit: Option<PathBuf>,
    /// Train stage for `--fit`. Optional if the file has one
    #[arg(long, value_name = "NAME", requires = "fit")]
    stage: Option<String>,
    /// Memory for `--fit`, such as `8GB`. Defaults to 90 % of the memory that is free on the GPU, or on this machine
    #[arg(long, value_name = "SIZE", requires = "fit", value_parser = fit::size)]
    memory: Option<u64>,
    /// Change a setting for `--fit`: a dotted path and a TOML value
    #[arg(long = "set", value_name = "PATH=VALUE", requires = "fit")]
    set: Vec<String>,
    /// Run of a matrix for `--fit`: a label, or parts of one
    #[arg(long, value_name = "LABEL", requires = "fit")]
    only: Vec<String>,
    /// What to time
    #[arg(long, value_enum, default_value_t = Mode::Train)]
    mode: Mode,
    /// Number of images per step
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Side length of the square images in pixels
    #[arg(long, default_value_t = 224)]
    image_size: usize,
    /// Number of classes of the head. Defaults to 1000, and to 80 for detectors
    #[arg(long)]
    classes: Option<usize>,
    /// Number of timed steps
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// Number of warmup steps, which are not timed
    #[arg(long, default_value_t = 2)]
    warmup: usize,
    /// Images for `--mode data`: a folder with one subfolder per class
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Number of threads that compute, or that load images. Defaults to all processors
    #[arg(long)]
    threads: Option<usize>,
    /// Device: `auto`, `cpu` or `cuda:N`
    #[arg(long, default_value = "auto")]
    device: String,
    /// Number format of training steps. All formats except `f32` need a GPU
    #[arg(long, default_value = "f32", value_name = "f32|tf32|bf16|f16")]
    precision: String,
}

#[derive(Clone, Copy, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// One optimizer step on all parameters: forward, backward, SGD with momentum
    Train,
    /// One optimizer step on the head; the frozen backbone is recomputed
    Frozen,
    /// The forward pass of evaluation
    Infer,
    /// From image files to a batch: read, decode, random crop, flip, normalise
    Data,
}

/// The measurement, as printed with `--json`.
#[derive(Serialize)]
struct Measured {
    /// `None` if no network is timed.
    arch: Option<String>,
    mode: Mode,
    /// `cpu`, or the numeric profile of a GPU.
    device: String,
    dtype: String,
    batch: usize,
    image_size: usize,
    threads: usize,
    steps: usize,
    step_ms: Spread,
    images_per_s: f64,
    /// Peak memory of this process so far, in units of 10⁶ bytes. Known on Linux only.
    peak_rss_mb: Option<f64>,
    network: Option<Network>,
}

/// A step of a network.
#[derive(Serialize)]
struct Network {
    classes: usize,
    /// Number of trainable parameters.
    trainable: usize,
    /// Multiply-adds of the convolutions and linear layers of one step, forward and backward.
    multiply_adds: u64,
    /// Counts two operations per multiply-add, in 10⁹ per second.
    gflops: f64,
    /// The minimum number of bytes of activations that convolutions, linear layers and normalisations of one step read
    /// and write.
    bytes: u64,
    /// In 10⁹ bytes per second.
    gbytes_per_s: f64,
}

#[derive(Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    if let Some(file) = &args.fit {
        return fit::run(file, &args, console);
    }
    let mut choice = device::choose(&args.device)?;
    if let Some(name) = &args.arch
        && !bench::arch(name)?.computes_on_gpus()
    {
        choice = choice.without_gpus(&format!("`{name}`"))?;
    }
    choice.note.iter().for_each(|note| console.warn(note));
    let threads = threads(args.threads)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| Error::failed(format!("cannot start {threads} threads: {error}")))?;
    let started = Instant::now();
    let clock = || started.elapsed().as_secs_f64();
    let (timing, peak_rss_mb, network) = match &args.arch {
        _ if args.mode == Mode::Data => (time_images(&args, threads, &clock)?, peak_rss_mb(), None),
        Some(name) => pool.install(|| time_network(&args, name, &choice.device, &clock))?,
        None => {
            let error = Error::usage("`--arch` is required, except with `--mode data`");
            return Err(error.hint("add an architecture, such as `--arch resnet50`"));
        }
    };
    let measured = Measured {
        arch: args.arch,
        mode: args.mode,
        device: if choice.device.is_cpu() { "cpu".to_owned() } else { choice.variant.clone() },
        dtype: args.precision.clone(),
        batch: args.batch,
        image_size: args.image_size,
        threads,
        steps: args.steps,
        images_per_s: args.batch as f64 / timing.median(),
        step_ms: spread(&timing),
        peak_rss_mb,
        network,
    };
    if console.json() {
        console.document(&measured);
    } else {
        console.say(page(&measured));
    }
    Ok(ExitCode::SUCCESS)
}

/// The memory is read directly after the steps, so that later allocations are not counted.
fn time_network(
    args: &Args,
    name: &str,
    device: &Device,
    clock: Clock,
) -> Result<(Timing, Option<f64>, Option<Network>)> {
    if args.images.is_some() {
        return Err(Error::usage("`--images` needs `--mode data`: networks are timed on synthetic images")
            .hint("remove `--images`, or add `--mode data`"));
    }
    let arch = bench::arch(name)?;
    let classes = args.classes.unwrap_or_else(|| NetworkSettings::published_classes(arch));
    let bench = NetworkBench::new(
        NetworkSettings {
            arch,
            mode: match args.mode {
                Mode::Frozen => bench::Mode::Frozen,
                Mode::Infer => bench::Mode::Infer,
                Mode::Train | Mode::Data => bench::Mode::Train,
            },
            precision: bench::precision(&args.precision)?,
            batch: args.batch,
            image_size: args.image_size,
            classes,
            warmup: args.warmup,
            steps: args.steps,
        },
        device,
    )?;
    let timing = bench.time(clock)?;
    let peak = peak_rss_mb();
    let StepCounts { multiply_adds, bytes } = bench.work()?;
    let network = Network {
        classes,
        trainable: bench.trainable(),
        multiply_adds,
        gflops: 2.0 * multiply_adds as f64 / timing.median() / 1e9,
        bytes,
        gbytes_per_s: bytes as f64 / timing.median() / 1e9,
    };
    Ok((timing, peak, Some(network)))
}

fn time_images(args: &Args, workers: usize, clock: Clock) -> Result<Timing> {
    if args.arch.is_some() {
        return Err(Error::usage("`--arch` cannot be used with `--mode data`, which runs no network")
            .hint("remove `--arch`"));
    }
    let root: &Path = args.images.as_deref().ok_or_else(|| {
        Error::usage("`--mode data` needs `--images`")
            .hint("add a folder with one subfolder per class: `--images DIR`")
    })?;
    let (batch, image_size) = (args.batch, args.image_size);
    let (warmup, steps) = (args.warmup, args.steps);
    bench::time_images(&ImagesSettings { root, batch, image_size, workers, warmup, steps }, clock)
}

fn threads(wanted: Option<usize>) -> Result<usize> {
    match wanted {
        Some(0) => {
            Err(Error::usage("`--threads` must be at least 1")
                .hint("remove `--threads` to use all processors"))
        }
        Some(threads) => Ok(threads),
        None => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
    }
}

fn spread(timing: &Timing) -> Spread {
    Spread { median: timing.median() * 1e3, min: timing.min() * 1e3, max: timing.max() * 1e3 }
}

/// Peak memory of this process, as Linux counts it.
fn peak_rss_mb() -> Option<f64> {
    Some(estimates::peak_bytes()? as f64 / 1e6)
}

fn page(measured: &Measured) -> String {
    let Measured { arch, batch, image_size, threads, step_ms, images_per_s, .. } = measured;
    let what = match measured.mode {
        Mode::Train => "train step, all parameters",
        Mode::Frozen => "train step, backbone frozen",
        Mode::Infer => "inference",
        Mode::Data => "images to augmented tensors",
    };
    let name = arch.as_ref().map_or_else(String::new, |arch| format!("{arch}: "));
    let mut lines = vec![format!(
        "{name}{what}, batch {batch} at {image_size}×{image_size}, {}, {}",
        sanitize::count(*threads, "thread"),
        measured.dtype
    )];
    let mut line = |label: &str, text: String| lines.push(format!("  {label:<14}{text}"));
    let step = if arch.is_some() { "step" } else { "batch" };
    line(step, format!("{:.1} ms  ({:.1} to {:.1})", step_ms.median, step_ms.min, step_ms.max));
    let each = match *threads > 1 && arch.is_none() {
        true => format!(", {:.1} per thread", images_per_s / *threads as f64),
        false => String::new(),
    };
    line("throughput", format!("{images_per_s:.1} images/s{each}"));
    if let Some(network) = &measured.network {
        let giga = network.multiply_adds as f64 / 1e9;
        line("arithmetic", format!("{giga:.2} G multiply-adds per step, {:.0} GFLOP/s", network.gflops));
    }
    if let Some(peak) = measured.peak_rss_mb {
        line("peak memory", format!("{peak:.0} MB"));
    }
    lines.join("\n")
}
