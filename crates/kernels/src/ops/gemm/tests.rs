//! Every profile against an f64 product and, to the bit, against each other; rows against the same rows
//! elsewhere.

use super::kernel::{Epilogue, Kernel, depth_blocks};
use super::matrix::{Matrix, gemm_on};
use super::output::{Output, RowOffsets};
use super::product::Product;
use super::source::{Packed, Right};
use crate::ops::float::Float;
use crate::ops::profile::Profile;

/// Reproducible numbers around zero.
fn numbers<T: Float>(seed: u64, count: usize) -> Vec<T> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        T::from_f64((state >> 40) as f64 / (1u64 << 23) as f64 - 1.0)
    })
    .take(count)
    .collect()
}

const SHAPES: [[usize; 3]; 16] = [
    [1, 1, 1],
    [1, 1000, 300],
    [14, 32, 16],
    [13, 31, 17],
    [15, 33, 256],
    [29, 17, 257],
    [16, 16, 513],
    [113, 70, 40],
    [225, 257, 3],
    [3, 300, 1031],
    // Strides with which operands are packed, and not read in place.
    [5, 40, 1024],
    [128, 20, 140],
    [6, 8, 31],
    [7, 9, 0],
    [0, 5, 7],
    [5, 0, 7],
];

fn product<T: Float>(
    profile: Profile,
    [m, n, k]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    start: f64,
) -> Vec<T> {
    let mut c = vec![T::from_f64(start); m * n];
    gemm_on(profile, m, n, k, a, b, &mut c, start != 0.0);
    c
}

fn check<T: Float>(tolerance: f64) {
    for [m, n, k] in SHAPES {
        let (a, b) = (numbers::<T>(1, m * k), numbers::<T>(2, k * n));
        let (a, b) = (Matrix::row_major(&a, k), Matrix::row_major(&b, n));
        for start in [0.0, 0.5] {
            let scalar = product(Profile::Scalar, [m, n, k], a, b, start);
            for r in 0..m {
                for c in 0..n {
                    let terms = (0..k).map(|i| a.data[r * k + i].to_f64() * b.data[i * n + c].to_f64());
                    let (exact, size) =
                        terms.fold((start, start), |(sum, size), term| (sum + term, size + term.abs()));
                    let error = (scalar[r * n + c].to_f64() - exact).abs();
                    assert!(error <= tolerance * size.max(1.0), "{m}×{n}×{k} at ({r}, {c}): off by {error}");
                }
            }
            for profile in Profile::supported() {
                assert!(product(profile, [m, n, k], a, b, start) == scalar, "{profile}, {m}×{n}×{k}");
            }
        }
    }
}

#[test]
fn all_profiles_give_the_exact_product_within_rounding_and_the_same_bits() {
    check::<f32>(2e-6);
    check::<f64>(4e-15);
}

#[test]
fn layout_in_memory_does_not_change_a_bit() {
    for [m, n, k] in SHAPES {
        let (a, b) = (numbers::<f32>(1, m * k), numbers::<f32>(2, k * n));
        let spread = |rows: usize, columns: usize, data: &[f32]| -> Vec<f32> {
            let mut spread = vec![f32::NAN; 6 * rows * columns];
            (0..rows * columns).for_each(|i| spread[2 * (i % columns * rows * 3 + i / columns)] = data[i]);
            spread
        };
        let transpose = |rows: usize, columns: usize, data: &[f32]| -> Vec<f32> {
            (0..rows * columns).map(|i| data[i % rows * columns + i / rows]).collect()
        };
        let expected =
            product(Profile::current(), [m, n, k], Matrix::row_major(&a, k), Matrix::row_major(&b, n), 0.0);
        let (at, bt) = (transpose(m, k, &a), transpose(k, n, &b));
        let (a, b) = (spread(m, k, &a), spread(k, n, &b));
        for profile in Profile::supported() {
            let at = Matrix::row_major(&at, m).transposed();
            let bt = Matrix::row_major(&bt, k).transposed();
            assert!(
                product(profile, [m, n, k], at, bt, 0.0) == expected,
                "{profile}, {m}×{n}×{k}, transposed"
            );
            let a = Matrix { data: &a, row_stride: 2, column_stride: 6 * m };
            let b = Matrix { data: &b, row_stride: 2, column_stride: 6 * k };
            assert!(product(profile, [m, n, k], a, b, 0.0) == expected, "{profile}, {m}×{n}×{k}, strided");
        }
    }
}

#[test]
fn a_right_operand_has_the_same_bits_packed_before_or_on_demand_or_in_place() {
    for [m, n, k] in SHAPES {
        let (a, b) = (numbers::<f32>(1, m * k), numbers::<f32>(2, k * (n + 5)));
        let a = Matrix::row_major(&a, k);
        // Rows that are longer than the columns that are used.
        for row_stride in [n, n + 5] {
            let b = Matrix { data: &b, row_stride, column_stride: 1 };
            for profile in Profile::supported() {
                let mut c = vec![0.0; m * n];
                let (left, right) = (&a, Right::Source(&b));
                Product { profile, rows: m, columns: n, depth: k, left, right, epilogue: Epilogue::NONE }
                    .compute(Output::existing(&mut c, RowOffsets::Even { start: 0, stride: n }, false));
                assert!(c == product(profile, [m, n, k], a, b, 0.0), "{profile}, {m}×{n}×{k}");
            }
        }
    }
}

#[test]
fn a_row_is_the_same_alone_anywhere_and_on_any_number_of_threads() {
    let (n, k) = (70, 600);
    let (a, b) = (numbers::<f32>(1, 300 * k), numbers::<f32>(2, k * n));
    for profile in Profile::supported() {
        let rows = |first: usize, count: usize| {
            let a = Matrix::row_major(&a[first * k..(first + count) * k], k);
            product(profile, [count, n, k], a, Matrix::row_major(&b, n), 0.0)
        };
        let all = rows(0, 300);
        for (first, count) in [(0, 1), (17, 1), (17, 30), (111, 3), (250, 50)] {
            assert!(
                rows(first, count) == all[first * n..(first + count) * n],
                "{profile}, {count} from {first}"
            );
        }
        for threads in 1..=3 {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
            assert!(pool.install(|| rows(0, 300)) == all, "{profile}, {threads} threads");
        }
    }
}

#[test]
fn packed_panels_are_written_whole() {
    for (profile, [_, n, k]) in Profile::supported().flat_map(|profile| SHAPES.map(|shape| (profile, shape)))
    {
        let data = numbers::<f32>(3, k * n);
        for b in [Matrix::row_major(&data, n), Matrix::row_major(&data, k).transposed()] {
            let packed = Packed::new(profile, k, n, &b);
            for column in (0..n).step_by(Kernel::<f32>::of(profile).columns) {
                for block in depth_blocks(k) {
                    // SAFETY: in tests, unwritten memory is filled with NaN.
                    let finite =
                        |number: &std::mem::MaybeUninit<f32>| unsafe { number.assume_init() }.is_finite();
                    assert!(packed.panel(block, column).iter().all(finite), "{profile}, {k}×{n}");
                }
            }
        }
    }
}
