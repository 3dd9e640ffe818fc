//! Which items are alike, and which users.
//!
//! | kind | two rows are alike if | module |
//! |---|---|---|
//! | users / items | the same users touched them / they touched the same items | [`overlap`] |
//! | tags | they carry the same rare tags | [`tags`] |
//! | embedding | their vectors are close | [`embedding`] |
//! | auto | mean of tags and overlap | [`Neighbors::mean`] |
//!
//! Every kind builds the same [`Neighbors`], a list per row, best first, scores in (0, 1]. From them
//! [`recall_from_neighbors`] recommends by what a user touched and [`recall_from_similar_users`] by who touched the same.

pub mod embedding;
pub mod overlap;
pub mod tags;

mod accumulator;

pub use accumulator::Accumulator;
pub use embedding::EmbeddingIndex;
pub use overlap::{ColumnWeight, KnnParams, OverlapIndex, OverlapParams, discount_popular};

use rayon::prelude::*;

use crate::interactions::Interactions;
use crate::top_k::{Scored, TopK, best_first};

/// For every row its most similar rows, best first, in flat arrays: 8 bytes per neighbour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Neighbors {
    offsets: Vec<u64>,
    ids: Vec<u32>,
    scores: Vec<f32>,
}

impl Neighbors {
    /// Collects lists that are best first.
    #[must_use]
    pub fn from_rows(rows: &[Vec<Scored>]) -> Self {
        let mut neighbors = Self { offsets: vec![0], ..Self::default() };
        for row in rows {
            neighbors.ids.extend(row.iter().map(|scored| scored.index));
            neighbors.scores.extend(row.iter().map(|scored| scored.score));
            neighbors.offsets.push(neighbors.ids.len() as u64);
        }
        neighbors
    }

    /// Wraps stored arrays; `None` unless offsets start at 0, ascend and end at the number of entries, scores are
    /// finite and descend within a row, and ids are below `n_ids`.
    #[must_use]
    pub fn from_parts(offsets: Vec<u64>, ids: Vec<u32>, scores: Vec<f32>, n_ids: usize) -> Option<Self> {
        let sound = offsets.first() == Some(&0)
            && offsets.is_sorted()
            && offsets.last() == Some(&(ids.len() as u64))
            && ids.len() == scores.len()
            && ids.iter().all(|&id| (id as usize) < n_ids)
            && scores.iter().all(|score| score.is_finite());
        let neighbors = sound.then_some(Self { offsets, ids, scores })?;
        let descend =
            (0..neighbors.n_rows()).all(|row| neighbors.row(row as u32).1.is_sorted_by(|a, b| a >= b));
        descend.then_some(neighbors)
    }

    /// Number of rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Number of neighbours over all rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether no row has a neighbour.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Neighbours of a row and their scores, best first; nothing for a row that does not exist.
    #[must_use]
    #[inline]
    pub fn row(&self, row: u32) -> (&[u32], &[f32]) {
        let row = row as usize;
        let (Some(&start), Some(&end)) = (self.offsets.get(row), self.offsets.get(row + 1)) else {
            return (&[], &[]);
        };
        let span = start as usize..end as usize;
        (&self.ids[span.clone()], &self.scores[span])
    }

    /// Neighbours of several rows at once, in their order.
    pub fn rows<'a>(&'a self, rows: &'a [u32]) -> impl Iterator<Item = (&'a [u32], &'a [f32])> {
        rows.iter().map(|&row| self.row(row))
    }

    /// Row boundaries, for storing.
    #[must_use]
    pub fn offsets(&self) -> &[u64] {
        &self.offsets
    }

    /// Neighbours of all rows one after the other, for storing.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Scores of all rows one after the other, for storing.
    #[must_use]
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// The same pairs seen from the other end: row `i` lists, best first, those of whom `i` is a neighbour.
    #[must_use]
    pub fn transposed(&self, n_rows: usize) -> Self {
        let mut rows: Vec<Vec<Scored>> = vec![Vec::new(); n_rows];
        for target in 0..self.n_rows() as u32 {
            let (ids, scores) = self.row(target);
            for (&source, &score) in ids.iter().zip(scores) {
                rows.get_mut(source as usize)
                    .into_iter()
                    .for_each(|row| row.push(Scored { index: target, score }));
            }
        }
        rows.par_iter_mut().for_each(|row| row.sort_by(best_first));
        Self::from_rows(&rows)
    }

    /// Mean of two similarities over the same rows, the best `k`; a pair missing on one side counts 0 there.
    #[must_use]
    pub fn mean(&self, other: &Self, k: usize) -> Self {
        let n_rows = self.n_rows().max(other.n_rows());
        let highest = self.ids.iter().chain(&other.ids).max().map_or(0, |&id| id as usize + 1);
        let rows: Vec<Vec<Scored>> = (0..n_rows as u32)
            .into_par_iter()
            .map_init(
                || Accumulator::new(highest),
                |sums, row| {
                    for (ids, scores) in [self.row(row), other.row(row)] {
                        sums.add_scaled(ids, scores, 0.5);
                    }
                    sums.drain_top(k, |_| true)
                },
            )
            .collect();
        Self::from_rows(&rows)
    }
}

