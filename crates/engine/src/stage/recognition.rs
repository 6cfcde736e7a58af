//! Images compared by their embeddings: pairs verified, and queries looked up in a gallery.
//!
//! Whom an image shows is its class in the data set at hand, which need not be one that the head was trained on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::feed::{self, Material};
use super::{Context, Evaluate, Member, lost, train::pretty};
use crate::data::{Dataset, Split};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::metrics::{Embeddings, Identification, Pair, Similarities};
use crate::model::Pass;
use crate::pipeline;
use crate::report::{self, HardPair};

/// What an evaluation of embeddings asks; at least one of the two.
#[derive(Clone, Debug, PartialEq)]
pub struct Recognition {
    pub verification: Option<Comparison>,
    pub identification: Option<Search>,
}

/// Pairs of images of the evaluation's split.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The places of both samples in the data set; every two images of the split where none are given.
    pub pairs: Option<Vec<(usize, usize)>>,
    pub far: Vec<f64>,
}

/// Images of one part looked up in another, or among all others of the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    pub gallery: Split,
    pub query: Split,
}

/// Embeddings of the images that can be read, by the places of their samples.
struct Embedded {
    dimension: usize,
    rows: BTreeMap<usize, Vec<f32>>,
}

impl Recognition {
    /// As the file has it, with the pairs that it lists.
    pub fn new(settings: &pipeline::Evaluate, pairs: Option<Vec<(usize, usize)>>) -> Self {
        let comparison =
            |verification: &pipeline::Verification| Comparison { pairs, far: verification.far.clone() };
        let search = |identification: &pipeline::Identification| Search {
            gallery: identification.gallery.unwrap_or(settings.split),
            query: identification.query.unwrap_or(settings.split),
        };
        Self {
            verification: settings.verification.as_ref().map(comparison),
            identification: settings.identification.as_ref().map(search),
        }
    }

    /// The parts of the data set whose images are embedded.
    pub fn parts(&self, split: Split) -> Vec<Split> {
        let mut parts: Vec<Split> = Vec::new();
        parts.extend(self.verification.as_ref().map(|_| split));
        parts.extend(self.identification.iter().flat_map(|search| [search.gallery, search.query]));
        parts.sort_by_key(|part| *part as usize);
        parts.dedup();
        parts
    }

    pub(super) fn execute(&self, stage: &Evaluate, dataset: &Arc<Dataset>, context: &Context) -> Result<()> {
        let embedded = embed(stage, dataset, context)?;
        let all = stage.samples(dataset).into_iter();
        let broken: Vec<usize> = all.filter(|sample| !embedded.rows.contains_key(sample)).collect();
        let paths: BTreeSet<&str> =
            broken.iter().map(|&sample| dataset.samples[sample].path.as_str()).collect();
        let is_broken = |path: &str| paths.contains(path);
        lost::require_classes_or_warn(&stage.view, dataset, &stage.parts(), is_broken, context)?;
        context.list_broken(dataset, paths)?;
        let mut document = json!({
            "images": embedded.rows.len(),
            "broken_images": broken.len(),
            "dimension": embedded.dimension,
        });
        context.interrupt.check()?;
        if let Some(verification) = &self.verification {
            document["verification"] = verify(verification, stage.split, &embedded, dataset, context)?;
        }
        if let Some(search) = &self.identification {
            document["identification"] = identify(search, &embedded, dataset, context)?;
        }
        context.write("metrics.json", pretty(&document))
    }
}

