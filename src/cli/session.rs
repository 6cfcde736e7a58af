//! What every command that plans needs: the pipeline, its plan, the store, and the profile it computes under.

use std::path::{Path, PathBuf};

use defrost::Result;
use defrost::device::{self, Choice};
use defrost::pipeline::Resolved;
use defrost::plan::{self, Depth, Plan, StageStatus};
use defrost::run;
use defrost::store::{Store, Wanted};

use super::{Console, PipelineOptions, images};

pub struct Session {
    pub pipeline: Resolved,
    pub runs: PathBuf,
    pub store: Store,
    pub plan: Plan,
    /// The device to compute on, and its numeric profile.
    pub choice: Choice,
}

impl Session {
    /// Loads, checks and plans a pipeline file. What is wrong with it is shown here.
    pub fn open(file: &Path, options: &PipelineOptions, rehash: bool, console: &Console) -> Result<Self> {
        let (pipeline, drafts) = options.load(file, Depth::Inputs, console)?;
        let choice = device::choose(&pipeline.run.device)?;
        choice.note.iter().for_each(|note| console.warn(note));
        let runs = options.runs(file)?;
        let store = Store::open(&runs);
        images::left_out(drafts.iter().map(|draft| &draft.work)).iter().for_each(|text| console.warn(text));
        let plan = Plan::new(&pipeline.name, drafts, store.inputs(), rehash)?;
        Ok(Self { pipeline, runs, store, plan, choice })
    }

    /// What a run would do with each stage.
    pub fn statuses(&self) -> Result<Vec<StageStatus>> {
        let earlier = run::earlier_stages(&self.runs, &self.plan.name);
        plan::statuses(&self.plan, &self.store, self.wanted(), &self.choice.variant, &earlier)
    }

    pub fn wanted(&self) -> Wanted<'_> {
        let variant = &self.choice.variant;
        if self.choice.any { Wanted::Any { preferring: variant } } else { Wanted::Exactly(variant) }
    }
}
