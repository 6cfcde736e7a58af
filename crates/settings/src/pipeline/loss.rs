//! The loss of a train stage: one file for each loss's settings.
//!
//! It reads settings and computes nothing: the losses themselves are operations.

mod arcface;
mod bce;
mod cosface;
mod cross_entropy;
mod detection;
mod focal;
mod nt_xent;
mod supcon;
mod triplet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use arcface::Arcface;
pub use bce::Bce;
pub use cosface::Cosface;
pub use cross_entropy::CrossEntropy;
pub use detection::{DetectionLoss, Reduction};
pub use focal::Focal;
pub use nt_xent::NtXent;
pub use supcon::Supcon;
pub use triplet::Triplet;

use super::class_weights::ClassWeights;
use super::label_kind::LabelKind;

/// The loss of a train stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Loss {
    CrossEntropy(CrossEntropy),
    Focal(Focal),
    Arcface(Arcface),
    Cosface(Cosface),
    Bce(Bce),
    Detection(DetectionLoss),
    NtXent(NtXent),
    Triplet(Triplet),
    Supcon(Supcon),
}

impl Default for Loss {
    fn default() -> Self {
        Self::CrossEntropy(CrossEntropy { label_smoothing: 0.0, class_weights: None })
    }
}

/// The settings of one loss, as the rest of the program reads them.
pub trait LossSettings {
    /// The weights of its parts, if not all the same.
    fn weights(&self) -> Option<LossWeights<'_>>;

    /// The annotations that it learns from.
    fn label_kind(&self) -> LabelKind {
        LabelKind::Class
    }

    /// Whether it adds a margin to cosines, which only an embedding head computes.
    fn needs_cosines(&self) -> bool {
        false
    }

    /// Whether it compares two views of each image, and takes no annotations.
    fn compares_views(&self) -> bool {
        false
    }

    /// Whether it compares the embeddings of a batch by class, and takes no class scores.
    fn compares_embeddings(&self) -> bool {
        false
    }
}

/// The weights that a loss takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LossWeights<'a> {
    /// Of each class; the mean is by them.
    OfClasses(&'a ClassWeights),
    /// Of the images with a label, where one without counts 1.
    OfPositives(&'a ClassWeights),
}

impl<'a> LossWeights<'a> {
    /// The setting that has them.
    pub fn key(self) -> &'static str {
        match self {
            Self::OfClasses(_) => "class_weights",
            Self::OfPositives(_) => "positive_weights",
        }
    }

    pub fn values(self) -> &'a ClassWeights {
        let (Self::OfClasses(weights) | Self::OfPositives(weights)) = self;
        weights
    }
}

impl Loss {
    pub fn settings(&self) -> &dyn LossSettings {
        match self {
            Self::CrossEntropy(settings) => settings,
            Self::Focal(settings) => settings,
            Self::Arcface(settings) => settings,
            Self::Cosface(settings) => settings,
            Self::Bce(settings) => settings,
            Self::Detection(settings) => settings,
            Self::NtXent(settings) => settings,
            Self::Triplet(settings) => settings,
            Self::Supcon(settings) => settings,
        }
    }

    /// The class weights, if there are any.
    pub fn class_weights(&self) -> Option<&ClassWeights> {
        match self.settings().weights() {
            Some(LossWeights::OfClasses(weights)) => Some(weights),
            Some(LossWeights::OfPositives(_)) | None => None,
        }
    }

    /// Whether it compares two views of each image, and takes no annotations.
    pub fn compares_views(&self) -> bool {
        self.settings().compares_views()
    }

    /// Whether it compares the embeddings of a batch by class, and takes no class scores.
    pub fn compares_embeddings(&self) -> bool {
        self.settings().compares_embeddings()
    }

    /// The annotations that it learns from.
    pub fn label_kind(&self) -> LabelKind {
        self.settings().label_kind()
    }

    /// Whether it adds a margin to cosines, which only an embedding head computes.
    pub fn needs_cosines(&self) -> bool {
        self.settings().needs_cosines()
    }
}
