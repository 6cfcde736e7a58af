//! The targets of classification: a class for each row, or two if images were mixed.

use std::borrow::Cow;

use crate::ops::Mixture;
use crate::task::Annotations;
use crate::task::annotations::mixed_in;

/// The targets of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassTargets {
    /// The class of each row.
    Classes(Vec<u32>),
    /// Two classes and their weights for each row, for mixed images (mixup, CutMix).
    Mixtures(Vec<Mixture>),
}

impl ClassTargets {
    pub fn of(annotations: &Annotations) -> Self {
        let classes: Vec<u32> =
            annotations.samples.iter().filter_map(|sample| sample.label.class()).collect();
        let Some(shares) = &annotations.shares else { return Self::Classes(classes) };
        let mixture = |((row, other), &share): ((usize, usize), &f64)| Mixture {
            classes: [classes[row], classes[other]],
            share,
        };
        Self::Mixtures(mixed_in(classes.len()).enumerate().zip(shares).map(mixture).collect())
    }

    pub fn rows(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Mixtures(mixtures) => mixtures.len(),
        }
    }

    /// The targets of the first `rows` rows.
    pub fn first(&self, rows: usize) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(classes[..rows].to_vec()),
            Self::Mixtures(mixtures) => Self::Mixtures(mixtures[..rows].to_vec()),
        }
    }

    /// The class of each row; for a mixture, the one with the greater weight.
    pub fn labels(&self) -> Cow<'_, [u32]> {
        match self {
            Self::Classes(classes) => Cow::Borrowed(classes),
            Self::Mixtures(mixtures) => mixtures.iter().map(Mixture::majority).collect(),
        }
    }

    /// All rows as mixtures.
    pub fn mixtures(&self) -> Cow<'_, [Mixture]> {
        match self {
            Self::Mixtures(mixtures) => Cow::Borrowed(mixtures),
            Self::Classes(classes) => classes.iter().copied().map(Mixture::single).collect(),
        }
    }
}
