//! What a model may learn from, and what it is judged by.
//!
//! Input are touches in any order, rows are users; output are positions in that input, ascending, each touch in at
//! most one part. Where a method goes by time, ties are broken by position: the later in the list the later it happened.
//! Users with too few touches keep them all for training.
//!
//! Cost: `O(n log n)`. Random methods are seeded, per user, so that one user's data do not change another's split.

use rayon::prelude::*;

use crate::interactions::Interactions;
use crate::random::Seed;

/// One touch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Touch {
    /// Row.
    pub user: u32,
    /// Column.
    pub item: u32,
    /// Strength.
    pub weight: f32,
    /// When, in any unit that grows with time.
    pub time: i64,
}

/// Positions of the touches in each part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// For fitting.
    pub train: Vec<u32>,
    /// For choosing among models.
    pub validation: Vec<u32>,
    /// For the final figure.
    pub test: Vec<u32>,
}

/// The parts of a [`Split`] as matrices of one shape.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitMatrices {
    /// For fitting.
    pub train: Interactions,
    /// For choosing among models, without pairs that are in train.
    pub validation: Interactions,
    /// For the final figure, without pairs that are in train or validation.
    pub test: Interactions,
}

/// A share of each user's touches for a part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    /// Share for validation, 0 to 1.
    pub validation: f64,
    /// Share for test, 0 to 1.
    pub test: f64,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Train,
    Validation,
    Test,
}

/// Each user's latest touches: the last share is test, the share before it validation.
#[must_use]
pub fn by_time(touches: &[Touch], shares: Shares) -> Split {
    assign(touches, |_, positions, parts| last(positions.len(), shares, parts))
}

/// Each user's last touch is test, the one before validation if `with_validation`; a user keeps at least one for training.
#[must_use]
pub fn leave_last_out(touches: &[Touch], with_validation: bool) -> Split {
    assign(touches, |_, positions, parts| {
        let n = positions.len();
        if n >= 2 {
            parts[n - 1] = Part::Test;
        }
        if n >= 3 && with_validation {
            parts[n - 2] = Part::Validation;
        }
    })
}

/// One random touch of each user with at least two is test.
#[must_use]
pub fn leave_one_out(touches: &[Touch], seed: Seed) -> Split {
    assign(touches, |user, positions, parts| {
        if positions.len() >= 2 {
            let mut random = seed.part(u64::from(user)).generator();
            parts[random.below(positions.len() as u32) as usize] = Part::Test;
        }
    })
}

/// A random share of each user's touches.
#[must_use]
pub fn by_share(touches: &[Touch], shares: Shares, seed: Seed) -> Split {
    assign(touches, |user, positions, parts| {
        last(positions.len(), shares, parts);
        seed.part(u64::from(user)).generator().shuffle(parts);
    })
}

/// Fold `fold` of `folds`: each user's touches in random order, every `folds`-th of them test.
///
/// Over all folds every touch is test once, if the user has at least two.
#[must_use]
pub fn fold(touches: &[Touch], fold: usize, folds: usize, seed: Seed) -> Split {
    let folds = folds.max(2);
    assign(touches, |user, positions, parts| {
        let mut order: Vec<usize> = (0..positions.len()).collect();
        seed.part(u64::from(user)).generator().shuffle(&mut order);
        // Users start at different folds, otherwise the first fold would get all the short ones.
        let mut tested = (0..order.len()).filter(|rank| (rank + user as usize) % folds == fold % folds);
        if order.len() >= 2 {
            tested.by_ref().for_each(|rank| parts[order[rank]] = Part::Test);
        }
    })
}

impl Split {
    /// Builds matrices of `n_users × n_items`. A pair in an earlier part does not come again in a later one.
    ///
    /// # Panics
    ///
    /// Panics if a touch lies outside, or if the split was not made from `touches`.
    #[must_use]
    pub fn matrices(&self, touches: &[Touch], n_users: usize, n_items: usize) -> SplitMatrices {
        let build = |part: &[u32], earlier: &[&Interactions]| {
            let touches = part.iter().map(|&position| touches[position as usize]);
            let new = touches
                .filter(|touch| !earlier.iter().any(|seen| seen.contains(touch.user as usize, touch.item)))
                .map(|touch| (touch.user, touch.item, touch.weight));
            Interactions::from_triples(n_users, n_items, new.collect())
        };
        let train = build(&self.train, &[]);
        let validation = build(&self.validation, &[&train]);
        let test = build(&self.test, &[&train, &validation]);
        SplitMatrices { train, validation, test }
    }
}

/// Marks the last share as test and the share before it as validation, leaving at least one for training.
fn last(n: usize, shares: Shares, parts: &mut [Part]) {
    let count = |share: f64| (share.clamp(0.0, 1.0) * n as f64).round() as usize;
    let test = count(shares.test).min(n.saturating_sub(1));
    let validation = count(shares.validation).min(n.saturating_sub(1 + test));
    parts[n - test..].fill(Part::Test);
    parts[n - test - validation..n - test].fill(Part::Validation);
}

