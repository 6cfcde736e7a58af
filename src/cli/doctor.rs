//! `defrost doctor`: shows devices and environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use defrost::Result;
use defrost::ops::profile::Profile;
use defrost::run;
use defrost::store::Store;
use serde::Serialize;
use walkdir::WalkDir;

use super::{Console, RunsOptions, estimates};

const EXAMPLES: &str = "\
Examples:
  defrost doctor
  defrost doctor --json    (one document, to attach to a bug report)";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    runs: RunsOptions,
}

/// The environment that results and failures may depend on. Everything is read now; nothing is written.
#[derive(Serialize)]
struct Findings {
    version: &'static str,
    /// Results have the same bytes on all machines with the same profile.
    profile: &'static str,
    processor: Processor,
    memory: Option<Memory>,
    cuda: Cuda,
    runs: Runs,
}

#[derive(Serialize)]
struct Processor {
    name: Option<String>,
    architecture: &'static str,
    threads: usize,
    features: Vec<&'static str>,
}

#[derive(Serialize)]
struct Memory {
    total_bytes: u64,
    available_bytes: u64,
}

#[derive(Serialize)]
struct Cuda {
    built: bool,
    libraries: Vec<Library>,
    versions: Option<Versions>,
    gpus: Vec<Gpu>,
    /// The compute capability that the kernels of this build need at least, such as `8.0`.
    kernels: Option<String>,
    /// Why versions and GPUs are unknown.
    error: Option<String>,
}

#[derive(Serialize)]
struct Versions {
    /// The highest CUDA version that the driver supports.
    driver: String,
    cudnn: String,
    cublas: String,
}

#[derive(Serialize)]
struct Gpu {
    /// As in `device = "cuda:0"`.
    device: String,
    name: String,
    capability: String,
    /// NVIDIA's name of the generation, such as `Ampere`.
    generation: &'static str,
    /// The values of `precision` that it supports.
    precisions: Vec<&'static str>,
    /// Why this build cannot use it; `None` if it can.
    error: Option<String>,
    total_bytes: u64,
    free_bytes: u64,
}

#[derive(Serialize)]
struct Library {
    name: &'static str,
    /// Why it cannot be opened; `None` if it can.
    error: Option<String>,
}

#[derive(Serialize)]
struct Runs {
    folder: PathBuf,
    exists: bool,
    count: usize,
    /// Bytes of finished stages, unfinished stages and features.
    store_bytes: u64,
    /// The part of these bytes that features use.
    feature_bytes: u64,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let findings = Findings {
        version: env!("CARGO_PKG_VERSION"),
        profile: Profile::current().name(),
        processor: processor(),
        memory: fs::read_to_string("/proc/meminfo").ok().and_then(|text| memory(&text)),
        cuda: cuda(),
        runs: runs(args.runs.root()?)?,
    };
    if console.json() {
        console.document(&findings);
    } else {
        console.say(page(&findings));
    }
    Ok(ExitCode::SUCCESS)
}

fn processor() -> Processor {
    let name = estimates::processor_name();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Processor { name, architecture: std::env::consts::ARCH, threads, features: features() }
}

