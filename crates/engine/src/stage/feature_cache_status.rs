//! Which features of a stage are already in the store, for `plan`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::features::key;
use super::prefix::cache_identity;
use super::{
    EnsembleMember, EvaluateStage, FrozenPrefix, Inputs, ModelSpec, PlannedStage, Preprocess, ResolvedStage,
    TrainStage,
};
use crate::data::{Dataset, Split};
use crate::error::Result;
use crate::features::FeatureStore;
use crate::model::{Description, StateDict};
use crate::pipeline::Augment;
use crate::weights::{self, LoadRules, WeightsFile};

/// How many features of a stage are already stored.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeatureCacheStatus {
    /// The number of rows that the stage needs: one per image, or per view.
    pub images: usize,
    /// How many of them are in the store.
    pub stored: usize,
}

/// The rows that a stage needs from one feature set.
struct WantedRows<'a> {
    /// The random changes and their seed.
    random: Option<(&'a Augment, u64)>,
    samples: Vec<usize>,
    views: Vec<Option<u32>>,
}

impl<I: Inputs> ResolvedStage<I> {
    /// The prefixes whose features the stage caches, or the reason why it does not, in order if deeper layers
    /// are unfrozen later; empty for a stage without a frozen prefix.
    pub fn prefixes(&self) -> Vec<FrozenPrefix> {
        match self {
            Self::Train(train, _) => train.prefixes.clone(),
            Self::Evaluate(evaluate, _) => {
                evaluate.prefixed().map(|(_, member)| FrozenPrefix::without_features(member.layers)).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl PlannedStage {
    /// How many features the store has for each prefix, with the weights in `sources`; `None` for prefixes that
    /// are not cached.
    ///
    /// # Errors
    /// The weights cannot be read.
    pub fn features_found(
        &self,
        sources: &[PathBuf],
        store: &FeatureStore,
    ) -> Result<Vec<Option<FeatureCacheStatus>>> {
        let prefixes = self.prefixes();
        if prefixes.iter().all(|prefix| prefix.recomputed.is_some()) {
            return Ok(vec![None; prefixes.len()]);
        }
        match self {
            Self::LoadWeights(..) | Self::InitWeights(_) => Ok(Vec::new()),
            Self::Train(work, dataset) => {
                let network = FeatureModel::of_training(work, &sources[0])?;
                let found = |prefix: &FrozenPrefix| match prefix.recomputed {
                    None => {
                        let wanted = work.wanted(prefix, dataset);
                        network.found(prefix, &work.preprocess, dataset, wanted, store).map(Some)
                    }
                    Some(_) => Ok(None),
                };
                prefixes.iter().map(found).collect()
            }
            Self::Evaluate(work, dataset) => {
                let found = |((place, member), prefix): ((usize, &EnsembleMember), &FrozenPrefix)| {
                    let network = FeatureModel::open(&member.model_spec, &sources[place])?;
                    network.found(prefix, &work.preprocess, dataset, work.wanted(dataset), store).map(Some)
                };
                work.prefixed().zip(&prefixes).map(found).collect()
            }
        }
    }
}

/// A model with the weights that compute its features.
struct FeatureModel<'a> {
    model_spec: &'a ModelSpec,
    description: Description,
    state: StateDict,
}

impl<'a> FeatureModel<'a> {
    fn open(model_spec: &'a ModelSpec, source: &Path) -> Result<Self> {
        let description = model_spec.build().description;
        let state = weights::load(&description, &WeightsFile::open(source)?, &LoadRules::default(), 0)?;
        Ok(Self { model_spec, description, state })
    }

    fn of_training(work: &'a TrainStage, source: &Path) -> Result<Self> {
        let description = (*work.description).clone();
        Ok(Self { model_spec: &work.model_spec, description, state: work.initial_state(source)? })
    }

    fn found(
        &self,
        prefix: &FrozenPrefix,
        preprocess: &Preprocess,
        dataset: &Dataset,
        wanted: Vec<WantedRows>,
        store: &FeatureStore,
    ) -> Result<FeatureCacheStatus> {
        let mut found = FeatureCacheStatus { images: 0, stored: 0 };
        for wanted in wanted {
            let made_of = cache_identity(
                self.model_spec,
                &self.description,
                &self.state,
                prefix,
                preprocess,
                dataset.label_kind,
                wanted.random,
            )?;
            let set = store.open_keys(&made_of, prefix.kind)?;
            let there = |sample: &usize, view: Option<u32>| {
                key(dataset, *sample, view).and_then(|key| set.find(&key)).is_some()
            };
            for view in wanted.views {
                found.images += wanted.samples.len();
                found.stored += wanted.samples.iter().filter(|sample| there(sample, view)).count();
            }
        }
        Ok(found)
    }
}

impl TrainStage {
    /// The views that the epochs of a prefix show, of this number of kept ones. With a sampler, an image may show several in
    /// an epoch.
    pub fn kept_views(&self, prefix: &FrozenPrefix, views: u32) -> BTreeSet<u32> {
        match self.settings.sampler.is_default() {
            true => self.epochs_of(prefix).map(|epoch| epoch % views).collect(),
            false => (0..views).collect(),
        }
    }

    fn wanted(&self, prefix: &FrozenPrefix, dataset: &Dataset) -> Vec<WantedRows<'_>> {
        let (train, validation) = (dataset.split(Split::Train), dataset.split(Split::Validation));
        let plain = |samples| WantedRows { random: None, samples, views: vec![None] };
        match prefix.views {
            None => vec![plain([train, validation].concat())],
            Some(views) => {
                let random = Some((&self.settings.augment, self.seed));
                let views = self.kept_views(prefix, views).into_iter().map(Some).collect();
                vec![plain(validation), WantedRows { random, samples: train, views }]
            }
        }
    }
}

impl EvaluateStage {
    /// The models whose first layers have cached features, with their indices.
    pub fn prefixed(&self) -> impl Iterator<Item = (usize, &EnsembleMember)> {
        self.members.iter().enumerate().filter(|(_, member)| member.layers > 0)
    }

    fn wanted(&self, dataset: &Dataset) -> Vec<WantedRows<'_>> {
        vec![WantedRows { random: None, samples: self.samples(dataset), views: vec![None] }]
    }
}