/// Groups positions by user in order of time, lets `choose` mark each user's parts, and collects them.
fn assign(touches: &[Touch], choose: impl Fn(u32, &[u32], &mut [Part]) + Sync) -> Split {
    let mut order: Vec<u32> = (0..u32::try_from(touches.len()).expect("fewer than 2^32 touches")).collect();
    order.par_sort_unstable_by_key(|&position| {
        let touch = &touches[position as usize];
        (touch.user, touch.time, position)
    });
    let mut parts = vec![Part::Train; order.len()];
    let mut start = 0;
    for group in order.chunk_by(|&a, &b| touches[a as usize].user == touches[b as usize].user) {
        let end = start + group.len();
        choose(touches[group[0] as usize].user, group, &mut parts[start..end]);
        start = end;
    }
    let collect = |wanted: Part| {
        let chosen = order.iter().zip(&parts).filter(|&(_, &part)| part == wanted);
        let mut positions: Vec<u32> = chosen.map(|(&position, _)| position).collect();
        positions.sort_unstable();
        positions
    };
    Split { train: collect(Part::Train), validation: collect(Part::Validation), test: collect(Part::Test) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn touch(user: u32, item: u32, time: i64) -> Touch {
        Touch { user, item, weight: 1.0, time }
    }

    fn some_touches() -> impl Strategy<Value = Vec<Touch>> {
        let one = (0_u32..6, 0_u32..9, 0_i64..5).prop_map(|(user, item, time)| touch(user, item, time));
        proptest::collection::vec(one, 0..60)
    }

    fn all_splits(touches: &[Touch]) -> Vec<Split> {
        let (shares, seed) = (Shares { validation: 0.2, test: 0.3 }, Seed::new(1));
        vec![
            by_time(touches, shares),
            leave_last_out(touches, true),
            leave_one_out(touches, seed),
            by_share(touches, shares, seed),
            fold(touches, 1, 3, seed),
        ]
    }

    proptest! {
        #[test]
        fn every_touch_is_in_exactly_one_part_and_every_user_can_be_trained_unless_folded(touches in some_touches()) {
            for (method, split) in all_splits(&touches).into_iter().enumerate() {
                let mut all = [split.train.clone(), split.validation.clone(), split.test.clone()].concat();
                all.sort_unstable();
                prop_assert!(all.into_iter().eq(0..touches.len() as u32));
                let trained = |user| split.train.iter().any(|&position| touches[position as usize].user == user);
                prop_assert!(method == 4 || touches.iter().all(|touch| trained(touch.user)));
            }
        }

        #[test]
        fn splits_by_time_test_on_the_future(touches in some_touches()) {
            for split in [by_time(&touches, Shares { validation: 0.0, test: 0.4 }), leave_last_out(&touches, false)] {
                for &test in &split.test {
                    let of_user = |&&train: &&u32| touches[train as usize].user == touches[test as usize].user;
                    let earlier = |&train: &u32| touches[train as usize].time <= touches[test as usize].time;
                    prop_assert!(split.train.iter().filter(of_user).all(earlier));
                }
            }
        }

        #[test]
        fn folds_test_every_touch_of_a_user_with_two_once(touches in some_touches()) {
            let mut tested: Vec<u32> = (0..3).flat_map(|index| fold(&touches, index, 3, Seed::new(2)).test).collect();
            tested.sort_unstable();
            let count = |user| touches.iter().filter(|touch| touch.user == user).count();
            let expected = (0..touches.len() as u32).filter(|&position| count(touches[position as usize].user) >= 2);
            prop_assert!(tested.into_iter().eq(expected));
        }

        #[test]
        fn a_pair_never_comes_in_two_matrices(touches in some_touches()) {
            for split in all_splits(&touches) {
                let parts = split.matrices(&touches, 6, 9);
                for (user, item) in (0..6).flat_map(|user| (0..9).map(move |item| (user, item))) {
                    let count = [&parts.train, &parts.validation, &parts.test].into_iter().filter(|part| part.contains(user, item)).count();
                    prop_assert!(count <= 1);
                }
            }
        }
    }

    #[test]
    fn the_last_touches_go_to_test_and_validation() {
        let touches = [touch(0, 0, 30), touch(0, 1, 10), touch(1, 0, 5), touch(0, 2, 20), touch(0, 3, 30)];
        let split = leave_last_out(&touches, true);
        assert_eq!(split, Split { train: vec![1, 2, 3], validation: vec![0], test: vec![4] });
        let split = by_time(&touches, Shares { validation: 0.0, test: 0.5 });
        assert_eq!(split, Split { train: vec![1, 2, 3], validation: vec![], test: vec![0, 4] });
    }

    #[test]
    fn another_users_data_do_not_change_a_users_split() {
        let mine: Vec<Touch> = (0..20).map(|item| touch(3, item, 0)).collect();
        let mut with_others = mine.clone();
        with_others.extend((0..7).map(|item| touch(1, item, 0)));
        let test = |touches: &[Touch]| {
            let split = by_share(touches, Shares { validation: 0.0, test: 0.25 }, Seed::new(5));
            split.test.into_iter().filter(|&position| position < 20).collect::<Vec<_>>()
        };
        assert_eq!(test(&mine), test(&with_others));
        assert_eq!(test(&mine).len(), 5);
    }
}
