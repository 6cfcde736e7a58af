//! The state that every planning command needs: the pipeline, its plan, the store, and the numeric profile.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use defrost::device::{self, DeviceChoice};
use defrost::features::FeatureStore;
use defrost::pipeline::Resolved;
use defrost::plan::{
    self, DiskAccess, InputDigester, Plan, PreviousStage, SharedInputs, StageDraft, StageStatus, Status,
};
use defrost::run::EarlierRuns;
use defrost::stage::ResolvedStage;
use defrost::store::{Store, VariantRequest};
use defrost::train;
use defrost::{Error, Result};

use super::options::several_runs;
use super::ranks::ThreadShare;
use super::signals::Stop;
use super::{Console, PipelineOptions, fetch, images};

pub struct Session {
    pub pipeline: Resolved,
    pub runs: PathBuf,
    pub store: Arc<Store>,
    pub plan: Plan,
    /// The runs of its name before this command.
    earlier: Arc<EarlierRuns>,
    /// The device to compute on, and its numeric profile.
    pub choice: DeviceChoice,
}

/// The runs of a file, and their stages.
pub type LoadedRuns = Vec<(Resolved, Vec<StageDraft>)>;

impl Session {
    /// Loads, checks and plans the runs of a pipeline file: one, or those of its matrix. Errors are printed here.
    /// Weights that are not fetched yet are fetched if the command computes: then `stop` can stop it.
    pub fn open(
        file: &Path,
        options: &PipelineOptions,
        rehash: bool,
        stop: Option<&Stop>,
        console: &Console,
    ) -> Result<Vec<Self>> {
        let runs = Self::load(file, options, stop, console)?;
        Self::of(runs, file, options, rehash, console)
    }

    /// Loads and checks the runs of a pipeline file, whose weights are there afterwards.
    pub fn load(
        file: &Path,
        options: &PipelineOptions,
        stop: Option<&Stop>,
        console: &Console,
    ) -> Result<LoadedRuns> {
        let runs = options.load_all(file, DiskAccess::Inputs, console)?;
        let missing = fetch::missing(&runs);
        if missing.is_empty() {
            return Ok(runs);
        }
        let Some(stop) = stop else { return Err(fetch::unfetched(&missing, file)) };
        fetch::all(&missing, false, stop, console)?;
        options.load_all(file, DiskAccess::Inputs, console)
    }

    /// Plans loaded runs, whose weights are there.
    pub fn of(
        runs: LoadedRuns,
        file: &Path,
        options: &PipelineOptions,
        rehash: bool,
        console: &Console,
    ) -> Result<Vec<Self>> {
        let mut sessions = Vec::new();
        Self::each(runs, file, options, rehash, console, |session| {
            sessions.push(session);
            Ok(())
        })?;
        Ok(sessions)
    }

