//! Which liked pairs are held back to choose by (validation) and to report on (test).
//!
//! Test: per user and by time, as recommendation is used: the latest pairs are the ones to be foreseen. With a model in
//! use, pairs that it has never seen are the test, so that the old and the new model can be compared on what neither was
//! fitted on.
//!
//! Validation: of what came before the test, a few of the latest pairs and twice as many drawn at random. The latest alone
//! are too few and too special to choose by: people look at things in sessions, so the last steps of one are often of one
//! kind, and a choice made on them is a choice for that kind.

use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::random::Seed;
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
    /// Share of the ones before in the validation: a third of it the latest, the rest drawn at random.
    pub validation: f64,
    /// Seed of the draw.
    pub seed: u64,
    /// Users held back from at most; more only cost time.
    pub users: usize,
}

impl Default for Shares {
    fn default() -> Self {
        Self { test: 0.1, validation: 0.15, seed: 0, users: 5_000 }
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

/// Holds back the latest liked pairs of one user for the test, and some of the others for the validation.
fn hold_back_latest(pairs: &[Pair], span: std::ops::Range<usize>, parts: &mut [Part], shares: &Shares) {
    let mut liked: Vec<usize> = span.filter(|&pair| pairs[pair].signal == Signal::Positive).collect();
    if liked.len() < 3 {
        return;
    }
    let test = share(liked.len(), shares.test);
    for pair in liked.split_off(liked.len() - test) {
        parts[pair] = Part::Test;
    }
    hold_back_validation(pairs, liked, parts, shares);
}

/// At least one, of something.
fn share(of: usize, share: f64) -> usize {
    ((of as f64 * share).round() as usize).max(1)
}

/// Holds back some of one user's liked pairs (by time); at least one stays to fit on.
fn hold_back_validation(pairs: &[Pair], mut liked: Vec<usize>, parts: &mut [Part], shares: &Shares) {
    let Some(&first) = liked.first() else { return };
    let wanted = share(liked.len(), shares.validation).min(liked.len() - 1);
    let latest = wanted.div_ceil(3);
    for pair in liked.split_off(liked.len() - latest) {
        parts[pair] = Part::Validation;
    }
    let user = u64::from(pairs[first].user);
    let mut random = Seed::new(shares.seed).purpose("split.validation").part(user).generator();
    random.shuffle(&mut liked);
    for pair in liked.into_iter().take(wanted - latest) {
        parts[pair] = Part::Validation;
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
    let liked = span.filter(|&pair| pairs[pair].signal == Signal::Positive);
    let (seen, unseen): (Vec<usize>, Vec<usize>) = liked.partition(|&pair| known(&pairs[pair]));
    let tested = !unseen.is_empty() && !seen.is_empty();
    if tested {
        unseen.iter().for_each(|&pair| parts[pair] = Part::Test);
    }
    hold_back_validation(pairs, seen, parts, shares);
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
    fn the_latest_tenth_is_the_test_and_some_of_the_others_are_the_validation() {
        let split = Split::new(&likes(0, 0..20), &Shares::default(), None);
        assert_eq!(split.parts[18..], [Part::Test; 2]);
        assert_eq!(split.parts[17], Part::Validation, "the latest before the test");
        let held_back = split.parts.iter().filter(|&&part| part == Part::Validation).count();
        assert_eq!(held_back, 3);
        assert!(!split.comparable);
        let again = Split::new(&likes(0, 0..20), &Shares::default(), None);
        assert_eq!(split.parts, again.parts, "the same draw every time");
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
