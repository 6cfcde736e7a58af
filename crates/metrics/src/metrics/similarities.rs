//! The similarities of genuine pairs and of impostor pairs.

use std::cmp::Ordering;

use rayon::prelude::*;

use super::embeddings::Embeddings;
use crate::error::{Error, Result};

/// How many of the hardest pairs on each side are kept by name.
const HARDEST: usize = 20;
/// The maximum number of pairs in memory: 4 GiB of similarities, for 46,000 images.
const MOST: usize = 1 << 30;

/// Two images and their similarity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimilarPair {
    pub first: usize,
    pub second: usize,
    pub similarity: f32,
}

/// The similarities of genuine pairs (two images of one identity) and of impostors (two identities), four bytes
/// a pair: 200 MB for all pairs of 10,000 images.
#[derive(Clone, Debug, Default)]
pub struct Similarities {
    /// Both in descending order.
    pub(super) genuine: Vec<f32>,
    pub(super) impostor: Vec<f32>,
    /// The genuine pairs with the lowest similarity, lowest first.
    pub hardest_genuine: Vec<SimilarPair>,
    /// The impostors with the highest similarity, highest first.
    pub hardest_impostor: Vec<SimilarPair>,
}

impl Similarities {
    /// Of all pairs.
    ///
    /// # Errors
    /// There are too many pairs, or all are genuine, or none.
    pub fn of_all(embeddings: &Embeddings) -> Result<Self> {
        let identities = embeddings.identities();
        let count = identities.len();
        let pairs = |count: usize| count * count.saturating_sub(1) / 2;
        if pairs(count) > MOST {
            return Err(Error::usage(format!(
                "{count} images have {} pairs, more than the limit of {MOST}",
                pairs(count)
            ))
            .hint("list the pairs to compare in a file: `pairs = \"pairs.csv\"`"));
        }
        let mut sorted = identities.to_vec();
        sorted.sort_unstable();
        let genuine: usize = sorted.chunk_by(|a, b| a == b).map(|images| pairs(images.len())).sum();
        let mut all = Self {
            genuine: Vec::with_capacity(genuine),
            impostor: Vec::with_capacity(pairs(count) - genuine),
            ..Self::default()
        };
        embeddings.blocks(
            embeddings,
            |row| row,
            |rows, similarities| {
                let columns = count - rows.start;
                for (row, line) in rows.clone().zip(similarities.chunks_exact(columns)) {
                    for (second, &similarity) in (rows.start..).zip(line).skip(row - rows.start + 1) {
                        let pair = SimilarPair { first: row, second, similarity };
                        all.add(pair, identities[row] == identities[second]);
                    }
                }
            },
        )?;
        all.sorted()
    }

    /// Of the listed pairs.
    ///
    /// # Errors
    /// All pairs are genuine, or none.
    pub fn of_pairs(embeddings: &Embeddings, pairs: &[(usize, usize)]) -> Result<Self> {
        let identities = embeddings.identities();
        let mut all = Self::default();
        for &(first, second) in pairs {
            let similarity = embeddings.similarity(first, second);
            all.add(SimilarPair { first, second, similarity }, identities[first] == identities[second]);
        }
        all.sorted()
    }

    fn add(&mut self, pair: SimilarPair, genuine: bool) {
        if genuine {
            self.genuine.push(pair.similarity);
            insert_hardest(&mut self.hardest_genuine, pair, |a, b| a.total_cmp(&b));
        } else {
            self.impostor.push(pair.similarity);
            insert_hardest(&mut self.hardest_impostor, pair, |a, b| b.total_cmp(&a));
        }
    }

    fn sorted(mut self) -> Result<Self> {
        if self.genuine.is_empty() || self.impostor.is_empty() {
            let (missing, cure) = match self.genuine.is_empty() {
                true => ("no pair has images of the same identity", "add two images of one identity"),
                false => ("all pairs have images of the same identity", "add images of two identities"),
            };
            return Err(Error::failed(format!("{missing}, so verification cannot be measured")).hint(cure));
        }
        self.genuine.par_sort_unstable_by(|a, b| b.total_cmp(a));
        self.impostor.par_sort_unstable_by(|a, b| b.total_cmp(a));
        Ok(self)
    }
}

/// Inserts a pair into the sorted list of the hardest; equal ones stay in their order.
fn insert_hardest(hardest: &mut Vec<SimilarPair>, pair: SimilarPair, harder: impl Fn(f32, f32) -> Ordering) {
    let ahead = |other: &SimilarPair| harder(other.similarity, pair.similarity) != Ordering::Greater;
    if hardest.len() == HARDEST && ahead(&hardest[HARDEST - 1]) {
        return;
    }
    hardest.insert(hardest.partition_point(ahead), pair);
    hardest.truncate(HARDEST);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unit vectors at angles, so that similarities are cosines of differences.
    fn at_angles(angles: &[(f64, u32)]) -> Embeddings {
        let rows = angles.iter().flat_map(|&(angle, _)| [libm::cos(angle) as f32, libm::sin(angle) as f32]);
        Embeddings::new(rows.collect(), 2, angles.iter().map(|&(_, identity)| identity).collect()).unwrap()
    }

    #[test]
    fn every_pair_is_counted_once_and_the_hardest_are_named() {
        // Enough images for several blocks. Each identity has two neighbouring angles, except one whose two are
        // far apart.
        let mut angles: Vec<(f64, u32)> = (0..600).map(|i| (f64::from(i) * 1e-3, i / 2)).collect();
        angles[7].0 = 3.0;
        let embeddings = at_angles(&angles);
        let all = Similarities::of_all(&embeddings).unwrap();
        assert_eq!((all.genuine.len(), all.impostor.len()), (300, 600 * 599 / 2 - 300));
        assert!(all.genuine.is_sorted_by(|a, b| a >= b) && all.impostor.is_sorted_by(|a, b| a >= b));
        assert_eq!((all.hardest_genuine[0].first, all.hardest_genuine[0].second), (6, 7));
        assert_eq!((all.hardest_genuine.len(), all.hardest_impostor.len()), (HARDEST, HARDEST));
        assert_eq!(all.hardest_impostor[0].similarity, all.impostor[0]);
        assert_eq!(all.hardest_genuine[0].similarity, *all.genuine.last().unwrap());

        let every: Vec<(usize, usize)> = (0..600).flat_map(|i| (i + 1..600).map(move |j| (i, j))).collect();
        let listed = Similarities::of_pairs(&embeddings, &every[..5000]).unwrap();
        assert_eq!(listed.genuine.len() + listed.impostor.len(), 5000);
        let listed = Similarities::of_pairs(&embeddings, &every).unwrap();
        assert_eq!((&listed.genuine, &listed.impostor), (&all.genuine, &all.impostor));
        assert_eq!(listed.hardest_impostor, all.hardest_impostor);
        assert_eq!(listed.hardest_genuine, all.hardest_genuine);
    }

    #[test]
    fn one_side_alone_is_nothing_to_tell_apart() {
        let alone = |identities: [u32; 2]| at_angles(&[(0.0, identities[0]), (1.0, identities[1])]);
        assert!(Similarities::of_all(&alone([1, 1])).unwrap_err().message.contains("all pairs have"));
        assert!(Similarities::of_all(&alone([1, 2])).unwrap_err().message.contains("no pair has"));
    }
}