fn embed(stage: &Evaluate, dataset: &Arc<Dataset>, context: &Context) -> Result<Embedded> {
    let Member { subject, layers } = &stage.members[0];
    let model = subject.build();
    let state = context.load_model(0, &model.description)?;
    let mut pass = Pass::inference(&state);
    let mut embedded = Embedded { dimension: 0, rows: BTreeMap::new() };
    let material = Material::of_evaluation(stage, 0, dataset, &model, &state, context);
    feed::evaluation(&material, stage.samples(dataset), |batches, total| {
        let started = (context.clock)();
        for batch in batches {
            context.interrupt.check()?;
            let batch = batch?;
            let rows = model.embed(&mut pass, *layers, batch.input)?;
            for (row, sample) in rows.tensor().to_vec2::<f32>()?.into_iter().zip(batch.samples) {
                embedded.dimension = row.len();
                embedded.rows.insert(sample, row);
            }
            let elapsed = ((context.clock)() - started).max(1e-9);
            context.observer.event(&Event::Step {
                stage: context.stage.to_owned(),
                epoch: 1,
                epochs: 1,
                step: batch.index as u64 + 1,
                steps: total as u64,
                loss: None,
                accuracy: None,
                images_per_second: embedded.rows.len() as f64 / elapsed,
                seconds_left: (total - batch.index - 1) as f64 * elapsed / (batch.index + 1) as f64,
            });
        }
        Ok(())
    })?;
    Ok(embedded)
}

impl Embedded {
    /// The embeddings of a part with the samples they are of, in order.
    fn part(&self, split: Split, dataset: &Dataset) -> Result<(Embeddings, Vec<usize>)> {
        let samples: Vec<usize> =
            dataset.split(split).into_iter().filter(|sample| self.rows.contains_key(sample)).collect();
        if samples.is_empty() {
            return Err(Error::failed(format!("the {} split has no readable image", split.name())));
        }
        let rows = samples.iter().flat_map(|sample| self.rows[sample].iter().copied()).collect();
        let identities = samples.iter().filter_map(|&sample| dataset.samples[sample].label.class()).collect();
        Ok((Embeddings::new(rows, self.dimension, identities)?, samples))
    }
}

fn verify(
    verification: &Comparison,
    split: Split,
    embedded: &Embedded,
    dataset: &Dataset,
    context: &Context,
) -> Result<Value> {
    let (embeddings, samples) = embedded.part(split, dataset)?;
    let similarities = match &verification.pairs {
        None => Similarities::of_all(&embeddings)?,
        Some(pairs) => {
            // Those of broken images have no place.
            let place = |sample: usize| samples.binary_search(&sample).ok();
            let pairs: Vec<(usize, usize)> =
                pairs.iter().filter_map(|&(first, second)| Some((place(first)?, place(second)?))).collect();
            Similarities::of_pairs(&embeddings, &pairs)?
        }
    };
    let result = similarities.verification(&verification.far)?;
    let curve = similarities.roc();
    context.write("roc.csv", report::roc_csv(&curve))?;
    let picture = report::roc_curve(context.stage, &result, &curve);
    context.write("roc.svg", picture.document())?;
    context.write("roc.png", report::png(&picture)?)?;

    let named = |risk: &'static str, pair: &Pair| {
        let path = |place: usize| dataset.samples[samples[place]].path.clone();
        let (first, second) = (path(pair.first), path(pair.second));
        HardPair { risk: risk.to_owned(), similarity: pair.similarity, first, second }
    };
    let rejects = similarities.hardest_genuine.iter().map(|pair| named("false reject", pair));
    let accepts = similarities.hardest_impostor.iter().map(|pair| named("false accept", pair));
    let hardest: Vec<HardPair> = rejects.chain(accepts).collect();
    context.write("hardest_pairs.csv", report::hard_pairs_csv(&hardest))?;
    let mut document = json!(result);
    document["split"] = json!(split);
    Ok(document)
}

fn identify(search: &Search, embedded: &Embedded, dataset: &Dataset, context: &Context) -> Result<Value> {
    let (queries, _) = embedded.part(search.query, dataset)?;
    let result = match search.query == search.gallery {
        true => Identification::among(&queries)?,
        false => Identification::of(&queries, &embedded.part(search.gallery, dataset)?.0)?,
    };
    context.write("cmc.csv", report::match_csv(&result.cmc))?;
    let picture = report::match_curve(context.stage, result.mean_average_precision, &result.cmc);
    context.write("cmc.svg", picture.document())?;
    context.write("cmc.png", report::png(&picture)?)?;
    let mut document = json!(result);
    document["query_split"] = json!(search.query);
    document["gallery_split"] = json!(search.gallery);
    Ok(document)
}
