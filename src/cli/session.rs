//! What every command that plans needs: the pipeline, its plan, the store, and the profile it computes under.

use std::path::{Path, PathBuf};

use defrost::ops::profile::Profile;
use defrost::pipeline::Resolved;
use defrost::plan::{self, Depth, Plan, StageStatus};
use defrost::run;
use defrost::store::{Store, Wanted};
use defrost::{Error, Result};

use super::{Console, PipelineOptions, images};

pub struct Session {
    pub pipeline: Resolved,
    pub runs: PathBuf,
    pub store: Store,
    pub plan: Plan,
    /// The numeric profile of this machine.
    pub variant: &'static str,
    /// Whether the device was left open, so that results of any profile will do.
    any: bool,
}

impl Session {
    /// Loads, checks and plans a pipeline file. What is wrong with it is shown here.
    pub fn open(file: &Path, options: &PipelineOptions, rehash: bool, console: &Console) -> Result<Self> {
        let (pipeline, drafts) = options.load(file, Depth::Inputs, console)?;
        let any = match pipeline.run.device.as_str() {
            "auto" => true,
            "cpu" => false,
            device => {
                return Err(Error::usage(format!(
                    "this build cannot compute on `{device}`: it computes on the CPU only"
                ))
                .hint("set `device = \"auto\"`, or leave `--device` out"));
            }
        };
        let runs = options.runs(file)?;
        let store = Store::open(&runs);
        images::left_out(drafts.iter().map(|draft| &draft.work)).iter().for_each(|text| console.warn(text));
        let plan = Plan::new(&pipeline.name, drafts, store.inputs(), rehash)?;
        Ok(Self { pipeline, runs, store, plan, variant: Profile::current().name(), any })
    }

    /// What a run would do with each stage.
    pub fn statuses(&self) -> Result<Vec<StageStatus>> {
        let earlier = run::earlier_stages(&self.runs, &self.plan.name);
        plan::statuses(&self.plan, &self.store, self.wanted(), self.variant, &earlier)
    }

    pub fn wanted(&self) -> Wanted<'_> {
        if self.any { Wanted::Any { preferring: self.variant } } else { Wanted::Exactly(self.variant) }
    }
}
