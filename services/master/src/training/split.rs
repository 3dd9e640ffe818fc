//! Which liked pairs are held back to choose by (validation) and to report on (test).
//!
//! Per user and by time, as recommendation is used: the latest pairs are the ones to be foreseen. With a model
//! in use, pairs that it has never seen are the test, so that the old and the new model can be compared on
//! what neither was fitted on.

use ulex_algorithms::interactions::Interactions;
use ulex_recommenders::history::Signal;

use super::signals::Pair;

/// Where each pair went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// To fit on.
    Train,
    /// To choose parameters and blend by.
    Validation,
    /// To report on.
    Test,
}

/// Shares held back.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// Share of a user's latest liked pairs in the test.
    pub test: f64,
    /// Share of the ones before in the validation.
    pub validation: f64,
    /// Users held back from at most; more only cost time.
    pub users: usize,
}

impl Default for Shares {
    fn default() -> Self {
        Self { test: 0.1, validation: 0.1, users: 5_000 }
    }
}

/// Unseen pairs of at least this many users make a comparison with the model in use.
pub const COMPARABLE_USERS: usize = 30;

/// A split and whether its test is unseen by the model in use.
#[derive(Clone, Debug)]
pub struct Split {
    /// One part for each pair, in the order of the pairs.
    pub parts: Vec<Part>,
    /// The test holds only pairs that the model in use has never seen.
    pub comparable: bool,
}

impl Split {
    /// Splits pairs that are sorted by user and time. `known(pair)` says whether the model in use was fitted
    /// on it; `None` if there is no model in use.
    #[must_use]
    pub fn new(pairs: &[Pair], shares: &Shares, known: Option<&dyn Fn(&Pair) -> bool>) -> Self {
        let users = user_spans(pairs);
        let stride = users.len().div_ceil(shares.users.max(1)).max(1);
        if let Some(known) = known {
            let mut parts = vec![Part::Train; pairs.len()];
            let mut tested = 0;
            for span in users.iter().step_by(stride) {
                tested += usize::from(hold_back_unseen(pairs, span.clone(), &mut parts, shares, known));
            }
            if tested >= COMPARABLE_USERS {
                return Self { parts, comparable: true };
            }
        }
        let mut parts = vec![Part::Train; pairs.len()];
        for span in users.into_iter().step_by(stride) {
            hold_back_latest(pairs, span, &mut parts, shares);
        }
        Self { parts, comparable: false }
    }

    /// The liked pairs of some parts, as a matrix.
    #[must_use]
    pub fn liked(&self, pairs: &[Pair], parts: &[Part], shape: (usize, usize)) -> Interactions {
        let wanted = pairs.iter().zip(&self.parts).filter(|(_, part)| parts.contains(part));
        super::signals::liked(wanted.map(|(pair, _)| pair), shape.0, shape.1)
    }
}

fn user_spans(pairs: &[Pair]) -> Vec<std::ops::Range<usize>> {
    let mut spans = Vec::new();
    let mut start = 0;
    for chunk in pairs.chunk_by(|a, b| a.user == b.user) {
        spans.push(start..start + chunk.len());
        start += chunk.len();
    }
    spans
}

/// Holds back the latest liked pairs of one user; at least one stays to fit on.
fn hold_back_latest(pairs: &[Pair], span: std::ops::Range<usize>, parts: &mut [Part], shares: &Shares) {
    let liked: Vec<usize> = span.filter(|&pair| pairs[pair].signal == Signal::Positive).collect();
    if liked.len() < 3 {
        return;
    }
    let share = |of: f64| ((liked.len() as f64 * of).round() as usize).max(1);
    let (test, validation) = (share(shares.test), share(shares.validation));
    for (back, &pair) in liked.iter().rev().enumerate().take((test + validation).min(liked.len() - 1)) {
        parts[pair] = if back < test { Part::Test } else { Part::Validation };
    }
}

/// Makes the unseen liked pairs of one user its test; says whether there were any beside something seen.
fn hold_back_unseen(
    pairs: &[Pair],
    span: std::ops::Range<usize>,
    parts: &mut [Part],
    shares: &Shares,
    known: &dyn Fn(&Pair) -> bool,
) -> bool {
    let liked: Vec<usize> = span.filter(|&pair| pairs[pair].signal == Signal::Positive).collect();
    let (seen, unseen): (Vec<usize>, Vec<usize>) = liked.iter().partition(|&&pair| known(&pairs[pair]));
    let validation = ((seen.len() as f64 * shares.validation).round() as usize).max(1);
    if seen.len() > validation {
        seen.iter().rev().take(validation).for_each(|&pair| parts[pair] = Part::Validation);
    }
    let tested = !unseen.is_empty() && !seen.is_empty();
    if tested {
        unseen.iter().for_each(|&pair| parts[pair] = Part::Test);
    }
    tested
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulex_domain::Timestamp;

    fn likes(user: u32, items: std::ops::Range<u32>) -> Vec<Pair> {
        let pair = |item: u32| Pair {
            user,
            item,
            signal: Signal::Positive,
            weight: 1.0,
            updated: Timestamp::from_unix_seconds(i64::from(item)),
        };
        items.map(pair).collect()
    }

    #[test]
    fn the_latest_tenth_is_the_test_and_the_tenth_before_the_validation() {
        let split = Split::new(&likes(0, 0..20), &Shares::default(), None);
        assert!(split.parts[..16].iter().all(|&part| part == Part::Train));
        assert_eq!(split.parts[16..18], [Part::Validation; 2]);
        assert_eq!(split.parts[18..], [Part::Test; 2]);
        assert!(!split.comparable);
    }

    #[test]
    fn a_user_with_two_likes_is_only_fitted_on_and_one_with_three_keeps_one() {
        let pairs = [likes(0, 0..2), likes(1, 0..3)].concat();
        let split = Split::new(&pairs, &Shares::default(), None);
        assert_eq!(split.parts, [Part::Train, Part::Train, Part::Train, Part::Validation, Part::Test]);
    }

    #[test]
    fn unseen_pairs_of_enough_users_are_the_test() {
        let pairs: Vec<Pair> = (0..40).flat_map(|user| likes(user, 0..10)).collect();
        let known = |pair: &Pair| pair.item != 4;
        let split = Split::new(&pairs, &Shares::default(), Some(&known));
        assert!(split.comparable);
        for (pair, part) in pairs.iter().zip(&split.parts) {
            assert_eq!(*part == Part::Test, pair.item == 4);
        }
        let nothing_new = Split::new(&pairs, &Shares::default(), Some(&|_: &Pair| true));
        assert!(!nothing_new.comparable);
        assert!(nothing_new.parts.contains(&Part::Test));
    }

    #[test]
    fn held_back_users_are_bounded() {
        let pairs: Vec<Pair> = (0..100).flat_map(|user| likes(user, 0..10)).collect();
        let split = Split::new(&pairs, &Shares { users: 10, ..Shares::default() }, None);
        assert_eq!(split.parts.iter().filter(|&&part| part == Part::Test).count(), 10);
    }
}
