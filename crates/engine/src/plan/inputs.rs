//! From resolved names to recipes: every input is digested by its content.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::recipe::{recipe, run_recipe};
use super::resolve::{Draft, Parent};
use crate::data::Dataset;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::stage::Work;
use crate::store::InputIndex;

/// A pipeline with everything known that can be known before it runs.
pub struct Plan {
    pub name: String,
    /// Which run of a matrix it is; it changes no recipe.
    pub label: Option<String>,
    /// Parents first.
    pub stages: Vec<Planned>,
    /// Names the run directory: same file, same inputs, same place.
    pub recipe: Digest,
}

/// A stage and its recipe.
pub struct Planned {
    pub name: String,
    /// The stages whose weights it reads, in order.
    pub parents: Vec<Parent>,
    pub work: Work,
    /// The name of its data set.
    pub data: String,
    /// All that can change its result, but for what is above.
    pub document: Value,
    pub recipe: Digest,
    /// The freezing rules as written.
    pub rules: Value,
}

impl Plan {
    /// Digests weights and images, through the index or, with `rehash`, anew.
    pub fn new(name: &str, mut drafts: Vec<Draft>, index: &InputIndex, rehash: bool) -> Result<Self> {
        let digest = |paths: &[PathBuf]| if rehash { index.rehash(paths) } else { index.digests(paths) };
        let mut digested: Vec<(Arc<Dataset>, Arc<Dataset>)> = Vec::new();
        for draft in &mut drafts {
            if let Work::LoadWeights(work) = &mut draft.work
                && work.digest.is_none()
                && let Some(file) = &work.file
            {
                work.digest = digest(std::slice::from_ref(file))?.pop();
            }
            let Some(slot) = draft.work.dataset_mut() else { continue };
            let Some(scanned) = slot.take() else { continue };
            let known = digested.iter().find(|(other, _)| Arc::ptr_eq(other, &scanned));
            let ready = match known {
                Some((_, ready)) => Arc::clone(ready),
                None => {
                    let ready = Arc::new(with_digests(&scanned, &digest)?);
                    digested.push((Arc::clone(&scanned), Arc::clone(&ready)));
                    ready
                }
            };
            *slot = Some(ready);
        }
        index.save();

        let mut stages: Vec<Planned> = Vec::new();
        for Draft { name, parents, work, data, rules, .. } in drafts {
            let document = work
                .document()
                .ok_or_else(|| Error::bug(format!("stage `{name}` was planned without its inputs")))?;
            let above = parents.iter().map(|parent| (&stages[parent.stage].recipe, parent.file()));
            let recipe = recipe(&document, &above.collect::<Vec<_>>());
            stages.push(Planned { name, parents, work, data, document, recipe, rules });
        }
        let recipe = run_recipe(name, stages.iter().map(|stage| (stage.name.as_str(), &stage.recipe)));
        Ok(Self { name: name.to_owned(), label: None, stages, recipe })
    }
}

fn with_digests(dataset: &Dataset, digest: &dyn Fn(&[PathBuf]) -> Result<Vec<Digest>>) -> Result<Dataset> {
    let paths: Vec<PathBuf> = (0..dataset.samples.len()).map(|index| dataset.file(index)).collect();
    let digests = digest(&paths)?;
    let mut dataset = dataset.clone();
    for (sample, digest) in dataset.samples.iter_mut().zip(digests) {
        sample.digest = Some(digest);
    }
    Ok(dataset)
}