/// The best `k` items for a history of `(item, weight)`: the score of `j` is `Σ_i weight_i · similarity(i, j)`.
///
/// `accept` drops candidates (seen, hidden) before the cut, so a heavy reader still gets `k`. The sums are left
/// empty in `sums`, which is to be reused. `O(history · neighbours)`.
pub fn recall_from_neighbors(
    history: &[(u32, f32)],
    neighbors: &Neighbors,
    sums: &mut Accumulator,
    k: usize,
    accept: impl FnMut(u32) -> bool,
) -> Vec<Scored> {
    for &(item, weight) in history {
        let (ids, scores) = neighbors.row(item);
        sums.add_scaled(ids, scores, weight);
    }
    sums.drain_top(k, accept)
}

/// The best `k` items of similar users, given as `(user, similarity)`: the score of `j` is
/// `Σ_v similarity_v · weight(v, j)`. Otherwise like [`recall_from_neighbors`]; `O(items of these users)`.
pub fn recall_from_similar_users(
    similar: &[(u32, f32)],
    interactions: &Interactions,
    sums: &mut Accumulator,
    k: usize,
    accept: impl FnMut(u32) -> bool,
) -> Vec<Scored> {
    for &(user, similarity) in similar {
        let (items, weights) = interactions.row(user as usize);
        sums.add_scaled(items, weights, similarity);
    }
    sums.drain_top(k, accept)
}

/// The best `k` rows of a dense list of scores, leaving out `except` and scores that are not above 0.
fn best_of(scores: impl Iterator<Item = Scored>, k: usize, except: Option<u32>) -> Vec<Scored> {
    let mut best = TopK::new(k);
    for Scored { index, score } in scores {
        if score > best.threshold().max(0.0) && Some(index) != except {
            best.push(index, score);
        }
    }
    best.into_sorted()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(pairs: &[(u32, f32)]) -> Vec<Scored> {
        pairs.iter().map(|&(index, score)| Scored { index, score }).collect()
    }

    fn small() -> Neighbors {
        Neighbors::from_rows(&[list(&[(1, 0.5), (2, 0.25)]), list(&[(2, 1.0)]), vec![]])
    }

    #[test]
    fn rows_are_looked_up_one_by_one_or_together() {
        assert_eq!(small().row(0), (&[1, 2][..], &[0.5, 0.25][..]));
        assert_eq!(small().row(7).0.len(), 0);
        assert_eq!(small().rows(&[1, 0]).map(|(ids, _)| ids.len()).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn the_mean_counts_a_missing_pair_as_zero() {
        let other = Neighbors::from_rows(&[list(&[(2, 0.75)])]);
        let mean = small().mean(&other, 5);
        assert_eq!(mean.row(0), (&[2, 1][..], &[0.5, 0.25][..]));
        assert_eq!(mean.row(1), (&[2][..], &[0.5][..]));
        assert_eq!(small().mean(&other, 1).row(0).0, [2]);
    }

    #[test]
    fn turning_pairs_round_keeps_them_best_first() {
        let turned = small().transposed(3);
        assert_eq!(turned.row(2), (&[1, 0][..], &[1.0, 0.25][..]));
        assert_eq!(turned.row(0).0.len(), 0);
        assert_eq!(turned.transposed(3), small());
    }

    #[test]
    fn unsound_parts_are_refused() {
        let parts = |ids: Vec<u32>, scores: Vec<f32>| Neighbors::from_parts(vec![0, 2], ids, scores, 3);
        assert!(parts(vec![0, 2], vec![0.5, 0.25]).is_some());
        assert!(parts(vec![0, 3], vec![0.5, 0.25]).is_none(), "id outside");
        assert!(parts(vec![0, 2], vec![0.25, 0.5]).is_none(), "not best first");
        assert!(parts(vec![0, 2], vec![f32::NAN, 0.5]).is_none());
        assert!(parts(vec![0], vec![0.5]).is_none());
    }

    #[test]
    fn items_are_recalled_by_similarity_times_weight_and_refused_ones_leave_room() {
        let mut sums = Accumulator::new(3);
        let recall = |sums: &mut Accumulator, k| {
            recall_from_neighbors(&[(0, 2.0), (1, 0.1)], &small(), sums, k, |item| item != 1)
        };
        assert_eq!(recall(&mut sums, 1), list(&[(2, 0.6)]));
        assert_eq!(recall(&mut sums, 9), list(&[(2, 0.6)]), "nothing is left over from the first time");
    }

    #[test]
    fn similar_users_vote_with_their_items() {
        let interactions =
            Interactions::from_triples(2, 3, vec![(0, 0, 1.0), (0, 1, 1.0), (1, 1, 2.0), (1, 2, 1.0)]);
        let mut sums = Accumulator::new(3);
        let found = recall_from_similar_users(&[(0, 0.5), (1, 0.25)], &interactions, &mut sums, 3, |_| true);
        assert_eq!(found, list(&[(1, 1.0), (0, 0.5), (2, 0.25)]));
        let discounted = discount_popular(&interactions, 1.0);
        let found = recall_from_similar_users(&[(0, 0.5), (1, 0.25)], &discounted, &mut sums, 3, |_| true);
        assert_eq!(found, list(&[(0, 0.5), (1, 0.5), (2, 0.25)]));
    }
}
