//! Quality of ranked lists.
//!
//! # Protocol
//!
//! Every user with at least one test item counts once. The user's seen items are masked and all others ranked by score,
//! ties by lower index. With `h` the hits among the first `K` and `t` the number of the user's test items:
//!
//! | measure | per user |
//! |---|---|
//! | NDCG@K | `Σ_hits 1/log2(rank+1)` over the same sum for `min(K, t)` hits at the top |
//! | recall@K | `h / t` |
//! | precision@K | `h / K` |
//! | hit rate@K | 1 if `h > 0` |
//! | MAP@K | `Σ_hits (hits so far / rank) / min(K, t)` |
//! | MRR@K | `1 / rank` of the first hit, 0 without |
//!
//! A report keeps the values per user, so that two models can be compared user by user ([`super::interval`]).
//!
//! # Determinism
//!
//! The same for any number of threads: users are independent and summed in order.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::interactions::Interactions;
use crate::top_k::{Scored, TopK};

/// The measures of one user, or their means, at one cutoff.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RankingMeasures {
    /// Normalized discounted cumulative gain, binary.
    pub ndcg: f64,
    /// Share of the test items found.
    pub recall: f64,
    /// Share of the list that are test items.
    pub precision: f64,
    /// Whether any test item was found.
    pub hit_rate: f64,
    /// Average precision.
    pub map: f64,
    /// Reciprocal rank of the first hit.
    pub mrr: f64,
}

/// The measures at one cutoff.
#[derive(Clone, Debug, PartialEq)]
pub struct AtCutoff {
    /// Length of the list.
    pub k: usize,
    /// One entry per user of [`RankingReport::users`].
    pub per_user: Vec<RankingMeasures>,
    /// Distinct items in the lists, as a share of the catalogue.
    pub coverage: f64,
}

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq)]
pub struct RankingReport {
    /// The users that were counted.
    pub users: Vec<u32>,
    /// One entry per cutoff asked for.
    pub cutoffs: Vec<AtCutoff>,
}

impl AtCutoff {
    /// Means over the users; zeros without users.
    #[must_use]
    pub fn mean(&self) -> RankingMeasures {
        let count = self.per_user.len().max(1) as f64;
        // From +0: the sum of nothing is -0.
        let sum =
            |value: fn(&RankingMeasures) -> f64| self.per_user.iter().map(value).fold(0.0, |a, b| a + b);
        let mean = |value| sum(value) / count;
        RankingMeasures {
            ndcg: mean(|user| user.ndcg),
            recall: mean(|user| user.recall),
            precision: mean(|user| user.precision),
            hit_rate: mean(|user| user.hit_rate),
            map: mean(|user| user.map),
            mrr: mean(|user| user.mrr),
        }
    }

    /// One measure, user by user.
    #[must_use]
    pub fn values(&self, measure: fn(&RankingMeasures) -> f64) -> Vec<f64> {
        self.per_user.iter().map(measure).collect()
    }
}

impl RankingReport {
    /// The measures at a cutoff that was asked for.
    #[must_use]
    pub fn at(&self, k: usize) -> Option<&AtCutoff> {
        self.cutoffs.iter().find(|cutoff| cutoff.k == k)
    }
}

/// Who is evaluated on what.
#[derive(Clone, Copy, Debug)]
pub struct RankingTest<'a> {
    /// Rows are users, entries the items that should be found; users without entries are skipped.
    pub test: &'a Interactions,
    /// Rows are users, entries the items to mask, usually the train part.
    pub seen: &'a Interactions,
    /// Lengths of the list to report.
    pub cutoffs: &'a [usize],
}

impl RankingTest<'_> {
    /// The users that have something to be found, ascending.
    #[must_use]
    pub fn users(&self) -> Vec<u32> {
        (0..self.test.n_rows() as u32).filter(|&user| !self.test.row(user as usize).0.is_empty()).collect()
    }

    /// Ranks what `score` offers for each user: it pushes candidates, in any order, seen or not.
    #[must_use]
    pub fn evaluate(&self, score: &(dyn Fn(u32, &mut Vec<Scored>) + Sync)) -> RankingReport {
        let k = self.cutoffs.iter().copied().max().unwrap_or(0);
        let rank = |candidates: &mut Vec<Scored>, &user: &u32| {
            candidates.clear();
            score(user, candidates);
            best_of(candidates, self.seen.row(user as usize).0, k)
        };
        let users = self.users();
        let lists: Vec<Vec<u32>> = users.par_iter().map_init(Vec::new, rank).collect();
        self.report(users, &lists)
    }

    /// Measures lists that were made already, one per row of the test, seen items left out.
    #[must_use]
    pub fn evaluate_lists(&self, lists: &[Vec<Scored>]) -> RankingReport {
        let users = self.users();
        let list = |&user: &u32| {
            lists
                .get(user as usize)
                .map_or_else(Vec::new, |list| list.iter().map(|scored| scored.index).collect())
        };
        let chosen: Vec<Vec<u32>> = users.iter().map(list).collect();
        self.report(users, &chosen)
    }

    fn report(&self, users: Vec<u32>, lists: &[Vec<u32>]) -> RankingReport {
        let at = |&k: &usize| {
            let measure = |(&user, list): (&u32, &Vec<u32>)| measure(list, self.test.row(user as usize).0, k);
            let per_user = users.iter().zip(lists).map(measure).collect();
            AtCutoff { k, per_user, coverage: coverage(lists, k, self.test.n_cols()) }
        };
        RankingReport { cutoffs: self.cutoffs.iter().map(at).collect(), users }
    }
}

