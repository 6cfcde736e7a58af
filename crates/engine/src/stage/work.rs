//! A stage of any kind, resolved and ready to be executed.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Context, Evaluate, InitWeights, LoadWeights, Subject, Train, View};
use crate::code_path::CodePath;
use crate::data::{Dataset, Split};
use crate::device::explained;
use crate::error::Result;
use crate::pipeline::Broken;
use crate::weights;

/// What a stage does, with everything it needs named.
pub enum Work {
    LoadWeights(Box<LoadWeights>),
    InitWeights(InitWeights),
    Train(Box<Train>),
    Evaluate(Box<Evaluate>),
}

impl Work {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::LoadWeights(_) => "load_weights",
            Self::InitWeights(_) => "init_weights",
            Self::Train(_) => "train",
            Self::Evaluate(_) => "evaluate",
        }
    }

    /// The tensors that a train stage may not move.
    pub fn frozen(&self) -> Vec<String> {
        match self {
            Self::Train(work) => work.frozen(),
            _ => Vec::new(),
        }
    }

    /// How many layers have features that are kept and stay the same in the weights that come out.
    pub fn shared_layers(&self) -> usize {
        match self {
            Self::Train(work) => work.shared_layers(),
            _ => 0,
        }
    }

    /// Whether its end depends on how training goes.
    pub fn may_stop_early(&self) -> bool {
        matches!(self, Self::Train(work) if work.settings.early_stop.is_some())
    }

    pub fn subject(&self) -> &Subject {
        match self {
            Self::LoadWeights(work) => &work.subject,
            Self::InitWeights(work) => &work.subject,
            Self::Train(work) => &work.subject,
            Self::Evaluate(work) => work.subject(),
        }
    }

    /// The models that it computes with.
    pub fn computed(&self) -> Vec<&Subject> {
        match self {
            Self::LoadWeights(_) | Self::InitWeights(_) => Vec::new(),
            Self::Train(work) => std::iter::once(&work.subject).chain(&work.teacher).collect(),
            Self::Evaluate(work) => work.members.iter().map(|member| &member.subject).collect(),
        }
    }

    /// The images it reads, if any.
    pub fn dataset(&self) -> Option<&Arc<Dataset>> {
        match self {
            Self::LoadWeights(_) | Self::InitWeights(_) => None,
            Self::Train(work) => work.dataset.as_ref(),
            Self::Evaluate(work) => work.dataset.as_ref(),
        }
    }

    /// How it sees them, if it reads any.
    pub fn view(&self) -> Option<&View> {
        match self {
            Self::LoadWeights(_) | Self::InitWeights(_) => None,
            Self::Train(work) => Some(&work.view),
            Self::Evaluate(work) => Some(&work.view),
        }
    }

    /// The parts of the data set that it reads.
    pub fn parts(&self) -> Vec<Split> {
        match self {
            Self::LoadWeights(_) | Self::InitWeights(_) => Vec::new(),
            Self::Train(_) => vec![Split::Train, Split::Validation],
            Self::Evaluate(work) => work.parts(),
        }
    }

    /// Whether images that cannot be decoded are left out.
    pub fn skips_broken(&self) -> bool {
        self.view().is_some_and(|view| view.0.broken == Broken::Skip)
    }

    /// The slot of [`Self::dataset`].
    pub fn dataset_mut(&mut self) -> Option<&mut Option<Arc<Dataset>>> {
        match self {
            Self::LoadWeights(_) | Self::InitWeights(_) => None,
            Self::Train(work) => Some(&mut work.dataset),
            Self::Evaluate(work) => Some(&mut work.dataset),
        }
    }

    /// The code that can change the result.
    pub fn code_paths(&self) -> Vec<CodePath> {
        match self {
            Self::LoadWeights(_) | Self::InitWeights(_) => weights::code_paths::ALL.to_vec(),
            Self::Train(work) => work.code_paths(),
            Self::Evaluate(work) => work.code_paths(),
        }
    }

    /// All that can change the result, as canonical data; none while inputs are not digested.
    pub fn document(&self) -> Option<Value> {
        match self {
            Self::LoadWeights(work) => work.document(),
            Self::InitWeights(work) => Some(work.document()),
            Self::Train(work) => work.document(),
            Self::Evaluate(work) => work.document(),
        }
    }

    /// Computes the stage into `context.output` and nothing else.
    pub fn execute(&self, context: &Context) -> Result<()> {
        match self {
            Self::LoadWeights(work) => work.execute(context),
            Self::InitWeights(work) => work.execute(context),
            Self::Train(work) => work.execute(context),
            Self::Evaluate(work) => work.execute(context),
        }
        .map_err(|error| explained(error, context.device))
    }
}

/// What a recipe says of the code: the version of each code path that the stage takes.
pub(super) fn engine(paths: impl IntoIterator<Item = CodePath>) -> Value {
    let versions = paths.into_iter().map(|path| (path.name().to_owned(), json!(path.version())));
    Value::Object(versions.collect::<Map<_, _>>())
}
