//! The kernels of every profile: correct within rounding, with the same bits on all.

use candle_core::Device;

use super::reference::{CASES, computed, error, exact, geometry, numbers};
use crate::ops::Window;
use crate::ops::conv2d::geometry::ConvGeometry;
use crate::ops::float::Float;
use crate::ops::profile::Profile;

fn check<T: Float>(bound: f64) {
    for case in &CASES {
        let geometry = geometry(case);
        let x = numbers::<T>(1, geometry.input_length());
        let weight = numbers::<T>(2, geometry.weight_length());
        let bias = numbers::<T>(3, geometry.channels[1]);
        let gradient = numbers::<T>(4, geometry.output_length());
        let exact = exact(&geometry, &x, &weight, &bias, &gradient);
        let scalar = computed(Profile::Scalar, &geometry, &x, &weight, &bias, &gradient);
        for (name, found, exact) in [
            ("output", &scalar.output, &exact.output),
            ("input gradient", &scalar.x, &exact.x),
            ("weight gradient", &scalar.weight, &exact.weight),
            ("bias gradient", &scalar.bias, &exact.bias),
        ] {
            let error = error(found, exact);
            assert!(error <= bound, "{name} of {case:?} is off by {error:e}");
        }
        for profile in Profile::supported() {
            let other = computed(profile, &geometry, &x, &weight, &bias, &gradient);
            assert!(other.output == scalar.output, "output of {case:?} on {profile}");
            assert!(other.x == scalar.x, "input gradient of {case:?} on {profile}");
            assert!(other.weight == scalar.weight, "weight gradient of {case:?} on {profile}");
            assert!(other.bias == scalar.bias, "bias gradient of {case:?} on {profile}");
        }
    }
}

#[test]
fn all_profiles_give_the_exact_sums_within_rounding_and_the_same_bits() {
    check::<f32>(1e-6);
    check::<f64>(2e-15);
}

#[test]
fn results_depend_on_no_thread_count() {
    let case = (4, [33, 40], [24, 24], 1, [3, 3], [1, 1], [1, 1, 1, 1]);
    for case in [case, (4, [33, 40], [24, 24], 24, [3, 3], [2, 2], [1, 1, 1, 1])] {
        let geometry = geometry(&case);
        let x = numbers::<f32>(1, geometry.input_length());
        let weight = numbers::<f32>(2, geometry.weight_length());
        let gradient = numbers::<f32>(4, geometry.output_length());
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
            let bias = vec![0.0; geometry.channels[1]];
            let results =
                pool.install(|| computed(Profile::current(), &geometry, &x, &weight, &bias, &gradient));
            [results.output, results.x, results.weight, results.bias]
        };
        let one = on(1);
        assert!(on(2) == one && on(3) == one, "{case:?}");
    }
}

#[test]
fn the_error_is_at_most_twice_pytorchs() {
    for name in ["stem", "3x3", "3x3_stride_2", "1x1_stride_2", "grouped", "depthwise"] {
        let path = format!("{}/../../tests/fixtures/ops/conv_{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let fixture = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let window = fixture["window"].to_vec1::<i64>().unwrap();
        let [kernel, stride, padding, groups] = window[..] else { panic!("four numbers") };
        let window = Window {
            kernel: [kernel as usize; 2],
            stride: [stride as usize; 2],
            padding: [padding as usize; 4],
        };
        let (x, weight) = (&fixture["x"], &fixture["weight"]);
        let geometry = ConvGeometry::new(x.dims(), weight.dims(), window, groups as usize).unwrap();
        let floats = |name: &str| fixture[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let [x, weight, bias, gradient] = ["x", "weight", "bias", "grad"].map(floats);
        let bounds = fixture["error"].to_vec1::<f64>().unwrap();
        for profile in Profile::supported() {
            let found = computed(profile, &geometry, &x, &weight, &bias, &gradient);
            let found = [found.output, found.x, found.weight, found.bias];
            let names = ["y", "x_grad", "weight_grad", "bias_grad"];
            for ((of, found), bound) in names.into_iter().zip(found).zip(&bounds) {
                let reference = fixture[of].flatten_all().unwrap().to_vec1::<f64>().unwrap();
                let error = error(&found, &reference);
                assert!(error <= 2.0 * bound, "{of} of {name} on {profile}: {error:e}, PyTorch {bound:e}");
            }
        }
    }
}
