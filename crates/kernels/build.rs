//! Compiles the kernels where the `cuda` feature is on; else there is nothing to do.

use std::path::PathBuf;
use std::process::Command;

const KERNELS: &str = "src/cuda/kernels";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    println!("cargo:rerun-if-changed={KERNELS}");
    for name in ["NVCC", "REAL_NVCC", "CUDA_COMPUTE_CAP"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let setting = |name: &str, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.to_owned());
    let folder = std::env::var_os("OUT_DIR").expect("cargo names a folder for what is built");
    let capability = setting("CUDA_COMPUTE_CAP", "80");
    println!("cargo:rustc-env=KERNEL_CAPABILITY={capability}");
    let status = Command::new(setting("NVCC", "nvcc"))
        .arg("--ptx")
        .arg(format!("-arch=compute_{capability}"))
        // A product and a sum are fused where the source says so: results are no matter of the compiler.
        .args(["-fmad=false", "-O3", "-std=c++17"])
        .arg("-o")
        .arg(PathBuf::from(folder).join("kernels.ptx"))
        .arg(format!("{KERNELS}/all.cu"))
        .status();
    match status {
        Ok(status) if status.success() => {}
        outcome => panic!(
            "nvcc did not compile {KERNELS}/all.cu ({outcome:?}): build with `cuda/cargo` (docs/cuda.md)"
        ),
    }
}
