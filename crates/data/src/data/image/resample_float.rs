//! The two passes of resizing in floats, for pixels of any depth and number of channels.

use super::resample::Filter;

/// Scales rows to another width, then columns to another height. `samples` has `width` pixels per row.
pub fn resample(
    samples: &[f32],
    (width, channels): (usize, usize),
    across: &Filter<f64>,
    down: &Filter<f64>,
) -> Vec<f32> {
    let mut rows = Vec::new();
    for row in samples.chunks_exact(width * channels) {
        for (start, weights) in across.taps() {
            for channel in 0..channels {
                let values = row[start * channels + channel..].iter().step_by(channels);
                rows.push(weighted(values, weights));
            }
        }
    }
    let stride = across.len() * channels;
    let mut out = Vec::new();
    for (start, weights) in down.taps() {
        for place in 0..stride {
            out.push(weighted(rows[start * stride + place..].iter().step_by(stride), weights));
        }
    }
    out
}

fn weighted<'a>(values: impl Iterator<Item = &'a f32>, weights: &[f64]) -> f32 {
    values.zip(weights).map(|(value, weight)| f64::from(*value) * weight).sum::<f64>() as f32
}
