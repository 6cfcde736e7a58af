//! A stage of any kind, resolved and ready to be executed.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Digested, DigestedWeights, Digester, EvaluateStage, InitWeightsStage, Inputs, LoadWeightsStage, Located,
    LocatedWeights, ModelSpec, Preprocess, StageContext, TrainStage,
};
use crate::code_path::CodePath;
use crate::data::{Dataset, LabelKind, Split};
use crate::device::explain_out_of_memory;
use crate::error::{Error, Result};
use crate::pipeline::Broken;
use crate::weights;

/// What a stage does, with all names resolved, and the files that it reads.
pub enum ResolvedStage<I: Inputs = Located> {
    /// With the images from which batch normalisation is restored, if it is.
    LoadWeights(Box<LoadWeightsStage>, I::Weights, Option<I::Images>),
    InitWeights(InitWeightsStage),
    Train(Box<TrainStage>, I::Images),
    Evaluate(Box<EvaluateStage>, I::Images),
}

/// A stage whose inputs are digested: it has a recipe, and can be executed.
pub type PlannedStage = ResolvedStage<Digested>;

impl<I: Inputs> ResolvedStage<I> {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::LoadWeights(..) => "load_weights",
            Self::InitWeights(_) => "init_weights",
            Self::Train(..) => "train",
            Self::Evaluate(..) => "evaluate",
        }
    }

    /// The tensors that a train stage may not move.
    pub fn frozen(&self) -> Vec<String> {
        match self {
            Self::Train(train, _) => train.frozen(),
            _ => Vec::new(),
        }
    }

    /// How many layers have features that are kept and stay the same in the weights that come out.
    pub fn shared_layers(&self) -> usize {
        match self {
            Self::Train(train, _) => train.shared_layers(),
            _ => 0,
        }
    }

    /// Whether its end depends on how training goes.
    pub fn may_stop_early(&self) -> bool {
        matches!(self, Self::Train(train, _) if train.settings.early_stop.is_some())
    }

    pub fn model_spec(&self) -> &ModelSpec {
        match self {
            Self::LoadWeights(load, ..) => &load.model_spec,
            Self::InitWeights(init) => &init.model_spec,
            Self::Train(train, _) => &train.model_spec,
            Self::Evaluate(evaluate, _) => evaluate.model_spec(),
        }
    }

    /// The models that it computes with.
    pub fn computed_models(&self) -> Vec<&ModelSpec> {
        match self {
            Self::LoadWeights(..) | Self::InitWeights(_) => Vec::new(),
            Self::Train(train, _) => std::iter::once(&train.model_spec).chain(&train.teacher).collect(),
            Self::Evaluate(evaluate, _) => evaluate.members.iter().map(|member| &member.model_spec).collect(),
        }
    }

    /// The images it reads, if any.
    pub fn dataset(&self) -> Option<&Arc<Dataset>> {
        match self {
            Self::LoadWeights(..) | Self::InitWeights(_) => None,
            Self::Train(_, images) | Self::Evaluate(_, images) => I::dataset(images),
        }
    }

    /// How it sees them, if it reads any.
    pub fn preprocess(&self) -> Option<&Preprocess> {
        match self {
            Self::LoadWeights(..) | Self::InitWeights(_) => None,
            Self::Train(train, _) => Some(&train.preprocess),
            Self::Evaluate(evaluate, _) => Some(&evaluate.preprocess),
        }
    }

    /// The parts of the data set that it reads.
    pub fn parts(&self) -> Vec<Split> {
        match self {
            Self::LoadWeights(..) | Self::InitWeights(_) => Vec::new(),
            Self::Train(..) => vec![Split::Train, Split::Validation],
            Self::Evaluate(evaluate, _) => evaluate.parts(),
        }
    }

    /// Whether images that cannot be decoded are left out.
    pub fn skips_broken(&self) -> bool {
        self.preprocess().is_some_and(|view| view.0.broken == Broken::Skip)
    }
}

impl ResolvedStage {
    /// The stage with the digests of all that it reads.
    ///
    /// # Errors
    /// A file cannot be read; a bug where the stage was resolved without looking at the disk.
    pub fn digested(self, digester: &mut dyn Digester) -> Result<PlannedStage> {
        let unknown = || Error::bug("a stage is planned without its inputs");
        Ok(match self {
            Self::LoadWeights(load, weights, images) => {
                let file = match weights {
                    LocatedWeights::Above => None,
                    LocatedWeights::Unknown => return Err(unknown()),
                    LocatedWeights::File { path, digest } => {
                        let digest = digest.map_or_else(|| digester.file(&path), Ok)?;
                        Some(DigestedWeights { path, digest })
                    }
                };
                let images = match images {
                    None => None,
                    Some(found) => Some(digester.images(&found.ok_or_else(unknown)?)?),
                };
                ResolvedStage::LoadWeights(load, file, images)
            }
            Self::InitWeights(init) => ResolvedStage::InitWeights(init),
            Self::Train(train, images) => {
                ResolvedStage::Train(train, digester.images(&images.ok_or_else(unknown)?)?)
            }
            Self::Evaluate(mut evaluate, images) => {
                for subset in &mut evaluate.subsets {
                    subset.digest(digester)?;
                }
                ResolvedStage::Evaluate(evaluate, digester.images(&images.ok_or_else(unknown)?)?)
            }
        })
    }
}

impl PlannedStage {
    /// The code that can change the result.
    pub fn code_paths(&self) -> Vec<CodePath> {
        match self {
            Self::LoadWeights(load, ..) => load.code_paths(),
            Self::InitWeights(_) => weights::code_paths::COMMON.to_vec(),
            Self::Train(train, images) => train.code_paths(images),
            Self::Evaluate(evaluate, images) => evaluate.code_paths(images),
        }
    }

    /// The recipe, but for the stages above, as canonical data.
    ///
    /// # Errors
    /// A bug: an image without a digest.
    pub fn document(&self) -> Result<Value> {
        match self {
            Self::LoadWeights(load, file, images) => load.document(file.as_ref(), images.as_ref()),
            Self::InitWeights(init) => Ok(init.document()),
            Self::Train(train, images) => train.document(images),
            Self::Evaluate(evaluate, images) => evaluate.document(images),
        }
    }

    /// How many ranks can work on the stage at the same time.
    pub fn usable_ranks(&self) -> usize {
        match self {
            Self::Train(train, _) => train.settings.accumulate as usize,
            // Rank 0 measures, and boxes need the geometry of their images.
            Self::Evaluate(_, images) if images.label_kind != LabelKind::Boxes => usize::MAX,
            _ => 1,
        }
    }

    /// Computes the stage into `context.output` and nothing else.
    pub fn execute(&self, context: &StageContext) -> Result<()> {
        match self {
            Self::LoadWeights(load, file, images) => load.execute(file.as_ref(), images.as_ref(), context),
            Self::InitWeights(init) => init.execute(context),
            Self::Train(train, images) => train.execute(images, context),
            Self::Evaluate(evaluate, images) => evaluate.execute(images, context),
        }
        .map_err(|error| explain_out_of_memory(error, context.device))
    }
}
