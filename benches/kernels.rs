//! The speed of the kernels compared with the machine's peak: `cargo bench --bench kernels [LAYER [PASS]]`.
//!
//! Each line is the best of several runs, to reduce the effect of other load. Nothing is asserted.

use std::hint::black_box;
use std::time::Instant;

use candle_core::{Device, Tensor};
use defrost::autograd::{Tape, Value};
use defrost::ops::conv2d::{FoldedConv, conv2d};
use defrost::ops::{Activation, Window};

#[global_allocator]
static ALLOCATOR: defrost::memory::CachingAllocator = defrost::memory::CachingAllocator::new();

/// Wall-clock and processor seconds; the latter are more reliable on a loaded machine.
#[derive(Clone, Copy)]
struct Seconds {
    wall: f64,
    processor: f64,
}

/// The minimum of several timings.
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

/// The maximum fused multiply-adds per thread, in GFLOP/s, from independent chains in registers.
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

/// Name, input side, channels in and out, kernel, stride, groups, and the number of such layers in ResNet-50.
type Layer = (&'static str, usize, [usize; 2], usize, usize, usize, usize);

/// The convolutions of ResNet-50 at 224 × 224.
const RESNET50: [Layer; 20] = [
    ("stem 7×7/2", 224, [3, 64], 7, 2, 1, 1),
    ("layer1 1×1", 56, [64, 64], 1, 1, 1, 1),
    ("layer1 3×3", 56, [64, 64], 3, 1, 1, 3),
    ("layer1 1×1 out", 56, [64, 256], 1, 1, 1, 4),
    ("layer1 1×1 in", 56, [256, 64], 1, 1, 1, 2),
    ("layer2 1×1 first", 56, [256, 128], 1, 1, 1, 1),
    ("layer2 3×3/2", 56, [128, 128], 3, 2, 1, 1),
    ("layer2 1×1/2", 56, [256, 512], 1, 2, 1, 1),
    ("layer2 1×1 out", 28, [128, 512], 1, 1, 1, 4),
    ("layer2 1×1 in", 28, [512, 128], 1, 1, 1, 3),
    ("layer2 3×3", 28, [128, 128], 3, 1, 1, 3),
    ("layer3 1×1 first", 28, [512, 256], 1, 1, 1, 1),
    ("layer3 3×3/2", 28, [256, 256], 3, 2, 1, 1),
    ("layer3 1×1/2", 28, [512, 1024], 1, 2, 1, 1),
    ("layer3 1×1 out", 14, [256, 1024], 1, 1, 1, 6),
    ("layer3 1×1 in", 14, [1024, 256], 1, 1, 1, 5),
    ("layer3 3×3", 14, [256, 256], 3, 1, 1, 5),
    ("layer4 3×3", 7, [512, 512], 3, 1, 1, 2),
    ("layer4 1×1 out", 7, [512, 2048], 1, 1, 1, 3),
    ("layer4 1×1 in", 7, [2048, 512], 1, 1, 1, 2),
];

/// Convolutions of YOLO11n at 320 × 320: few channels.
const YOLO11N: [Layer; 10] = [
    ("yolo 3×3/2", 160, [16, 32], 3, 2, 1, 1),
    ("yolo 1×1", 80, [32, 32], 1, 1, 1, 1),
    ("yolo 3×3", 80, [16, 8], 3, 1, 1, 1),
    ("yolo 1×1", 80, [48, 64], 1, 1, 1, 1),
    ("yolo 3×3/2", 80, [64, 64], 3, 2, 1, 1),
    ("yolo 1×1", 40, [64, 64], 1, 1, 1, 1),
    ("yolo 1×1", 40, [96, 128], 1, 1, 1, 1),
    ("yolo 3×3", 40, [64, 64], 3, 1, 1, 1),
    ("yolo 1×1", 20, [384, 128], 1, 1, 1, 1),
    ("yolo 1×1", 10, [256, 256], 1, 1, 1, 1),
];

/// Depthwise convolutions of EfficientNet-Lite0 at 224 × 224.
const DEPTHWISE: [Layer; 5] = [
    ("depthwise 3×3", 112, [32, 32], 3, 1, 32, 1),
    ("depthwise 3×3/2", 112, [96, 96], 3, 2, 96, 1),
    ("depthwise 5×5/2", 56, [144, 144], 5, 2, 144, 1),
    ("depthwise 3×3 of 480", 14, [480, 480], 3, 1, 480, 1),
    ("depthwise 5×5 of 672", 14, [672, 672], 5, 1, 672, 1),
];

const BATCH: usize = 16;

/// Times one convolution: forward, input gradient, weight gradient. Returns the best wall times.
fn convolution(&(name, side, [inputs, outputs], kernel, stride, groups, _): &Layer, pass: &str) -> [f64; 3] {
    let window = Window { kernel: [kernel; 2], stride: [stride; 2], padding: [kernel / 2; 4] };
    let ones = |shape: [usize; 4]| Tensor::full(0.5f32, &shape, &Device::Cpu).expect("memory suffices");
    let x = ones([BATCH, side, side, inputs]);
    let weight = ones([outputs, inputs / groups, kernel, kernel]);
    let out = (side - 1) / stride + 1;
    let work = (2 * BATCH * out * out * outputs * inputs / groups * kernel * kernel) as f64;
    let bytes = (4 * BATCH * (side * side * inputs + out * out * outputs)) as f64;
    let run = |x_wanted: bool, weight_wanted: bool| {
        let mut tape = Tape::new();
        let x = if x_wanted { tape.leaf(x.clone()) } else { Value::constant(x.clone()) };
        let weight = if weight_wanted { tape.leaf(weight.clone()) } else { Value::constant(weight.clone()) };
        let y = conv2d(&mut tape, &x, &weight, None, window, groups).expect("shapes fit");
        (tape, y)
    };
    // The backward pass alone: the time to create its starting gradient is subtracted.
    let output = run(false, false).1;
    let ones = best(|| drop(output.tensor().ones_like().expect("memory suffices")));
    let backward = |x, weight| {
        let mut least = Seconds { wall: f64::INFINITY, processor: f64::INFINITY };
        let started = Instant::now();
        for run_index in 0.. {
            let (tape, y) = run(x, weight);
            let (wall, processor) = (Instant::now(), processor_seconds());
            black_box(tape.backward(&y).expect("shapes fit"));
            least.wall = least.wall.min(wall.elapsed().as_secs_f64());
            least.processor = least.processor.min(processor_seconds() - processor);
            if run_index >= 3 && started.elapsed().as_secs_f64() > 0.6 {
                break;
            }
        }
        Seconds { wall: least.wall - ones.wall, processor: least.processor - ones.processor }
    };
    let passes: [(&str, &dyn Fn() -> Seconds); 3] = [
        ("forward", &|| best(|| drop(run(false, false)))),
        ("input", &|| backward(true, false)),
        ("weight", &|| backward(false, true)),
    ];
    passes.map(|(name_of_pass, time)| {
        if !name_of_pass.contains(pass) {
            return 0.0;
        }
        let seconds = time();
        let name = format!("{name} {side}² {inputs}→{outputs}, {name_of_pass}");
        if groups > 1 {
            println!("{name:48} {:8.2} ms {:6.1} GB/s", seconds.wall * 1e3, bytes / seconds.wall * 1e-9);
        } else {
            report(&name, seconds, work);
        }
        seconds.wall
    })
}

fn main() {
    let mut filters = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let (filter, pass) = (filters.next().unwrap_or_default(), filters.next().unwrap_or_default());
    let threads = rayon::current_num_threads();
    println!("{threads} threads, profile {}", defrost::ops::profile::Profile::current());
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the machine has AVX-512.
        println!("peak {:.0} GFLOP/s a thread", unsafe { peak() });
    }
    // Products that fit into the caches: the limit of the register kernels.
    for [m, n, k] in [[112, 256, 256], [112, 256, 1024], [112, 64, 64], [112, 64, 576], [1, 1000, 2048]] {
        let name = format!("product {m}×{n}×{k}, packed");
        if name.contains(&filter) {
            let tensor =
                |shape: &[usize]| Tensor::full(0.5f32, shape, &Device::Cpu).expect("memory suffices");
            let window = Window { kernel: [1; 2], stride: [1; 2], padding: [0; 4] };
            let conv = FoldedConv::new(&tensor(&[n, k, 1, 1]), None, None, window, 1).expect("shapes fit");
            let x = tensor(&[1, 1, m, k]);
            let seconds = best(|| drop(conv.forward(&x, Activation::None, None).expect("shapes fit")));
            report(&name, seconds, (2 * m * n * k) as f64);
        }
    }
    let mut total = [0.0; 3];
    let mut operations = 0.0;
    for layer in RESNET50.iter().filter(|layer| layer.0.contains(&filter)) {
        let times = convolution(layer, &pass);
        let &(_, side, [inputs, outputs], kernel, stride, _, count) = layer;
        let out = (side - 1) / stride + 1;
        operations += (count * 2 * BATCH * out * out * outputs * inputs * kernel * kernel) as f64;
        for (total, seconds) in total.iter_mut().zip(times) {
            *total += count as f64 * seconds;
        }
    }
    for (pass, seconds) in ["forward", "input gradient", "weight gradient"].iter().zip(total) {
        let speed = operations / seconds * 1e-9;
        println!("ResNet-50, batch {BATCH}, all {pass}: {:.0} ms, {speed:.0} GFLOP/s", seconds * 1e3);
    }
    for layer in YOLO11N.iter().chain(&DEPTHWISE).filter(|layer| layer.0.contains(&filter)) {
        convolution(layer, &pass);
    }
}
