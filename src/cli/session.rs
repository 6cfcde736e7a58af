//! What every command that plans needs: the pipeline, its plan, the store, and the profile it computes under.

use std::path::{Path, PathBuf};

use defrost::ops::profile::Profile;
use defrost::pipeline::Resolved;
use defrost::plan::{self, Depth, Draft, Plan, StageStatus};
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
    /// Loads, checks and plans the runs of a pipeline file: one, or those of its matrix. What is wrong is shown here.
    pub fn open(
        file: &Path,
        options: &PipelineOptions,
        rehash: bool,
        console: &Console,
    ) -> Result<Vec<Self>> {
        let runs = options.load_all(file, Depth::Inputs, console)?;
        let works = runs.iter().flat_map(|(_, drafts)| drafts.iter().map(|draft| &draft.work));
        images::left_out(works).iter().for_each(|text| console.warn(text));
        let folder = options.runs(file)?;
        runs.into_iter().map(|(pipeline, drafts)| Self::of(pipeline, drafts, &folder, rehash)).collect()
    }

    fn of(pipeline: Resolved, drafts: Vec<Draft>, runs: &Path, rehash: bool) -> Result<Self> {
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
        let store = Store::open(runs);
        let mut plan = Plan::new(&pipeline.name, drafts, store.inputs(), rehash)?;
        plan.label = pipeline.label.clone();
        Ok(Self { pipeline, runs: runs.to_owned(), store, plan, variant: Profile::current().name(), any })
    }

    /// What a run would do with each stage.
    pub fn statuses(&self) -> Result<Vec<StageStatus>> {
        let earlier = run::earlier_stages(&self.runs, &self.plan.name, self.plan.label.as_deref());
        plan::statuses(&self.plan, &self.store, self.wanted(), self.variant, &earlier)
    }

    pub fn wanted(&self) -> Wanted<'_> {
        if self.any { Wanted::Any { preferring: self.variant } } else { Wanted::Exactly(self.variant) }
    }
}
