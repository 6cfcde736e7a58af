//! Resamples position embeddings for another number of patches than in pretraining, as PyTorch's bicubic
//! `interpolate` does.
//!
//! Published code of DINOv2 calls it in three ways with different features: [`PositionResampling`] names them.

use candle_core::{Device, Tensor};

use crate::device::{to_device, to_host};
use crate::error::Result;
use crate::pipeline::PositionResampling;

/// Keys' parameter in PyTorch (Keys 1981; `get_cubic_upsample_coefficients` in ATen's `UpSample.h`).
const A: f64 = -0.75;

/// The same with antialiasing, as in Pillow (`aa_filter` of `HelperInterpCubic` in ATen's `UpSampleKernel.cpp`).
const A_ANTIALIASED: f64 = -0.5;

/// The radius of the cubic, in source positions.
const REACH: f64 = 2.0;

/// Added to the number of patches before the scale is computed, so that it differs from the plain ratio: the
/// "historical kludge" of the published features.
const OFFSET: f64 = 0.1;

/// Positions for a class token and `grid` patches (height, width), from `positions` [1, 1 + side², C]: [1, 1 +
/// height · width, C].
pub(super) fn resized(
    positions: &Tensor,
    side: usize,
    grid: [usize; 2],
    resampling: PositionResampling,
) -> Result<Tensor> {
    if grid == [side, side] {
        return Ok(positions.clone());
    }
    let (_, _, channels) = positions.dims3()?;
    let numbers: Vec<f64> = to_host(positions)?.flatten_all()?.to_vec1()?;
    let (class_token, patches) = numbers.split_at(channels);
    let [rows, columns] =
        grid.map(|count| (0..count).map(|place| taps(place, count, side, resampling)).collect::<Vec<_>>());
    let mut result = class_token.to_vec();
    for row in &rows {
        for column in &columns {
            let mut sum = vec![0.0; channels];
            for (y, down) in row {
                for (x, across) in column {
                    let patch = &patches[(y * side + x) * channels..][..channels];
                    sum.iter_mut().zip(patch).for_each(|(sum, number)| *sum += down * across * number);
                }
            }
            result.extend(sum);
        }
    }
    let shape = (1, 1 + grid[0] * grid[1], channels);
    let result = Tensor::from_vec(result, shape, &Device::Cpu)?.to_dtype(positions.dtype())?;
    to_device(&result, positions.device())
}

/// The source positions of `side`, with weights, for position `place` of `count`.
fn taps(place: usize, count: usize, side: usize, resampling: PositionResampling) -> Vec<(usize, f64)> {
    match resampling {
        PositionResampling::ScaleFactor => four_taps(place, side as f64 / (count as f64 + OFFSET), side),
        PositionResampling::Size => four_taps(place, side as f64 / count as f64, side),
        PositionResampling::Antialias => antialiased_taps(place, side as f64 / count as f64, side),
    }
}

/// With `scale` source positions per result position. Beyond the border, the border is repeated.
fn four_taps(place: usize, scale: f64, side: usize) -> Vec<(usize, f64)> {
    let centre = (place as f64 + 0.5) * scale - 0.5;
    let first = centre.floor();
    let t = centre - first;
    let weights = [far(A, t + 1.0), near(A, t), near(A, 1.0 - t), far(A, 2.0 - t)];
    let tap = |(index, weight): (usize, f64)| {
        let place = first + index as f64 - 1.0;
        (place.clamp(0.0, (side - 1) as f64) as usize, weight)
    };
    weights.into_iter().enumerate().map(tap).collect()
}

/// The cubic is stretched to the source positions of one result position; beyond the border there is nothing.
fn antialiased_taps(place: usize, scale: f64, side: usize) -> Vec<(usize, f64)> {
    let (centre, wide) = (scale * (place as f64 + 0.5), scale.max(1.0));
    let first = (centre - REACH * wide + 0.5).max(0.0) as usize;
    let end = ((centre + REACH * wide + 0.5) as usize).min(side);
    let weight = |place: usize| match ((place as f64 - centre + 0.5) / wide).abs() {
        x if x < 1.0 => near(A_ANTIALIASED, x),
        x if x < REACH => far(A_ANTIALIASED, x),
        _ => 0.0,
    };
    let total: f64 = (first..end).map(weight).sum();
    (first..end).map(|place| (place, weight(place) / total)).collect()
}

/// The cubic up to a distance of 1.
fn near(a: f64, x: f64) -> f64 {
    ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
}

/// From 1 to 2.
fn far(a: f64, x: f64) -> f64 {
    ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::ops::testing::numbers;

    fn list(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    }

    /// The variants of published code, from `tests/fixtures/model/make_positions.py`.
    #[test]
    fn pytorch_agrees_in_each_way() {
        let fixture: Value =
            serde_json::from_str(include_str!("../../../../tests/fixtures/model/positions.json")).unwrap();
        let (side, channels) = (fixture["side"].as_u64().unwrap() as usize, 2);
        let positions =
            Tensor::from_vec(list(&fixture["positions"]), (1, 1 + side * side, channels), &Device::Cpu);
        let positions = positions.unwrap();
        let ways = [
            ("scale_factor", PositionResampling::ScaleFactor),
            ("size", PositionResampling::Size),
            ("antialias", PositionResampling::Antialias),
        ];
        for case in fixture["cases"].as_array().unwrap() {
            let grid = [0, 1].map(|axis| case["grid"][axis].as_u64().unwrap() as usize);
            for (name, way) in ways {
                let found = numbers(&resized(&positions, side, grid, way).unwrap());
                let expected = list(&case[name]);
                assert_eq!(found.len(), expected.len());
                let apart = found.iter().zip(&expected).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
                assert!(apart < 1e-12, "{name} to {grid:?}: {apart:e}");
            }
            let [one, other] = [ways[0], ways[1]].map(|(name, _)| list(&case[name]));
            assert!(one != other, "the ways differ");
        }
        let same = resized(&positions, side, [side, side], PositionResampling::Antialias).unwrap();
        assert_eq!(numbers(&same), numbers(&positions));
    }
}