/// The instruction sets that determine the numeric profile.
#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    macro_rules! detected {
        ($($feature:tt),*) => {
            [$(($feature, is_x86_feature_detected!($feature))),*]
        };
    }
    let all = detected!["avx2", "fma", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"];
    all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

/// Reads Linux's `/proc/meminfo`, in which `kB` means KiB.
fn memory(text: &str) -> Option<Memory> {
    let bytes = |field: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        Some(value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    };
    Some(Memory { total_bytes: bytes("MemTotal")?, available_bytes: bytes("MemAvailable")? })
}

/// The state of a build with CUDA: each library, and the GPUs if all libraries can be opened.
#[cfg(feature = "cuda")]
fn cuda() -> Cuda {
    use defrost::pipeline::Precision;
    use defrost::{cuda, train};

    let libraries =
        cuda::libraries().into_iter().map(|library| Library { name: library.name, error: library.error });
    let found = cuda::versions().and_then(|versions| Ok((versions, cuda::gpus()?)));
    let (versions, gpus, error) = match found {
        Ok((versions, gpus)) => (Some(versions), gpus, None),
        Err(error) => (None, Vec::new(), Some(error.to_string())),
    };
    let kernels = cuda::kernel_capability();
    let gpus = gpus.into_iter().map(|gpu| Gpu {
        device: format!("cuda:{}", gpu.ordinal),
        capability: format!("sm_{}{}", gpu.capability.major, gpu.capability.minor),
        generation: gpu.capability.generation(),
        precisions: train::precisions(gpu.capability).map(Precision::name).collect(),
        error: gpu.capability.require_for_build(&gpu.name, kernels).err().map(|error| error.to_string()),
        name: gpu.name,
        total_bytes: gpu.total_bytes,
        free_bytes: gpu.free_bytes,
    });
    let versions = versions.map(|versions| Versions {
        driver: versions.driver,
        cudnn: versions.cudnn,
        cublas: versions.cublas,
    });
    let kernels = kernels.map(|capability| capability.to_string());
    Cuda { built: true, libraries: libraries.collect(), versions, gpus: gpus.collect(), kernels, error }
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Cuda {
    Cuda { built: false, libraries: Vec::new(), versions: None, gpus: Vec::new(), kernels: None, error: None }
}

fn runs(folder: PathBuf) -> Result<Runs> {
    let store = Store::open(&folder);
    let store_bytes = bytes_below(store.objects()) + bytes_below(store.work());
    let feature_bytes = bytes_below(&store.features());
    let count = run::all_runs(&folder)?.len();
    Ok(Runs { exists: folder.is_dir(), count, store_bytes, feature_bytes, folder })
}

/// Files that disappear during the scan or cannot be read count as 0.
fn bytes_below(folder: &Path) -> u64 {
    let entries = WalkDir::new(folder).into_iter().flatten().filter_map(|entry| entry.metadata().ok());
    entries.filter(fs::Metadata::is_file).map(|metadata| metadata.len()).sum()
}

fn page(findings: &Findings) -> String {
    let Findings { version, profile, processor, memory, cuda, runs } = findings;
    let mut lines = vec![format!("defrost {version}")];
    let mut line = |label: &str, text: String| lines.push(format!("{label:<16} {text}"));
    line("numeric profile", (*profile).to_owned());
    let name = processor.name.as_deref().unwrap_or("unknown");
    line("processor", format!("{name} ({}), {} threads", processor.architecture, processor.threads));
    if !processor.features.is_empty() {
        line("features", processor.features.join(" "));
    }
    line(
        "memory",
        match memory {
            Some(memory) => format!(
                "{:.1} GB, of which {:.1} GB available",
                memory.total_bytes as f64 / 1e9,
                memory.available_bytes as f64 / 1e9
            ),
            None => "unknown".to_owned(),
        },
    );
    cuda_lines(cuda).into_iter().for_each(|text| line("CUDA", text));
    let there = if runs.exists { "" } else { " (does not exist yet)" };
    line("runs", format!("{}{there}", runs.folder.display()));
    let (store, features) = (runs.store_bytes as f64 / 1e6, runs.feature_bytes as f64 / 1e6);
    line("", format!("{} runs, {store:.1} MB in the store, {features:.1} MB of it features", runs.count));
    lines.join("\n")
}

fn cuda_lines(cuda: &Cuda) -> Vec<String> {
    if !cuda.built {
        return vec!["not in this build, which computes on the CPU only (docs/cuda.md)".to_owned()];
    }
    let mut lines = Vec::new();
    for Library { name, error } in &cuda.libraries {
        let state = error.as_ref().map_or_else(|| "opens".to_owned(), |error| format!("missing: {error}"));
        lines.push(format!("{name:<18} {state}"));
    }
    if let Some(Versions { driver, cudnn, cublas }) = &cuda.versions {
        lines.push(format!("driver for CUDA {driver}, cuDNN {cudnn}, cuBLAS {cublas}"));
    }
    if let Some(capability) = &cuda.kernels {
        lines.push(format!("kernels for compute capability {capability} and later"));
    }
    for gpu in &cuda.gpus {
        let Gpu { device, name, capability, generation, .. } = gpu;
        let (free, total) = (gpu.free_bytes as f64 / 1e9, gpu.total_bytes as f64 / 1e9);
        lines.push(format!("{device}: {name}, {capability} ({generation}), {free:.1} of {total:.1} GB free"));
        match &gpu.error {
            Some(error) => lines.push(format!("{device} cannot be used: {error}")),
            None => lines.push(format!("{device} trains in {}", gpu.precisions.join(", "))),
        }
    }
    match (&cuda.error, cuda.gpus.is_empty()) {
        (Some(error), _) => lines.push(format!("no GPU can be used: {error}")),
        (None, true) => lines.push("the driver finds no GPU".to_owned()),
        (None, false) => {}
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_kib_and_unknown_text_is_no_memory() {
        let found = memory("MemTotal:       24678000 kB\nMemFree: 1 kB\nMemAvailable:   2 kB\n").unwrap();
        assert_eq!((found.total_bytes, found.available_bytes), (24_678_000 * 1024, 2048));
        assert!(memory("MemTotal: many\n").is_none());
    }

    #[test]
    fn a_gpu_is_listed_with_its_precisions_or_with_the_reason_why_it_cannot_be_used() {
        let gpu = |name: &str, generation, precisions, error: Option<&str>| Gpu {
            device: "cuda:0".to_owned(),
            name: name.to_owned(),
            capability: "sm_75".to_owned(),
            generation,
            precisions,
            error: error.map(str::to_owned),
            total_bytes: 16_000_000_000,
            free_bytes: 15_000_000_000,
        };
        let cuda = Cuda {
            built: true,
            libraries: Vec::new(),
            versions: None,
            gpus: vec![
                gpu("Tesla T4", "Turing", vec!["f32", "f16"], None),
                gpu("Tesla V100", "Volta", Vec::new(), Some("it is too old")),
            ],
            kernels: Some("7.5".to_owned()),
            error: None,
        };
        assert_eq!(
            cuda_lines(&cuda),
            [
                "kernels for compute capability 7.5 and later",
                "cuda:0: Tesla T4, sm_75 (Turing), 15.0 of 16.0 GB free",
                "cuda:0 trains in f32, f16",
                "cuda:0: Tesla V100, sm_75 (Volta), 15.0 of 16.0 GB free",
                "cuda:0 cannot be used: it is too old",
            ]
        );
    }
}
