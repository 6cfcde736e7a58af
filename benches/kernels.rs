//! How fast the kernels are, against what the machine can do at most: `cargo bench --bench kernels [FILTER]`.
//!
//! Each line is the best of several runs, so that a busy machine disturbs little. Nothing is asserted.

use std::hint::black_box;
use std::time::Instant;

use defrost::ops::gemm::{Matrix, gemm};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seconds by the wall clock, and of processor time: the latter tells more on a busy machine.
#[derive(Clone, Copy)]
struct Seconds {
    wall: f64,
    processor: f64,
}

/// The least of several timings.
fn best(mut work: impl FnMut()) -> Seconds {
    let started = Instant::now();
    let mut best = Seconds { wall: f64::INFINITY, processor: f64::INFINITY };
    for run in 0.. {
        let (wall, processor) = (Instant::now(), processor_seconds());
        work();
        best.wall = best.wall.min(wall.elapsed().as_secs_f64());
        best.processor = best.processor.min(processor_seconds() - processor);
        if run >= 3 && started.elapsed().as_secs_f64() > 0.4 {
            break;
        }
    }
    best
}

/// The processor time of all threads so far.
fn processor_seconds() -> f64 {
    unsafe extern "C" {
        safe fn clock() -> std::ffi::c_long;
    }
    clock() as f64 * 1e-6
}

/// The most fused multiply-adds a thread can do, in GFLOP/s: independent chains in registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn peak() -> f64 {
    use std::arch::x86_64::*;
    let factor = _mm512_set1_ps(black_box(0.999));
    let steps = 20_000;
    let seconds = best(|| {
        let mut sums = [_mm512_set1_ps(black_box(1.0)); 24];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, factor);
            }
        }
        black_box(sums);
    });
    (steps * 24 * 32) as f64 / seconds.wall * 1e-9
}

fn report(name: &str, seconds: Seconds, operations: f64) {
    println!(
        "{name:48} {:8.2} ms {:6.0} GFLOP/s, {:8.2} ms {:6.0} GFLOP/s of processor time",
        seconds.wall * 1e3,
        operations / seconds.wall * 1e-9,
        seconds.processor * 1e3,
        operations / seconds.processor * 1e-9,
    );
}

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let threads = rayon::current_num_threads();
    println!("{threads} threads, profile {}", defrost::ops::profile::Profile::current());
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the machine has AVX-512.
        println!("peak {:.0} GFLOP/s a thread", unsafe { peak() });
    }
    for [m, n, k] in [
        [112, 256, 256],
        [112, 256, 1024],
        [112, 64, 64],
        [112, 64, 576],
        [64, 64, 784],
        [16, 256, 2048],
        [224, 512, 512],
        [1024, 1024, 1024],
        [784, 512, 4608],
        [50176, 64, 64],
        [50176, 64, 576],
        [50176, 256, 64],
        [3136, 1024, 256],
        [784, 2048, 512],
    ] {
        let name = format!("gemm {m}x{n}x{k}");
        if !name.contains(&filter) {
            continue;
        }
        let (a, b) = (vec![0.5f32; m * k], vec![0.25f32; k * n]);
        let mut c = vec![0f32; m * n];
        let seconds =
            best(|| gemm(m, n, k, Matrix::row_major(&a, k), Matrix::row_major(&b, n), &mut c, false));
        report(&name, seconds, (2 * m * n * k) as f64);
    }
}
