//! The best items for many users at once.
//!
//! Scores are computed for 64 users and 16 items at a time from packed panels, and a score is looked at only if it beats
//! the worst one its user has kept; no score matrix is ever stored.
//!
//! # Cost
//!
//! `2 · users · items · factors` operations, `items · factors` numbers for the packed copy, 64 lists per thread.
//!
//! # Determinism
//!
//! The same for any number of threads. Scores differ from [`FactorModel::score`](super::FactorModel::score) by rounding.

use rayon::prelude::*;

use crate::linear_algebra::product::{Panel, ScoreStrip, TILE_COLUMNS, TILE_ROWS};
use crate::simd::{self, Kernel, Lanes};
use crate::top_k::{Scored, TopK};

/// Users scored together.
const USERS: usize = 64;

/// Item vectors, packed for scoring many users.
#[derive(Clone, Debug)]
pub struct PackedItems {
    factors: usize,
    n_items: usize,
    /// Strips of 16 items, each `factors × 16`.
    strips: Vec<f32>,
}

impl PackedItems {
    /// Packs row-major item vectors of this length.
    #[must_use]
    pub fn new(items: &[f32], factors: usize) -> Self {
        let n_items = items.len().checked_div(factors).unwrap_or(0);
        let mut strips = vec![0.0; n_items.next_multiple_of(TILE_COLUMNS) * factors];
        for (item, vector) in items.chunks_exact(factors.max(1)).enumerate() {
            let strip = &mut strips[item / TILE_COLUMNS * factors * TILE_COLUMNS..];
            for (factor, &value) in vector.iter().enumerate() {
                strip[factor * TILE_COLUMNS + item % TILE_COLUMNS] = value;
            }
        }
        Self { factors, n_items, strips }
    }

    /// For each row of `users` the best `k` items for which `keep(row, item)` holds, best first.
    ///
    /// `keep` is asked only about items that would make the list, so it may be a search.
    #[must_use]
    pub fn recommend_all<F>(&self, users: &[f32], k: usize, keep: F) -> Vec<Vec<Scored>>
    where
        F: Fn(usize, u32) -> bool + Sync,
    {
        let block = USERS * self.factors;
        if block == 0 {
            return Vec::new();
        }
        let blocks = users.par_chunks(block).enumerate().map(|(index, users)| {
            let keep = |row: usize, item| keep(index * USERS + row, item);
            simd::run(Block { items: self, users, k, keep })
        });
        blocks.collect::<Vec<_>>().into_iter().flatten().collect()
    }
}

struct Block<'a, F> {
    items: &'a PackedItems,
    users: &'a [f32],
    k: usize,
    keep: F,
}

impl<F: Fn(usize, u32) -> bool> Kernel for Block<'_, F> {
    type Output = Vec<Vec<Scored>>;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Self::Output {
        let Self { items, users, k, keep } = self;
        let factors = items.factors;
        let n_users = users.len() / factors;
        let stride = n_users.next_multiple_of(TILE_ROWS);
        let mut left = vec![0.0; factors * stride];
        for (row, vector) in users.chunks_exact(factors).enumerate() {
            for (factor, &value) in vector.iter().enumerate() {
                left[factor * stride + row] = value;
            }
        }
        let mut lists = vec![TopK::new(k); n_users];
        let mut thresholds = [f32::NEG_INFINITY; USERS];
        if k == 0 {
            thresholds.fill(f32::INFINITY);
        }
        let mut scores = [0.0; USERS * TILE_COLUMNS];
        let scores = &mut scores[..stride * TILE_COLUMNS];
        for (index, strip) in items.strips.chunks_exact(factors * TILE_COLUMNS).enumerate() {
            ScoreStrip { left: Panel { values: &left, stride }, strip, scores: &mut *scores }.run(lanes);
            let first = index * TILE_COLUMNS;
            let rows = scores.as_chunks::<TILE_COLUMNS>().0.iter().enumerate();
            for ((row, scores), state) in rows.zip(lists.iter_mut().zip(&mut thresholds)) {
                // The last strip has room for more items than there are.
                let keep = |item: u32| (item as usize) < items.n_items && keep(row, item);
                offer(lanes, state, (first, scores), keep);
            }
        }
        lists.into_iter().map(TopK::into_sorted).collect()
    }
}

/// Offers a strip to a list whose worst score is `threshold`, and keeps that up to date.
#[inline(always)]
fn offer<L: Lanes>(
    lanes: L,
    (list, threshold): (&mut TopK, &mut f32),
    (first, scores): (usize, &[f32; TILE_COLUMNS]),
    keep: impl Fn(u32) -> bool,
) {
    let bound = lanes.splat(*threshold);
    if scores.as_chunks::<8>().0.iter().any(|half| lanes.any_greater(lanes.load(half), bound)) {
        *threshold = take(list, first, scores, keep);
    }
}

/// Takes what beats the list's worst; returns what the next score must beat.
#[inline(never)]
fn take(list: &mut TopK, first: usize, scores: &[f32], keep: impl Fn(u32) -> bool) -> f32 {
    for (offset, &score) in scores.iter().enumerate() {
        let item = (first + offset) as u32;
        // Items come in ascending order: an equal score would lose the tie.
        if score > list.threshold() && keep(item) {
            list.push(item, score);
        }
    }
    list.threshold()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix_factorization::FactorModel;
    use crate::random::Seed;

    #[test]
    fn lists_match_those_made_one_by_one() {
        for (n_users, n_items, factors) in [(1, 1, 1), (67, 100, 5), (64, 16, 16), (130, 333, 20)] {
            let mut random = Seed::new(n_items as u64).generator();
            // Small integers: sums are exact, and ties happen.
            let mut draw = |count| (0..count).map(|_| random.below(5) as f32 - 2.0).collect::<Vec<_>>();
            let (users, items) = (draw(n_users * factors), draw(n_items * factors));
            let model = FactorModel { factors, users, items };
            let seen: Vec<u32> = (0..n_items as u32).filter(|item| item % 3 == 1).collect();
            let lists = PackedItems::new(&model.items, factors)
                .recommend_all(&model.users, 10, |_, item| seen.binary_search(&item).is_err());
            assert_eq!(lists.len(), n_users);
            for (user, list) in lists.iter().enumerate() {
                assert_eq!(list, &model.recommend_into(model.user(user), &seen, 10, &mut Vec::new()));
            }
        }
    }

    #[test]
    fn nothing_to_rank_gives_empty_lists() {
        assert!(PackedItems::new(&[], 3).recommend_all(&[], 5, |_, _| true).is_empty());
        assert!(PackedItems::new(&[], 0).recommend_all(&[], 5, |_, _| true).is_empty());
        assert_eq!(PackedItems::new(&[], 2).recommend_all(&[1.0, 2.0], 5, |_, _| true), [vec![]]);
        assert_eq!(PackedItems::new(&[1.0], 1).recommend_all(&[1.0], 0, |_, _| true), [vec![]]);
    }
}
