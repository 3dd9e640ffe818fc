//! Similarity of vectors: `1 / (1 + d²)` with the Euclidean distance `d`.
//!
//! Exact search in tiles of 256 × 256 rows, each one matrix product (`d² = |a|² + |b|² − 2 a·b`), the distances of those kept
//! computed again without cancellation, so copies score exactly 1. `O(rows² · dimensions)` time, 256 KiB of scratch per thread.

use nalgebra::{DMatrix, DMatrixView};
use rayon::prelude::*;

use super::{Neighbors, best_of};
use crate::top_k::{Scored, TopK, best_first};

/// Rows per side of a tile.
const TILE: usize = 256;

/// Vectors of equal length, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingIndex {
    dimensions: usize,
    vectors: Vec<f32>,
    /// `|a|²`; infinite for a row without a usable vector, which is then nobody's neighbour.
    squares: Vec<f32>,
}

impl EmbeddingIndex {
    /// Indexes the rows. A vector that is missing, of another length or not finite is nobody's neighbour.
    #[must_use]
    pub fn new<'a>(dimensions: usize, rows: impl IntoIterator<Item = Option<&'a [f32]>>) -> Self {
        let mut index = Self { dimensions, vectors: Vec::new(), squares: Vec::new() };
        for row in rows {
            let usable = row.filter(|row| row.len() == dimensions && row.iter().all(|x| x.is_finite()));
            let square: f32 = usable.map_or(f32::INFINITY, |row| row.iter().map(|x| x * x).sum());
            match usable.filter(|_| square.is_finite()) {
                Some(row) => index.vectors.extend_from_slice(row),
                None => index.vectors.resize(index.vectors.len() + dimensions, 0.0),
            }
            index.squares.push(square);
        }
        index
    }

    /// Number of rows, those without a vector included.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.squares.len()
    }

    /// Length of a vector.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The `k` nearest rows of every row, itself left out.
    #[must_use]
    pub fn neighbors(&self, k: usize) -> Neighbors {
        let tiles: Vec<Vec<Vec<Scored>>> = (0..self.n_rows().div_ceil(TILE))
            .into_par_iter()
            .map(|tile| self.tile_neighbors(tile * TILE, k))
            .collect();
        let rows: Vec<Vec<Scored>> = tiles.into_iter().flatten().collect();
        Neighbors::from_rows(&rows)
    }

    /// The `k` rows nearest to a vector; none if its length is another or it is not finite.
    #[must_use]
    pub fn query(&self, vector: &[f32], k: usize) -> Vec<Scored> {
        if vector.len() != self.dimensions || !vector.iter().all(|x| x.is_finite()) {
            return Vec::new();
        }
        let scores =
            (0..self.n_rows()).map(|row| Scored { index: row as u32, score: self.score(vector, row) });
        best_of(scores, k, None)
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.vectors[row * self.dimensions..(row + 1) * self.dimensions]
    }

    /// `1 / (1 + d²)`, without cancellation.
    fn score(&self, vector: &[f32], row: usize) -> f32 {
        if self.squares[row].is_infinite() {
            return 0.0;
        }
        let distance: f32 = vector.iter().zip(self.row(row)).map(|(a, b)| (a - b) * (a - b)).sum();
        1.0 / (1.0 + distance)
    }

    /// Neighbours of the rows of one tile, read against all others tile by tile.
    fn tile_neighbors(&self, start: usize, k: usize) -> Vec<Vec<Scored>> {
        let end = (start + TILE).min(self.n_rows());
        let mut best: Vec<TopK> = (start..end).map(|_| TopK::new(k)).collect();
        let mut products = DMatrix::zeros(TILE, end - start);
        for other in (0..self.n_rows()).step_by(TILE) {
            let other_end = (other + TILE).min(self.n_rows());
            let left = self.columns(other, other_end);
            let mut products = products.rows_mut(0, other_end - other);
            products.gemm_tr(1.0, &left, &self.columns(start, end), 0.0);
            for (row, best) in (start..end).zip(&mut best) {
                self.offer(row, other..other_end, products.column(row - start).as_slice(), best);
            }
        }
        let exact = |(row, best): (usize, TopK)| {
            let mut list = best.into_sorted();
            list.iter_mut()
                .for_each(|scored| scored.score = self.score(self.row(row), scored.index as usize));
            list.sort_by(best_first);
            list
        };
        (start..end).zip(best).map(exact).collect()
    }

    fn offer(&self, row: usize, others: std::ops::Range<usize>, products: &[f32], best: &mut TopK) {
        if self.squares[row].is_infinite() {
            return;
        }
        let mut threshold = best.threshold();
        for (other, product) in others.zip(products) {
            // The negative distance orders like the score.
            let near = 2.0 * product - self.squares[row] - self.squares[other];
            if near >= threshold && near > f32::NEG_INFINITY && other != row {
                best.push(other as u32, near);
                threshold = best.threshold();
            }
        }
    }

    fn columns(&self, start: usize, end: usize) -> DMatrixView<'_, f32> {
        let span = start * self.dimensions..end * self.dimensions;
        DMatrixView::from_slice(&self.vectors[span], self.dimensions, end - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn tiles_find_what_comparing_all_pairs_finds() {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let vectors: Vec<Vec<f32>> =
            (0..600).map(|_| (0..7).map(|_| random.random_range(-1.0..1.0)).collect()).collect();
        let index = EmbeddingIndex::new(7, vectors.iter().map(|row| Some(row.as_slice())));
        let neighbors = index.neighbors(9);
        for (row, vector) in vectors.iter().enumerate().step_by(13) {
            let mut expected = index.query(vector, 10);
            expected.retain(|scored| scored.index != row as u32);
            let (ids, scores) = neighbors.row(row as u32);
            assert_eq!(ids, expected.iter().map(|scored| scored.index).collect::<Vec<_>>());
            assert_eq!(scores, expected.iter().map(|scored| scored.score).collect::<Vec<_>>());
        }
    }

    #[test]
    fn copies_score_one_and_rows_without_a_vector_are_nobodys_neighbour() {
        let big = [1e3_f32, 2e3];
        let rows: [Option<&[f32]>; 5] =
            [Some(&big), None, Some(&big), Some(&[0.0, f32::NAN]), Some(&[1e3, 2e3 + 1.0])];
        let neighbors = EmbeddingIndex::new(2, rows).neighbors(10);
        assert_eq!(neighbors.row(0), (&[2, 4][..], &[1.0, 0.5][..]));
        assert_eq!(neighbors.row(1).0.len() + neighbors.row(3).0.len(), 0);
    }

    #[test]
    fn a_vector_of_another_length_finds_nothing() {
        let index = EmbeddingIndex::new(2, [Some(&[0.0, 0.0][..])]);
        assert!(index.query(&[0.0], 3).is_empty());
        assert!(index.query(&[f32::NAN, 0.0], 3).is_empty());
        assert!(EmbeddingIndex::new(0, []).neighbors(3).is_empty());
    }
}
