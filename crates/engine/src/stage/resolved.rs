//! A stage of any kind, resolved and ready to be executed.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Context, Digested, Digester, Evaluate, Found, FoundWeights, InitWeights, Inputs, LoadWeights, Subject,
    Train, View, WeightsFile,
};
use crate::code_path::CodePath;
use crate::data::{Dataset, Split};
use crate::device::explained;
use crate::error::{Error, Result};
use crate::pipeline::Broken;
use crate::weights;

/// What a stage does, with all names resolved, and the files that it reads.
pub enum ResolvedStage<I: Inputs = Found> {
    LoadWeights(Box<LoadWeights>, I::Weights),
    InitWeights(InitWeights),
    Train(Box<Train>, I::Images),
    Evaluate(Box<Evaluate>, I::Images),
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

    pub fn subject(&self) -> &Subject {
        match self {
            Self::LoadWeights(load, _) => &load.subject,
            Self::InitWeights(init) => &init.subject,
            Self::Train(train, _) => &train.subject,
            Self::Evaluate(evaluate, _) => evaluate.subject(),
        }
    }

    /// The models that it computes with.
    pub fn computed(&self) -> Vec<&Subject> {
        match self {
            Self::LoadWeights(..) | Self::InitWeights(_) => Vec::new(),
            Self::Train(train, _) => std::iter::once(&train.subject).chain(&train.teacher).collect(),
            Self::Evaluate(evaluate, _) => evaluate.members.iter().map(|member| &member.subject).collect(),
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
    pub fn view(&self) -> Option<&View> {
        match self {
            Self::LoadWeights(..) | Self::InitWeights(_) => None,
            Self::Train(train, _) => Some(&train.view),
            Self::Evaluate(evaluate, _) => Some(&evaluate.view),
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
        self.view().is_some_and(|view| view.0.broken == Broken::Skip)
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
            Self::LoadWeights(load, weights) => {
                let file = match weights {
                    FoundWeights::Above => None,
                    FoundWeights::Unknown => return Err(unknown()),
                    FoundWeights::File { path, digest } => {
                        let digest = digest.map_or_else(|| digester.file(&path), Ok)?;
                        Some(WeightsFile { path, digest })
                    }
                };
                ResolvedStage::LoadWeights(load, file)
            }
            Self::InitWeights(init) => ResolvedStage::InitWeights(init),
            Self::Train(train, images) => {
                ResolvedStage::Train(train, digester.images(&images.ok_or_else(unknown)?)?)
            }
            Self::Evaluate(evaluate, images) => {
                ResolvedStage::Evaluate(evaluate, digester.images(&images.ok_or_else(unknown)?)?)
            }
        })
    }
}

impl PlannedStage {
    /// The code that can change the result.
    pub fn code_paths(&self) -> Vec<CodePath> {
        match self {
            Self::LoadWeights(..) | Self::InitWeights(_) => weights::code_paths::ALL.to_vec(),
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
            Self::LoadWeights(load, file) => Ok(load.document(file.as_ref())),
            Self::InitWeights(init) => Ok(init.document()),
            Self::Train(train, images) => train.document(images),
            Self::Evaluate(evaluate, images) => evaluate.document(images),
        }
    }

    /// Computes the stage into `context.output` and nothing else.
    pub fn execute(&self, context: &Context) -> Result<()> {
        match self {
            Self::LoadWeights(load, file) => load.execute(file.as_ref(), context),
            Self::InitWeights(init) => init.execute(context),
            Self::Train(train, images) => train.execute(images, context),
            Self::Evaluate(evaluate, images) => evaluate.execute(images, context),
        }
        .map_err(|error| explained(error, context.device))
    }
}
