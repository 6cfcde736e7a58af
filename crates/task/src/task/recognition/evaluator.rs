//! The evaluation of embeddings: all images are embedded, then compared.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::embedded::EmbeddedSamples;
use super::{GallerySearch, PairVerification, RecognitionSpec};
use crate::autograd::Tape;
use crate::data::{Dataset, Split};
use crate::error::Result;
use crate::metrics::{IdentificationMetrics, SimilarPair, Similarities};
use crate::model::{Activations, EMBEDDINGS, Model, Outputs, Pass};
use crate::report::{self, HardPair};
use crate::task::interface::rows;
use crate::task::{Annotations, Evaluation, Evaluator, TaskFile};
use crate::train::Scores;

/// An evaluation of one model's embeddings.
pub struct EmbeddingEvaluator {
    asked: RecognitionSpec,
    dataset: Arc<Dataset>,
    /// The split whose pairs are verified.
    split: Split,
    embedded: EmbeddedSamples,
}

impl EmbeddingEvaluator {
    pub fn new(asked: RecognitionSpec, dataset: Arc<Dataset>, split: Split) -> Self {
        Self { asked, dataset, split, embedded: EmbeddedSamples::default() }
    }
}

impl Evaluator for EmbeddingEvaluator {
    fn forward(&self, model: &Model, pass: &mut Pass, from: usize, input: Activations) -> Result<Outputs> {
        Outputs::new(&[EMBEDDINGS], model.embed(pass, from, input)?.into())
    }

    fn output_names(&self, _: &Model) -> &'static [&'static str] {
        &[EMBEDDINGS]
    }

    fn update(
        &mut self,
        _: &mut Tape,
        outputs: &Outputs,
        _: &Annotations,
        samples: &[usize],
    ) -> Result<Scores> {
        for (row, sample) in rows(outputs.get(EMBEDDINGS)?.tensor())?.into_iter().zip(samples) {
            self.embedded.dimension = row.len();
            self.embedded.rows.insert(*sample, row);
        }
        Ok(Scores::new())
    }

    fn finish(self: Box<Self>, stage: &str) -> Result<Evaluation> {
        let Self { asked, dataset, split, embedded } = *self;
        let mut document = json!({ "images": embedded.rows.len(), "dimension": embedded.dimension });
        let mut files = Vec::new();
        if let Some(verification) = &asked.verification {
            let (verified, more) = verify(verification, split, &embedded, &dataset, stage)?;
            document["verification"] = verified;
            files.extend(more);
        }
        if let Some(search) = &asked.identification {
            let (identified, more) = identify(search, &embedded, &dataset, stage)?;
            document["identification"] = identified;
            files.extend(more);
        }
        Ok(Evaluation { document, files, sheets: Vec::new() })
    }
}

fn verify(
    verification: &PairVerification,
    split: Split,
    embedded: &EmbeddedSamples,
    dataset: &Dataset,
    stage: &str,
) -> Result<(Json, Vec<TaskFile>)> {
    let (embeddings, samples) = embedded.part(split, dataset)?;
    let similarities = match &verification.pairs {
        None => Similarities::of_all(&embeddings)?,
        Some(pairs) => {
            // Unreadable images have no embedding.
            let place = |sample: usize| samples.binary_search(&sample).ok();
            let pairs: Vec<(usize, usize)> =
                pairs.iter().filter_map(|&(first, second)| Some((place(first)?, place(second)?))).collect();
            Similarities::of_pairs(&embeddings, &pairs)?
        }
    };
    let result = similarities.verification(&verification.far)?;
    let curve = similarities.roc();
    let picture = report::roc_curve(stage, &result, &curve);

    let named = |risk: &'static str, pair: &SimilarPair| {
        let path = |place: usize| dataset.samples[samples[place]].path.clone();
        let (first, second) = (path(pair.first), path(pair.second));
        HardPair { risk: risk.to_owned(), similarity: pair.similarity, first, second }
    };
    let rejects = similarities.hardest_genuine.iter().map(|pair| named("false reject", pair));
    let accepts = similarities.hardest_impostor.iter().map(|pair| named("false accept", pair));
    let hardest: Vec<HardPair> = rejects.chain(accepts).collect();
    let mut document = json!(result);
    document["split"] = json!(split);
    let files = vec![
        TaskFile::new("roc.csv", report::roc_csv(&curve)),
        TaskFile::new("roc.svg", picture.document()),
        TaskFile::new("roc.png", report::png(&picture)?),
        TaskFile::new("hardest_pairs.csv", report::hard_pairs_csv(&hardest)),
    ];
    Ok((document, files))
}

fn identify(
    search: &GallerySearch,
    embedded: &EmbeddedSamples,
    dataset: &Dataset,
    stage: &str,
) -> Result<(Json, Vec<TaskFile>)> {
    let (queries, _) = embedded.part(search.query, dataset)?;
    let result = match search.query == search.gallery {
        true => IdentificationMetrics::search_within(&queries)?,
        false => IdentificationMetrics::search_gallery(&queries, &embedded.part(search.gallery, dataset)?.0)?,
    };
    let picture = report::match_curve(stage, result.mean_average_precision, &result.cmc);
    let mut document = json!(result);
    document["query_split"] = json!(search.query);
    document["gallery_split"] = json!(search.gallery);
    let files = vec![
        TaskFile::new("cmc.csv", report::match_csv(&result.cmc)),
        TaskFile::new("cmc.svg", picture.document()),
        TaskFile::new("cmc.png", report::png(&picture)?),
    ];
    Ok((document, files))
}
