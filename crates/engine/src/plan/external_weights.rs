//! Weights of a stage of another pipeline: looked up in the store by key, never computed by this pipeline.

use std::collections::BTreeMap;
use std::path::Path;

use super::InputDigester;
use super::planned::Plan;
use super::resolve::{ParentStage, Resolver, StageDraft, resolve_shared};
use super::status::statuses;
use crate::error::{Error, Result};
use crate::pipeline::{self, DiagnosticReport};
use crate::stage::{LocatedWeights, ResolvedStage};
use crate::store::{Store, VariantRequest};
use crate::weights::WeightsFile;

/// A stage of another pipeline whose weights a stage loads.
pub struct ExternalWeights {
    /// The stage and those above it.
    pub drafts: Vec<StageDraft>,
    /// The index of that stage, and which of its files is used.
    pub parent: ParentStage,
    /// The other pipeline's file, as messages show it.
    pub file: String,
}

impl Resolver<'_> {
    /// Resolves another pipeline up to the stage whose weights this pipeline loads. The result has the names and shapes
    /// of these weights.
    pub(super) fn other_pipeline(
        &mut self,
        name: &str,
        other: &pipeline::ExternalStage,
    ) -> Option<Result<WeightsFile>> {
        let file = other.pipeline.file.display().to_string();
        let drafts = match resolve_shared(&other.pipeline, self.depth, self.shared) {
            Ok(drafts) => drafts,
            Err(DiagnosticReport { diagnostics, .. }) => {
                let first = diagnostics.first().map_or(String::new(), |first| format!(": {}", first.message));
                let help = format!("`defrost validate {file}` shows the errors");
                let message = format!("`{file}` is not valid{first}");
                self.diagnose(&format!("stage.{name}.pipeline"), "other-pipeline", message, Some(help));
                return None;
            }
        };
        let wanted = other.parent();
        let stage = drafts.iter().position(|draft| draft.name == wanted.stage)?;
        let source = drafts[stage].work.model_spec().weights_file(&other.stage).map(WeightsFile::merged);
        let parent = ParentStage { stage, checkpoint: wanted.checkpoint };
        self.elsewhere.insert(name.to_owned(), ExternalWeights { drafts, parent, file });
        Some(source)
    }
}

/// Finds the weights of other pipelines for the stages that load them. `runs_dir` is the folder of all runs, if the
/// user specifies it.
///
/// # Errors
/// They are not in the store, or do not match the current state of the other pipeline.
pub fn fetch(
    drafts: &mut [StageDraft],
    store: &Store,
    wanted: VariantRequest,
    variant: &str,
    digester: &mut InputDigester,
    runs_dir: Option<&Path>,
) -> Result<()> {
    for draft in drafts {
        let Some(ExternalWeights { mut drafts, parent, file }) = draft.elsewhere.take() else { continue };
        fetch(&mut drafts, store, wanted, variant, digester, runs_dir)?;
        let plan = Plan::new(&file, drafts, digester)?;
        let statuses = statuses(&plan, store, wanted, variant, &BTreeMap::new())?;
        let found = statuses[parent.stage].finished.as_ref().and_then(|finished| {
            Some((finished.dir.join(parent.file()), *finished.files.get(parent.file())?))
        });
        let Some((path, digest)) = found else {
            let stage = &plan.stages[parent.stage].name;
            let elsewhere =
                runs_dir.map_or(String::new(), |folder| format!(" --runs-dir {}", folder.display()));
            return Err(Error::usage(format!(
                "stage `{}` loads weights from `{stage}` in `{file}`, which has not been run",
                draft.name
            ))
            .hint(format!("run it first: `defrost run {file} --until {stage}{elsewhere}`")));
        };
        if let ResolvedStage::LoadWeights(_, weights, _) = &mut draft.work {
            *weights = LocatedWeights::File { path, digest: Some(digest) };
        }
    }
    Ok(())
}
