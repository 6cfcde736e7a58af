//! Whether probabilities are as high as the shares of images for which they come true.
//!
//! Expected calibration error and temperature scaling: Guo, Pleiss, Sun, Weinberger, *On Calibration of Modern Neural
//! Networks* (ICML 2017), §2 and §4.2. Brier score: Brier 1950.

use serde::{Deserialize, Serialize};

use super::{LabelledProbabilities, Truths};

/// Bins of equal width between 0 and 1.
const BINS: usize = 15;

/// The smallest probability whose logarithm is used: smaller ones have lost their digits.
const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

/// The largest factor of logarithms that is tried, and the inverse of the smallest.
const LARGEST_FACTOR: f64 = 100.0;

/// How well probabilities are calibrated. With one class per image, an image counts by the probability of its most likely
/// class, and whether that is correct. With several labels, each label of each image counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The expected calibration error: the mean distance of probability and frequency over the bins, by their counts.
    pub ece: f64,
    /// The mean squared distance of probabilities and truths: with one class per image, summed over the classes.
    pub brier: f64,
    /// The mean negative logarithm of the probability of the truth.
    pub log_loss: f64,
    /// Those with at least one count, ascending.
    pub reliability: Vec<ReliabilityBin>,
}

/// The probabilities in a part of the range from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Above it, except for the first bin, which has 0.
    pub low: f64,
    /// Up to it.
    pub high: f64,
    pub count: u64,
    /// The mean probability.
    pub confidence: f64,
    /// The share for which the probability came true.
    pub frequency: f64,
}

impl Calibration {
    pub fn of(images: &LabelledProbabilities) -> Self {
        let mut sums = [(0u64, 0.0, 0u64); BINS];
        let mut count = |probability: f32, is_true: bool| {
            let place = libm::ceil(f64::from(probability) * BINS as f64) as usize;
            let (counted, confidence, hits) = &mut sums[place.clamp(1, BINS) - 1];
            *counted += 1;
            *confidence += f64::from(probability);
            *hits += u64::from(is_true);
        };
        let (mut squares, mut losses) = (0.0, 0.0);
        for image in 0..images.len() {
            let row = images.row(image);
            for (class, probability) in row.iter().enumerate() {
                let is_true = images.has(image, class);
                let error = f64::from(*probability) - f64::from(u8::from(is_true));
                squares += error * error;
                match images.truths() {
                    Truths::Classes(_) if is_true => losses -= logarithm(f64::from(*probability)),
                    Truths::Classes(_) => {}
                    Truths::Labels(_) => {
                        count(*probability, is_true);
                        let p = f64::from(*probability);
                        losses -= logarithm(if is_true { p } else { 1.0 - p });
                    }
                }
            }
            if let Truths::Classes(_) = images.truths() {
                let class = images.most_likely(image);
                count(row[class], images.has(image, class));
            }
        }
        let total = match images.truths() {
            Truths::Classes(_) => images.len(),
            Truths::Labels(_) => images.len() * images.classes(),
        };
        let total = total.max(1) as f64;
        let bin = |(place, &(count, confidence, hits)): (usize, &(u64, f64, u64))| ReliabilityBin {
            low: place as f64 / BINS as f64,
            high: (place + 1) as f64 / BINS as f64,
            count,
            confidence: confidence / count as f64,
            frequency: hits as f64 / count as f64,
        };
        let filled = sums.iter().enumerate().filter(|(_, (count, ..))| *count > 0);
        let reliability: Vec<ReliabilityBin> = filled.map(bin).collect();
        let distance = |bin: &ReliabilityBin| bin.count as f64 * (bin.frequency - bin.confidence).abs();
        Self {
            ece: reliability.iter().map(distance).sum::<f64>() / total,
            brier: squares / total,
            log_loss: losses / total,
            reliability,
        }
    }
}

/// The temperature T by which logits are divided so that the negative log-likelihood of `images` is smallest.
///
/// The loss is convex in 1/T, so its derivative has one root. It is sought between T = 0.01 and T = 100.
pub fn fit_temperature(images: &LabelledProbabilities) -> f64 {
    let logits: Vec<Vec<f64>> = (0..images.len()).map(|image| logits(images, image)).collect();
    let slope = |factor: f64| -> f64 {
        (0..images.len()).map(|image| slope_of(&logits[image], factor, images, image)).sum()
    };
    let (mut low, mut high) = (1.0 / LARGEST_FACTOR, LARGEST_FACTOR);
    // The slope rises with the factor.
    for _ in 0..100 {
        let middle = (low * high).sqrt();
        match slope(middle) > 0.0 {
            true => high = middle,
            false => low = middle,
        }
    }
    1.0 / (low * high).sqrt()
}

impl LabelledProbabilities {
    /// The probabilities of logits that are divided by `temperature`.
    pub fn tempered(&self, temperature: f64) -> Self {
        let row = |image| tempered(&logits(self, image), temperature, self.truths());
        self.with((0..self.len()).flat_map(row).collect())
    }
}

/// Logits of which the probabilities of an image are the softmax, or the sigmoids.
fn logits(images: &LabelledProbabilities, image: usize) -> Vec<f64> {
    images.row(image).iter().map(|&p| logit(f64::from(p), images.truths())).collect()
}

fn logit(p: f64, truths: &Truths) -> f64 {
    match truths {
        Truths::Classes(_) => logarithm(p),
        // A probability of 1 in f32 is at least this far from it.
        Truths::Labels(_) => logarithm(p) - logarithm((1.0 - p).max(f64::from(f32::EPSILON) / 4.0)),
    }
}

fn tempered(logits: &[f64], temperature: f64, truths: &Truths) -> Vec<f32> {
    match truths {
        Truths::Classes(_) => softmax(logits, 1.0 / temperature).iter().map(|p| *p as f32).collect(),
        Truths::Labels(_) => logits.iter().map(|z| sigmoid(z / temperature) as f32).collect(),
    }
}

/// The derivative of an image's loss by the factor of its logits.
fn slope_of(logits: &[f64], factor: f64, images: &LabelledProbabilities, image: usize) -> f64 {
    match images.truths() {
        Truths::Classes(classes) => {
            let expected: f64 =
                softmax(logits, factor).iter().zip(logits).map(|(share, logit)| share * logit).sum();
            expected - logits[classes[image] as usize]
        }
        Truths::Labels(_) => {
            let slope = |(class, z): (usize, &f64)| {
                z * (sigmoid(factor * z) - f64::from(u8::from(images.has(image, class))))
            };
            logits.iter().enumerate().map(slope).sum()
        }
    }
}

fn softmax(logits: &[f64], factor: f64) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shares: Vec<f64> = logits.iter().map(|logit| libm::exp(factor * (logit - largest))).collect();
    let sum: f64 = shares.iter().sum();
    shares.iter().map(|share| share / sum).collect()
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-z))
}

fn logarithm(p: f64) -> f64 {
    libm::log(p.max(SMALLEST))
}
