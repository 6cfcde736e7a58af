//! The probabilities of evaluated images, with their labels.

use super::ClassRanking;
use crate::error::{Error, Result};
use crate::metrics::most_likely;

/// Probabilities [N, K], row by row, with the truth of each row.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledProbabilities {
    classes: usize,
    probabilities: Vec<f32>,
    truths: Truths,
}

/// What the images show.
#[derive(Clone, Debug, PartialEq)]
pub enum Truths {
    /// One class each, [N]. The probabilities of a row add up to 1.
    Classes(Vec<u32>),
    /// Any number of labels, [N, K]. Each has a probability of its own.
    Labels(Vec<bool>),
}

impl LabelledProbabilities {
    /// # Errors
    /// The lengths differ, or a class does not exist.
    pub fn new(classes: usize, probabilities: Vec<f32>, truths: Truths) -> Result<Self> {
        let fits = match &truths {
            Truths::Classes(all) => {
                all.len() * classes == probabilities.len()
                    && all.iter().all(|class| (*class as usize) < classes)
            }
            Truths::Labels(all) => all.len() == probabilities.len(),
        };
        if !fits || classes == 0 {
            let scores = probabilities.len();
            return Err(Error::failed(format!(
                "{scores} probabilities do not fit labels of {classes} classes"
            )));
        }
        Ok(Self { classes, probabilities, truths })
    }

    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.probabilities.len() / self.classes
    }

    pub fn is_empty(&self) -> bool {
        self.probabilities.is_empty()
    }

    pub fn truths(&self) -> &Truths {
        &self.truths
    }

    /// The probabilities of an image, [K].
    pub fn row(&self, image: usize) -> &[f32] {
        &self.probabilities[image * self.classes..(image + 1) * self.classes]
    }

    /// Whether an image has a class or label.
    pub fn has(&self, image: usize, class: usize) -> bool {
        match &self.truths {
            Truths::Classes(classes) => classes[image] as usize == class,
            Truths::Labels(labels) => labels[image * self.classes + class],
        }
    }

    /// The images by their probability of one class.
    pub fn ranking(&self, class: usize) -> ClassRanking {
        let images = 0..self.len();
        let (probabilities, truths): (Vec<f32>, Vec<bool>) =
            images.map(|image| (self.row(image)[class], self.has(image, class))).unzip();
        ClassRanking::new(&probabilities, &truths)
    }

    /// The most likely class of an image, the first of equals.
    pub fn most_likely(&self, image: usize) -> usize {
        most_likely(self.row(image))
    }

    /// The same truths with other probabilities.
    pub(super) fn with(&self, probabilities: Vec<f32>) -> Self {
        Self { classes: self.classes, probabilities, truths: self.truths.clone() }
    }
}
