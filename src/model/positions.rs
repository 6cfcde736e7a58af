//! Position embeddings for another number of patches, as facebookresearch's DINOv2 makes them: bicubic, by PyTorch's
//! `interpolate` with the scale factor that its `interpolate_pos_encoding` gives.

use candle_core::{DType, Tensor};

use crate::error::Result;

/// Keys' parameter as PyTorch has it (Keys 1981; `get_cubic_upsample_coefficients` in ATen's `UpSample.h`).
const A: f64 = -0.75;

/// Added to the number of patches before the scale is taken, which tells it from the plain ratio: the "historical kludge"
/// that the published features were made with.
const OFFSET: f64 = 0.1;

/// For a class token and `grid` patches, high and wide, from `positions` [1, 1 + side², C]: [1, 1 + height · width, C].
pub(super) fn resized(positions: &Tensor, side: usize, grid: [usize; 2]) -> Result<Tensor> {
    if grid == [side, side] {
        return Ok(positions.clone());
    }
    let (_, _, channels) = positions.dims3()?;
    let numbers: Vec<f64> = positions.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    let (class_token, patches) = numbers.split_at(channels);
    let [rows, columns] =
        grid.map(|count| (0..count).map(|place| taps(place, count, side)).collect::<Vec<_>>());
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
    Ok(Tensor::from_vec(result, shape, positions.device())?.to_dtype(positions.dtype())?)
}

/// The four places of `side` that make place `place` of `count`, and their weights.
fn taps(place: usize, count: usize, side: usize) -> [(usize, f64); 4] {
    let scale = side as f64 / (count as f64 + OFFSET);
    let centre = (place as f64 + 0.5) * scale - 0.5;
    let first = centre.floor();
    let t = centre - first;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
    let tap = |index: usize| {
        let place = first + index as f64 - 1.0;
        (place.clamp(0.0, (side - 1) as f64) as usize, weights[index])
    };
    [tap(0), tap(1), tap(2), tap(3)]
}
