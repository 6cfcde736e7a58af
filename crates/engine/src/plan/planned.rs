//! A pipeline with the recipe of each stage: everything that is known before it runs.

use serde_json::Value;

use super::inputs::InputDigester;
use super::recipe::{recipe, run_recipe, series};
use super::resolve::{ParentStage, StageDraft};
use crate::digest::Digest;
use crate::error::Result;
use crate::stage::{PlannedStage, ResolvedStage};
use crate::store::EpochSeries;

/// A pipeline with everything that is known before it runs.
pub struct Plan {
    pub name: String,
    /// Which run of a matrix it is. No recipe depends on it.
    pub label: Option<String>,
    /// Parents first.
    pub stages: Vec<PlanEntry>,
    /// Names the run directory: the same file and inputs give the same directory.
    pub recipe: Digest,
}

/// A stage and its recipe.
pub struct PlanEntry {
    pub name: String,
    /// The stages whose weights it reads, in order.
    pub parents: Vec<ParentStage>,
    pub work: PlannedStage,
    /// The name of its data set.
    pub data: String,
    /// Everything that can change its result, except the stages above.
    pub document: Value,
    pub recipe: Digest,
    /// The freezing rules as written.
    pub rules: Value,
}

impl PlanEntry {
    /// The train stages that differ only in their number of epochs, if the first epochs do not depend on it.
    pub fn series(&self, consumed: &[Digest]) -> Option<EpochSeries> {
        let ResolvedStage::Train(train, _) = &self.work else { return None };
        let continues = train.settings.depends_on_epochs().is_none();
        continues
            .then(|| EpochSeries { digest: series(&self.document, consumed), epochs: train.settings.epochs })
    }

    /// Why a train stage cannot continue from one with fewer epochs, if it cannot.
    pub fn depends_on_epochs(&self) -> Option<&'static str> {
        let ResolvedStage::Train(train, _) = &self.work else { return None };
        train.settings.depends_on_epochs()
    }
}

impl Plan {
    /// Digests weights and images. The runs of a file share a digester, so that each input is digested once.
    ///
    /// # Errors
    /// An input cannot be read.
    pub fn new(name: &str, drafts: Vec<StageDraft>, digester: &mut InputDigester) -> Result<Self> {
        let digested = |draft: StageDraft| {
            let StageDraft { name, parents, work, data, rules, .. } = draft;
            let work = work.digested(digester)?;
            Ok((name, parents, work, data, rules))
        };
        let digested = drafts.into_iter().map(digested).collect::<Result<Vec<_>>>()?;
        digester.save();

        let mut stages: Vec<PlanEntry> = Vec::new();
        for (name, parents, work, data, rules) in digested {
            let document = work.document()?;
            let above = parents.iter().map(|parent| (&stages[parent.stage].recipe, parent.file()));
            let recipe = recipe(&document, &above.collect::<Vec<_>>());
            stages.push(PlanEntry { name, parents, work, data, document, recipe, rules });
        }
        let recipe = run_recipe(name, stages.iter().map(|stage| (stage.name.as_str(), &stage.recipe)));
        Ok(Self { name: name.to_owned(), label: None, stages, recipe })
    }
}