/// The best `k` candidates that are not in `seen`, best first.
fn best_of(candidates: &[Scored], seen: &[u32], k: usize) -> Vec<u32> {
    let mut top = TopK::new(k);
    for candidate in candidates {
        if candidate.score >= top.threshold() && seen.binary_search(&candidate.index).is_err() {
            top.push(candidate.index, candidate.score);
        }
    }
    top.into_sorted().into_iter().map(|scored| scored.index).collect()
}

/// Measures one list (best first, distinct) against the user's test items (ascending).
#[must_use]
pub fn measure(list: &[u32], test: &[u32], k: usize) -> RankingMeasures {
    let reachable = k.min(test.len());
    if reachable == 0 {
        return RankingMeasures::default();
    }
    let discount = |rank: usize| 1.0 / (rank as f64 + 1.0).log2();
    let (mut hits, mut gain, mut precisions, mut first) = (0_usize, 0.0, 0.0, 0.0);
    for (rank, item) in (1..=k).zip(list) {
        if test.binary_search(item).is_ok() {
            hits += 1;
            gain += discount(rank);
            precisions += hits as f64 / rank as f64;
            if hits == 1 {
                first = 1.0 / rank as f64;
            }
        }
    }
    let ideal: f64 = (1..=reachable).map(discount).sum();
    RankingMeasures {
        ndcg: gain / ideal,
        recall: hits as f64 / test.len() as f64,
        precision: hits as f64 / k as f64,
        hit_rate: f64::from(u8::from(hits > 0)),
        map: precisions / reachable as f64,
        mrr: first,
    }
}

fn coverage(lists: &[Vec<u32>], k: usize, n_items: usize) -> f64 {
    let mut shown = vec![false; n_items];
    for &item in lists.iter().flat_map(|list| list.iter().take(k)) {
        if let Some(shown) = shown.get_mut(item as usize) {
            *shown = true;
        }
    }
    shown.iter().filter(|&&shown| shown).count() as f64 / n_items.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn measures_match_a_calculation_by_hand() {
        // Hits at ranks 2 and 4 of 5; three test items.
        let measures = measure(&[9, 1, 8, 3, 7], &[1, 3, 6], 5);
        let gain = 1.0 / 3_f64.log2() + 1.0 / 5_f64.log2();
        let ideal = 1.0 + 1.0 / 3_f64.log2() + 0.5;
        assert!((measures.ndcg - gain / ideal).abs() < 1e-12);
        assert!((measures.recall - 2.0 / 3.0).abs() < 1e-12);
        assert!((measures.precision - 0.4).abs() < 1e-12);
        assert!((measures.map - (0.5 + 0.5) / 3.0).abs() < 1e-12);
        assert_eq!((measures.hit_rate, measures.mrr), (1.0, 0.5));
        assert_eq!(measure(&[9, 1], &[1], 1), RankingMeasures::default());
        assert_eq!(measure(&[], &[1], 0), RankingMeasures::default());
    }

    proptest! {
        #[test]
        fn measures_lie_between_zero_and_one(
            list in proptest::collection::btree_set(0_u32..40, 0..20),
            test in proptest::collection::btree_set(0_u32..40, 0..20),
            k in 0_usize..25,
        ) {
            let (list, test): (Vec<u32>, Vec<u32>) = (list.into_iter().collect(), test.into_iter().collect());
            let m = measure(&list, &test, k);
            for value in [m.ndcg, m.recall, m.precision, m.hit_rate, m.map, m.mrr] {
                prop_assert!((0.0..=1.0 + 1e-12).contains(&value), "{m:?}");
            }
            let perfect = measure(&test, &test, k);
            if k > 0 && !test.is_empty() {
                prop_assert!((perfect.ndcg - 1.0).abs() < 1e-12 && (perfect.map - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn users_without_test_items_do_not_count_and_seen_items_are_masked() {
        let test = Interactions::from_triples(3, 4, vec![(0, 1, 1.0), (2, 3, 1.0)]);
        let seen = Interactions::from_triples(3, 4, vec![(0, 0, 1.0), (2, 0, 1.0)]);
        let protocol = RankingTest { test: &test, seen: &seen, cutoffs: &[1, 2] };
        let report = protocol.evaluate(&|_, candidates| {
            // All items tie, offered backwards: the lowest unseen index must win.
            candidates.extend((0..4).rev().map(|index| Scored { index, score: 1.0 }));
        });
        assert_eq!(report.users, [0, 2]);
        let first = report.at(1).unwrap();
        assert_eq!(first.values(|user| user.hit_rate), [1.0, 0.0]);
        assert_eq!(first.coverage, 0.25);
        assert_eq!(report.at(2).unwrap().mean().recall, 0.5);
        assert!(report.at(3).is_none());
    }

    #[test]
    fn lists_made_elsewhere_are_measured_alike_for_any_number_of_threads() {
        let test = Interactions::from_triples(50, 30, (0..50).map(|user| (user, user % 30, 1.0)).collect());
        let seen = Interactions::from_triples(50, 30, Vec::new());
        let protocol = RankingTest { test: &test, seen: &seen, cutoffs: &[5] };
        let score = |user: u32, item: u32| ((user * 7 + item * 13) % 17) as f32;
        let offer = |user: u32, candidates: &mut Vec<Scored>| {
            candidates.extend((0..30).map(|index| Scored { index, score: score(user, index) }));
        };
        let lists: Vec<Vec<Scored>> = (0..50)
            .map(|user| {
                let mut top = TopK::new(5);
                (0..30).for_each(|item| top.push(item, score(user, item)));
                top.into_sorted()
            })
            .collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let parallel = pool.install(|| protocol.evaluate(&offer));
        assert_eq!(parallel, protocol.evaluate_lists(&lists));
    }
}