    /// As [`Self::of`], one after the other: thousands of plans take much memory.
    pub fn each(
        runs: LoadedRuns,
        file: &Path,
        options: &PipelineOptions,
        rehash: bool,
        console: &Console,
        mut visit: impl FnMut(Self) -> Result<()>,
    ) -> Result<()> {
        console.warnings(runs.iter().map(|(run, _)| run));
        let works = runs.iter().flat_map(|(_, drafts)| drafts.iter().map(|draft| &draft.work));
        images::left_out(works).iter().for_each(|note| console.warn(note));
        console
            .more_warnings(runs.iter().flat_map(|(run, drafts)| plan::data_warnings(run, drafts)).collect());
        let folder = options.runs(file)?;
        let store = Arc::new(Store::open(&folder));
        let mut digester = InputDigester::new(store.inputs(), rehash);
        let earlier = runs.first().map(|(run, _)| Arc::new(EarlierRuns::new(&folder, &run.name)));
        let mut choices: HashMap<String, DeviceChoice> = HashMap::new();
        let mut notes = Vec::new();
        let shared = SharedInputs::default();
        for (pipeline, mut drafts) in runs {
            if drafts.is_empty() {
                drafts = plan::resolve_shared(&pipeline, DiskAccess::Inputs, &shared).map_err(|report| {
                    console.report(&report.brief(), file);
                    Error::usage(format!("`{}` is no longer valid", file.display()))
                })?;
            }
            let device = &pipeline.run.device;
            let mut choice = match choices.get(device) {
                Some(known) => known.clone(),
                None => device::choose(device)?,
            };
            choices.entry(device.clone()).or_insert_with(|| choice.clone());
            for draft in &drafts {
                for model_spec in draft.work.computed_models() {
                    if !model_spec.model.arch.computes_on_gpus() {
                        choice = choice.without_gpus(&format!("stage `{}`", draft.name))?;
                    }
                }
            }
            // Printed once, not for each run of a matrix.
            if !notes.contains(&choice.note) {
                choice.note.iter().for_each(|note| console.warn(note));
                notes.push(choice.note.clone());
            }
            let wanted = wanted(&choice);
            let runs_dir = options.runs_dir.as_deref();
            plan::fetch(&mut drafts, &store, wanted, &choice.variant, &mut digester, runs_dir)?;
            let mut plan = Plan::new(&pipeline.name, drafts, &mut digester)?;
            plan.label.clone_from(&pipeline.label);
            let earlier = earlier.clone().ok_or_else(|| Error::bug("a session without a run"))?;
            let (runs, store) = (folder.clone(), Arc::clone(&store));
            visit(Self { pipeline, runs, store, plan, choice, earlier })?;
        }
        Ok(())
    }

    /// [`Self::open`] for a command that works on one run. In a file with a matrix, `--only` selects it.
    pub fn open_one(
        file: &Path,
        options: &PipelineOptions,
        stop: Option<&Stop>,
        console: &Console,
    ) -> Result<Self> {
        let mut sessions = Self::open(file, options, false, stop, console)?;
        match (sessions.len(), sessions.pop()) {
            (1, Some(only)) => Ok(only),
            (count, last) => {
                let label = last.and_then(|session| session.pipeline.label).unwrap_or_default();
                Err(several_runs(file, count, &label))
            }
        }
    }

    /// What a run would do with each stage.
    pub fn statuses(&self) -> Result<Vec<StageStatus>> {
        plan::statuses(&self.plan, &self.store, self.wanted(), &self.choice.variant, &self.earlier_stages())
    }

    /// The stages of the run before with the same name and label.
    pub fn earlier_stages(&self) -> BTreeMap<String, PreviousStage> {
        self.earlier.stages(self.plan.label.as_deref())
    }

    /// Refuses stages whose precision the device does not support, before anything is computed.
    pub fn require_precision(&self, statuses: &[StageStatus]) -> Result<()> {
        for (stage, status) in self.plan.stages.iter().zip(statuses) {
            if let (ResolvedStage::Train(work, _), true) = (&stage.work, status.status != Status::Hit) {
                train::set_matmul_precision(&self.choice.device, work.settings.precision)
                    .map_err(|error| error.within(format!("stage `{}`", stage.name)))?;
            }
        }
        Ok(())
    }

    /// The cache of features; `None` if it is off.
    pub fn feature_store(&self) -> Option<FeatureStore<'_>> {
        let limit = self.pipeline.run.feature_bytes()?;
        Some(FeatureStore::new(self.store.features(), self.store.inputs(), &self.choice.variant, limit))
    }

    pub fn wanted(&self) -> VariantRequest<'_> {
        wanted(&self.choice)
    }

    /// The threads to compute on, and their number. Without `run.threads`, processes that may use the same cores divide
    /// them.
    pub fn threads(&self, share: ThreadShare) -> Result<(usize, rayon::ThreadPool)> {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.pipeline.run.threads.unwrap_or_else(|| (all() / share.sharing).max(1));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| Error::failed(format!("cannot start {threads} threads: {error}")))?;
        Ok((threads, pool))
    }
}

fn wanted(choice: &DeviceChoice) -> VariantRequest<'_> {
    let variant = &choice.variant;
    if choice.any { VariantRequest::Any { preferring: variant } } else { VariantRequest::Exactly(variant) }
}
