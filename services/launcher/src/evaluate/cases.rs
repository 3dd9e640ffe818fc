//! What is asked of a model and what its answers are worth.
//!
//! A case is one list to be made: for a user, from all items the user has not met, or from the few items that the split
//! names. Models answer many cases at once, so that each can do so in its fastest way.

use rayon::prelude::*;
use ulex_algorithms::evaluation::classification;
use ulex_algorithms::evaluation::ranking::RankingTest;
use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::random::Seed;
use ulex_algorithms::similarity::Accumulator;
use ulex_algorithms::top_k::Scored;

use super::report::Report;
use super::splits::Negatives;

/// Reused from list to list.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Sparse sums.
    pub sums: Accumulator,
    /// One score for each item.
    pub scores: Vec<f32>,
}

/// Whether an item may stand in the list of a case.
pub type Keep<'a> = &'a (dyn Fn(usize, u32) -> bool + Sync);

/// A fitted model that makes lists.
pub trait Recommends: Sync {
    /// The best `k` items for a user among those for which `keep` holds, best first, ties to the lower index.
    fn recommend(
        &self,
        user: u32,
        k: usize,
        keep: &dyn Fn(u32) -> bool,
        scratch: &mut Scratch,
    ) -> Vec<Scored>;

    /// One list for each case; `users[case]` is who asks.
    fn recommend_all(&self, users: &[u32], k: usize, keep: Keep<'_>) -> Vec<Vec<Scored>> {
        let list = |scratch: &mut Scratch, (case, &user): (usize, &u32)| {
            self.recommend(user, k, &|item| keep(case, item), scratch)
        };
        users.par_iter().enumerate().map_init(Scratch::default, list).collect()
    }
}

/// Lists that are to be made, and what should be in them.
#[derive(Clone, Debug)]
pub struct Cases {
    /// Who asks.
    pub users: Vec<u32>,
    /// Rows are cases, entries what should be found.
    pub wanted: Interactions,
    /// What may be in the list, ascending; `None`: everything but what the user has met.
    pub pools: Option<Vec<Vec<u32>>>,
}

impl Cases {
    /// One case for each user with something to be found.
    #[must_use]
    pub fn new(test: &Interactions) -> Self {
        let users: Vec<u32> =
            (0..test.n_rows() as u32).filter(|&user| !test.row(user as usize).0.is_empty()).collect();
        let wanted = users
            .iter()
            .zip(0..)
            .flat_map(|(&user, case)| test.row(user as usize).0.iter().map(move |&item| (case, item, 1.0)));
        let wanted = Interactions::from_triples(users.len(), test.n_cols(), wanted.collect());
        Self { users, wanted, pools: None }
    }

    /// One case for each positive item with the items it is ranked against.
    #[must_use]
    pub fn among(negatives: &[Negatives], n_items: usize) -> Self {
        let wanted = negatives.iter().zip(0..).map(|(case, row)| (row, case.positive, 1.0)).collect();
        let pool = |case: &Negatives| {
            let mut pool = [&case.items[..], &[case.positive]].concat();
            pool.sort_unstable();
            pool
        };
        Self {
            users: negatives.iter().map(|case| case.user).collect(),
            wanted: Interactions::from_triples(negatives.len(), n_items, wanted),
            pools: Some(negatives.iter().map(pool).collect()),
        }
    }

    /// Has every list made; rows of `met` are the users' items that must not come back.
    #[must_use]
    pub fn answer(&self, model: &dyn Recommends, met: &Interactions, k: usize) -> Vec<Vec<Scored>> {
        match &self.pools {
            None => {
                let keep = |case: usize, item: u32| !met.contains(self.users[case] as usize, item);
                model.recommend_all(&self.users, k, &keep)
            }
            Some(pools) => {
                let keep = |case: usize, item: u32| pools[case].binary_search(&item).is_ok();
                model.recommend_all(&self.users, k, &keep)
            }
        }
    }

    /// Notes what the lists are worth at every cutoff.
    pub fn measure(&self, lists: &[Vec<Scored>], cutoffs: &[usize], report: &mut Report) {
        let nothing = Interactions::from_triples(self.wanted.n_rows(), self.wanted.n_cols(), Vec::new());
        let test = RankingTest { test: &self.wanted, seen: &nothing, cutoffs };
        for at in &test.evaluate_lists(lists).cutoffs {
            let mean = at.mean();
            report.put_at("ndcg", at.k, mean.ndcg);
            report.put_at("recall", at.k, mean.recall);
            report.put_at("precision", at.k, mean.precision);
            report.put_at("hr", at.k, mean.hit_rate);
            report.put_at("map", at.k, mean.map);
            report.put_at("mrr", at.k, mean.mrr);
            report.put_at("coverage", at.k, at.coverage);
        }
    }

