//! Embeddings of images with their identities, and cosine similarities of pairs.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::ops::gemm::{Matrix, gemm};

/// The maximum rows of one product: a block of similarities has this many rows.
const BLOCK: usize = 256;

/// Embeddings scaled to unit length, and the identity of each.
///
/// A zero embedding has no direction: it stays zero, and its similarity with any other is 0.
#[derive(Clone, Debug)]
pub struct Embeddings {
    /// [N, D] row by row.
    rows: Vec<f32>,
    dimension: usize,
    identities: Vec<u32>,
}

impl Embeddings {
    /// Of `rows` [N, D], row by row, and an identity for each.
    ///
    /// # Errors
    /// The lengths differ, or a number is not finite.
    pub fn new(mut rows: Vec<f32>, dimension: usize, identities: Vec<u32>) -> Result<Self> {
        if dimension == 0 || rows.len() != identities.len() * dimension {
            let (numbers, images) = (rows.len(), identities.len());
            return Err(Error::failed(format!(
                "{numbers} numbers for {images} embeddings of dimension {dimension}"
            )));
        }
        for (index, row) in rows.chunks_exact_mut(dimension).enumerate() {
            let squares: f64 = row.iter().map(|&number| f64::from(number) * f64::from(number)).sum();
            if !squares.is_finite() {
                return Err(Error::failed(format!("embedding {index} has a value that is not finite"))
                    .hint("the training of these weights probably diverged"));
            }
            if squares > 0.0 {
                let length = squares.sqrt();
                row.iter_mut().for_each(|number| *number = (f64::from(*number) / length) as f32);
            }
        }
        Ok(Self { rows, dimension, identities })
    }

    pub fn count(&self) -> usize {
        self.identities.len()
    }

    pub fn identities(&self) -> &[u32] {
        &self.identities
    }

    /// The similarity of two images: the same bits in either order, and in [`Self::blocks`].
    pub fn similarity(&self, first: usize, second: usize) -> f32 {
        let mut similarities = [0.0];
        self.products(first..first + 1, self, second..second + 1, &mut similarities);
        similarities[0]
    }

    /// Computes similarities of all images with those of `others`, a block of rows at a time. `visit` gets the
    /// rows, and [rows, columns] row by row; the columns run from `start(first row)` to the last of `others`.
    pub(super) fn blocks(
        &self,
        others: &Embeddings,
        start: impl Fn(usize) -> usize,
        mut visit: impl FnMut(Range<usize>, &[f32]),
    ) -> Result<()> {
        if self.dimension != others.dimension {
            let (one, other) = (self.dimension, others.dimension);
            return Err(Error::failed(format!("embeddings of dimension {one} beside some of {other}")));
        }
        let mut block = vec![0.0; BLOCK.min(self.count()) * others.count()];
        for first in (0..self.count()).step_by(BLOCK) {
            let rows = first..self.count().min(first + BLOCK);
            let columns = start(first)..others.count();
            let similarities = &mut block[..rows.len() * columns.len()];
            self.products(rows.clone(), others, columns, similarities);
            visit(rows, similarities);
        }
        Ok(())
    }

    fn products(&self, rows: Range<usize>, others: &Embeddings, columns: Range<usize>, out: &mut [f32]) {
        let depth = self.dimension;
        let (m, n) = (rows.len(), columns.len());
        let left = Matrix::row_major(&self.rows[rows.start * depth..rows.end * depth], depth);
        let right = Matrix::row_major(&others.rows[columns.start * depth..columns.end * depth], depth);
        gemm(m, n, depth, left, right.transposed(), out, false);
        // Adding zero removes the sign of a zero, so that equal similarities compare equal.
        out.iter_mut().for_each(|similarity| *similarity += 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similarities_have_the_same_bits_one_by_one_and_in_blocks_and_in_either_order() {
        let (count, dimension) = (BLOCK + 9, 131);
        let rows: Vec<f32> =
            (0..count * dimension).map(|i| ((i * 7919) % 1013) as f32 / 506.0 - 1.0).collect();
        let all = Embeddings::new(rows, dimension, vec![0; count]).unwrap();
        all.blocks(
            &all,
            |row| row,
            |rows, similarities| {
                let columns = count - rows.start;
                for (row, line) in rows.clone().zip(similarities.chunks(columns)) {
                    for (at, &similarity) in line.iter().enumerate().step_by(17) {
                        let column = rows.start + at;
                        assert_eq!(all.similarity(row, column).to_bits(), similarity.to_bits());
                        assert_eq!(all.similarity(column, row).to_bits(), similarity.to_bits());
                    }
                }
            },
        )
        .unwrap();
    }

    #[test]
    fn refuses_what_is_no_embedding_and_leaves_zeros() {
        assert!(Embeddings::new(vec![1.0, f32::NAN], 2, vec![0]).is_err());
        assert!(Embeddings::new(vec![1.0, 2.0, 3.0], 2, vec![0]).is_err());
        assert!(Embeddings::new(vec![], 0, vec![]).is_err());
        let some = Embeddings::new(vec![0.0, 0.0, 3.0, 4.0], 2, vec![0, 1]).unwrap();
        assert_eq!((some.similarity(0, 1), some.similarity(1, 1)), (0.0, 1.0));
    }
}
