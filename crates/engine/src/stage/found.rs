//! Which features a stage would find in the store, for whoever plans.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::features::key;
use super::prefix::made_of;
use super::{Evaluate, Inputs, Member, PlannedStage, Prefix, ResolvedStage, Subject, Train, View};
use crate::data::{Dataset, Split};
use crate::error::Result;
use crate::features::FeatureStore;
use crate::model::{Description, State};
use crate::pipeline::Augment;
use crate::weights::{self, LoadRules, Source};

/// How far the features of a stage are there already.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeaturesFound {
    /// How many rows the stage wants: one for each image, or for each of its views.
    pub images: usize,
    /// How many of them are in the store.
    pub stored: usize,
}

/// The rows a stage asks of one set of features.
struct Wanted<'a> {
    /// The random changes and their seed.
    random: Option<(&'a Augment, u64)>,
    samples: Vec<usize>,
    views: Vec<Option<u32>>,
}

impl<I: Inputs> ResolvedStage<I> {
    /// The layers whose features the stage keeps, or why it does not, one after the other where deeper ones thaw on the way;
    /// none for a stage without such layers.
    pub fn prefixes(&self) -> Vec<Prefix> {
        match self {
            Self::Train(train, _) => train.prefixes.clone(),
            Self::Evaluate(evaluate, _) => {
                evaluate.prefixed().map(|(_, member)| Prefix::plain(member.layers)).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl PlannedStage {
    /// What the store has of the features that the stage would ask for with the weights in `sources`, for each of its
    /// prefixes; none where they are not kept.
    ///
    /// # Errors
    /// The weights cannot be read.
    pub fn features_found(
        &self,
        sources: &[PathBuf],
        store: &FeatureStore,
    ) -> Result<Vec<Option<FeaturesFound>>> {
        let prefixes = self.prefixes();
        if prefixes.iter().all(|prefix| prefix.recomputed.is_some()) {
            return Ok(vec![None; prefixes.len()]);
        }
        match self {
            Self::LoadWeights(..) | Self::InitWeights(_) => Ok(Vec::new()),
            Self::Train(work, dataset) => {
                let network = Network::open(&work.subject, &sources[0])?;
                let found = |prefix: &Prefix| match prefix.recomputed {
                    None => {
                        let wanted = work.wanted(prefix, dataset);
                        network.found(prefix, &work.view, dataset, wanted, store).map(Some)
                    }
                    Some(_) => Ok(None),
                };
                prefixes.iter().map(found).collect()
            }
            Self::Evaluate(work, dataset) => {
                let found = |((place, member), prefix): ((usize, &Member), &Prefix)| {
                    let network = Network::open(&member.subject, &sources[place])?;
                    network.found(prefix, &work.view, dataset, work.wanted(dataset), store).map(Some)
                };
                work.prefixed().zip(&prefixes).map(found).collect()
            }
        }
    }
}

/// A model with the weights that its features are made by.
struct Network<'a> {
    subject: &'a Subject,
    description: Description,
    state: State,
}

impl<'a> Network<'a> {
    fn open(subject: &'a Subject, source: &Path) -> Result<Self> {
        let description = subject.build().description;
        let state = weights::load(&description, &Source::open(source)?, &LoadRules::default(), 0)?;
        Ok(Self { subject, description, state })
    }

    fn found(
        &self,
        prefix: &Prefix,
        view: &View,
        dataset: &Dataset,
        wanted: Vec<Wanted>,
        store: &FeatureStore,
    ) -> Result<FeaturesFound> {
        let mut found = FeaturesFound { images: 0, stored: 0 };
        for wanted in wanted {
            let made_of = made_of(self.subject, &self.description, &self.state, prefix, view, wanted.random)?;
            let set = store.look(&made_of, prefix.kind)?;
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

impl Train {
    fn wanted(&self, prefix: &Prefix, dataset: &Dataset) -> Vec<Wanted<'_>> {
        let (train, validation) = (dataset.split(Split::Train), dataset.split(Split::Validation));
        let plain = |samples| Wanted { random: None, samples, views: vec![None] };
        match prefix.views {
            None => vec![plain([train, validation].concat())],
            Some(views) => {
                let random = Some((&self.settings.augment, self.seed));
                let views = self.epochs_of(prefix).map(|epoch| epoch % views).collect::<BTreeSet<u32>>();
                let views = views.into_iter().map(Some).collect();
                vec![plain(validation), Wanted { random, samples: train, views }]
            }
        }
    }
}

impl Evaluate {
    /// The models whose first layers have features that are kept, with their places among all.
    pub fn prefixed(&self) -> impl Iterator<Item = (usize, &Member)> {
        self.members.iter().enumerate().filter(|(_, member)| member.layers > 0)
    }

    fn wanted(&self, dataset: &Dataset) -> Vec<Wanted<'_>> {
        vec![Wanted { random: None, samples: self.samples(dataset), views: vec![None] }]
    }
}
