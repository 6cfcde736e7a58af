//! The targets of multi-label classification: 0 or 1 for each label, or a fraction if images were mixed.

use crate::task::Annotations;
use crate::task::annotations::mixed_in;

/// The value of each label for each row, [N, K] in row-major order: 1 or 0, or a fraction if images were mixed.
pub fn of(annotations: &Annotations, labels: usize) -> Vec<f32> {
    let samples = &annotations.samples;
    let mut shown = vec![0.0; labels * samples.len()];
    for (row, sample) in shown.chunks_exact_mut(labels).zip(samples) {
        sample.label.classes().iter().for_each(|label| row[*label as usize] = 1.0);
    }
    match &annotations.shares {
        Some(shares) => mixed(&shown, labels, shares),
        None => shown,
    }
}

fn mixed(shown: &[f32], labels: usize, shares: &[f64]) -> Vec<f32> {
    let of = |row: usize| &shown[row * labels..][..labels];
    let row = |((row, other), share): ((usize, usize), &f64)| {
        let (share, rest) = (*share as f32, (1.0 - share) as f32);
        of(row).iter().zip(of(other)).map(move |(own, other)| own * share + other * rest)
    };
    mixed_in(shares.len()).enumerate().zip(shares).flat_map(row).collect()
}