    /// The probability that `score` puts an item that should be found above one drawn at random from those the user
    /// has neither met nor should find; `None` if there are no such pairs.
    #[must_use]
    pub fn auc(&self, met: &Interactions, seed: u64, score: &dyn Fn(u32, &[u32]) -> Vec<f32>) -> Option<f64> {
        let mut random = Seed::new(seed).purpose("evaluate.auc").generator();
        let (mut scores, mut labels) = (Vec::new(), Vec::new());
        for (case, &user) in self.users.iter().enumerate() {
            let mut items = self.wanted.row(case).0.to_vec();
            let positives = items.len();
            // A user who has met nearly everything yields fewer; the attempts are bounded.
            let drawn = (0..positives * 4).map(|_| random.below((self.wanted.n_cols() as u32).max(1)));
            let unknown =
                drawn.filter(|&item| !self.wanted.contains(case, item) && !met.contains(user as usize, item));
            items.extend(unknown.take(positives));
            scores.extend(score(user, &items));
            labels.extend((0..items.len()).map(|place| place < positives));
        }
        classification::auc(&scores, &labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulex_algorithms::top_k::TopK;

    /// Scores an item by its index.
    struct Highest(u32);

    impl Recommends for Highest {
        fn recommend(&self, _: u32, k: usize, keep: &dyn Fn(u32) -> bool, _: &mut Scratch) -> Vec<Scored> {
            let mut top = TopK::new(k);
            (0..self.0).filter(|&item| keep(item)).for_each(|item| top.push(item, item as f32));
            top.into_sorted()
        }
    }

    fn listed(lists: &[Vec<Scored>]) -> Vec<Vec<u32>> {
        lists.iter().map(|list| list.iter().map(|scored| scored.index).collect()).collect()
    }

    #[test]
    fn users_are_asked_once_and_never_shown_what_they_have_met() {
        let test = Interactions::from_triples(3, 5, vec![(0, 1, 1.0), (2, 4, 1.0), (2, 3, 1.0)]);
        let met = Interactions::from_triples(3, 5, vec![(0, 4, 1.0), (1, 4, 1.0)]);
        let cases = Cases::new(&test);
        assert_eq!(cases.users, [0, 2]);
        let lists = cases.answer(&Highest(5), &met, 2);
        assert_eq!(listed(&lists), [[3, 2], [4, 3]]);
        let mut report = Report::default();
        cases.measure(&lists, &[1, 2], &mut report);
        assert_eq!(report.get("recall@2"), Some(&0.5.into()));
        assert_eq!(report.get("hr@1"), Some(&0.5.into()));
        assert_eq!(report.get("coverage@2"), Some(&0.6.into()));
    }

    #[test]
    fn given_negatives_are_all_that_is_ranked() {
        let negatives = [Negatives { user: 1, positive: 2, items: vec![0, 3] }];
        let cases = Cases::among(&negatives, 5);
        let met = Interactions::from_triples(2, 5, Vec::new());
        let lists = cases.answer(&Highest(5), &met, 10);
        assert_eq!(listed(&lists), [[3, 2, 0]]);
        let mut report = Report::default();
        cases.measure(&lists, &[10], &mut report);
        assert_eq!(report.get("mrr@10"), Some(&0.5.into()));
    }

    #[test]
    fn the_area_under_the_curve_is_one_for_a_model_that_knows_and_a_half_for_one_that_does_not() {
        let test = Interactions::from_triples(30, 40, (0..30).map(|user| (user, 39, 1.0)).collect());
        let met = Interactions::from_triples(30, 40, (0..30).map(|user| (user, user, 1.0)).collect());
        let cases = Cases::new(&test);
        let knows = |_: u32, items: &[u32]| items.iter().map(|&item| item as f32).collect();
        assert_eq!(cases.auc(&met, 1, &knows), Some(1.0));
        assert_eq!(cases.auc(&met, 1, &|_, items| vec![0.0; items.len()]), Some(0.5));
    }
}
