//! Identification: the most similar images of a gallery identify the query.
//!
//! As is usual in re-identification (Zheng et al. 2015, *Scalable Person Re-identification: A Benchmark*), but
//! without its filter by camera. A query whose identity the gallery lacks is skipped and counted as unmatched.

use std::collections::HashMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::bootstrap::{Intervals, SampleScores, bootstrap};
use super::embeddings::Embeddings;
use crate::error::{Error, Result};

/// The maximum rank of the cumulative match characteristic.
const RANKS: usize = 50;

/// The results of identification; part of the content of `metrics.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IdentificationMetrics {
    /// Queries with a match in the gallery; the rates are over these.
    pub queries: u64,
    pub unmatched_queries: u64,
    /// The number of images that each query is compared with.
    pub gallery: u64,
    pub rank1: f64,
    pub rank5: f64,
    pub rank10: f64,
    /// The mean over queries of the average precision, scikit-learn's `average_precision_score`.
    pub mean_average_precision: f64,
    /// Of these four, by name: queries are drawn, all of an identity together.
    #[serde(default, skip_serializing_if = "Intervals::is_empty")]
    pub intervals: Intervals,
    /// The cumulative match characteristic: at index k − 1 the share of queries with a match among the k most
    /// similar gallery images. An image of another identity that is as similar as the best match is ranked
    /// before it, so constant embeddings identify no query.
    #[serde(skip)]
    pub cmc: Vec<f64>,
}

/// The result of one query.
struct QueryResult {
    identity: u32,
    /// The rank of the best match, from 1.
    rank: usize,
    average_precision: f64,
}

impl IdentificationMetrics {
    /// Searches every query in the gallery.
    ///
    /// # Errors
    /// No query has a match in the gallery.
    pub fn search_gallery(queries: &Embeddings, gallery: &Embeddings) -> Result<Self> {
        Self::looked_up(queries, gallery, false)
    }

    /// Searches every image among all others.
    ///
    /// # Errors
    /// No two images have the same identity.
    pub fn search_within(images: &Embeddings) -> Result<Self> {
        Self::looked_up(images, images, true)
    }

    /// One block of similarities is in memory at a time.
    fn looked_up(queries: &Embeddings, gallery: &Embeddings, without_itself: bool) -> Result<Self> {
        let mut found = Vec::with_capacity(queries.count());
        queries.blocks(
            gallery,
            |_| 0,
            |rows, similarities| {
                let lines = rows.into_par_iter().zip(similarities.par_chunks_exact(gallery.count().max(1)));
                found.par_extend(lines.map(|(query, line)| {
                    let itself = without_itself.then_some(query);
                    look_up(queries.identities()[query], line, gallery.identities(), itself)
                }));
            },
        )?;
        let matched: Vec<&QueryResult> = found.iter().flatten().collect();
        if matched.is_empty() {
            return Err(Error::failed("the gallery has no other image of any query's identity")
                .hint("add images: an identity needs at least two, one of them in the gallery"));
        }
        let compared = gallery.count() - usize::from(without_itself);
        let share = |hits: usize| hits as f64 / matched.len() as f64;
        let rank = |k: usize| share(matched.iter().filter(|found| found.rank <= k).count());
        let precisions: f64 = matched.iter().map(|found| found.average_precision).sum();
        Ok(Self {
            queries: matched.len() as u64,
            unmatched_queries: (found.len() - matched.len()) as u64,
            gallery: compared as u64,
            rank1: rank(1),
            rank5: rank(5),
            rank10: rank(10),
            mean_average_precision: precisions / matched.len() as f64,
            intervals: intervals(&matched),
            cmc: (1..=RANKS.min(compared)).map(rank).collect(),
        })
    }
}

/// Queries of one identity resemble each other, so they are drawn together.
fn intervals(queries: &[&QueryResult]) -> Intervals {
    let mut places = HashMap::new();
    let group = |query: &&QueryResult| {
        let next = places.len();
        *places.entry(query.identity).or_insert(next)
    };
    let groups: Vec<usize> = queries.iter().map(group).collect();
    bootstrap(&groups, |weights| {
        let total: u64 = weights.iter().sum();
        let mean = |value: &dyn Fn(&QueryResult) -> f64| {
            let sum: f64 =
                queries.iter().zip(weights).map(|(query, weight)| value(query) * *weight as f64).sum();
            (total > 0).then_some(sum / total as f64)
        };
        let rank = |k: usize| mean(&|query| f64::from(u8::from(query.rank <= k)));
        SampleScores::from([
            ("rank1", rank(1)),
            ("rank5", rank(5)),
            ("rank10", rank(10)),
            ("mean_average_precision", mean(&|query| query.average_precision)),
        ])
    })
}

/// `None` if the gallery lacks the identity.
fn look_up(
    identity: u32,
    similarities: &[f32],
    gallery: &[u32],
    itself: Option<usize>,
) -> Option<QueryResult> {
    let others = |image: &usize| Some(*image) != itself;
    let (matches, rest): (Vec<usize>, Vec<usize>) =
        (0..gallery.len()).filter(others).partition(|&image| gallery[image] == identity);
    let mut matches: Vec<f32> = matches.into_iter().map(|image| similarities[image]).collect();
    matches.sort_unstable_by(|a, b| b.total_cmp(a));
    // How many of other identities are at least as similar as each match, but not as the one before it.
    let mut ahead = vec![0usize; matches.len() + 1];
    for image in rest {
        ahead[matches.partition_point(|&own| own > similarities[image])] += 1;
    }
    let (mut right, mut wrong, mut precision) = (0usize, 0usize, 0.0);
    for equals in matches.chunk_by(|a, b| a == b) {
        wrong += ahead[right..right + equals.len()].iter().sum::<usize>();
        right += equals.len();
        precision += equals.len() as f64 * right as f64 / (right + wrong) as f64;
    }
    let rank = 1 + ahead[0];
    let average_precision = precision / matches.len() as f64;
    (!matches.is_empty()).then_some(QueryResult { identity, rank, average_precision })
}
