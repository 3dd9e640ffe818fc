//! What is popular, optionally with a preference for what is popular now.
//!
//! The score of an item is the sum over its feedback of `weight · 2^(-age / half life)`; without a half life
//! every row counts its weight. Ages are given by the caller in any unit, that of the half life. `O(1)` per row.

use crate::top_k::{Scored, TopK};

/// Scores per item.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaderboard {
    scores: Vec<f64>,
    /// `ln 2 / half life`.
    decay: f64,
}

impl Leaderboard {
    /// Counts for `n_items` items; `half_life` is the age at which feedback counts half. One that is not above 0 means no decay.
    #[must_use]
    pub fn new(n_items: usize, half_life: Option<f64>) -> Self {
        let decay = half_life.filter(|&life| life > 0.0).map_or(0.0, |life| std::f64::consts::LN_2 / life);
        Self { scores: vec![0.0; n_items], decay }
    }

    /// Counts one row of feedback; an age below 0 (a clock ahead of ours) counts as 0. Unknown items and weights that are not finite are left out.
    pub fn add(&mut self, item: u32, weight: f32, age: f64) {
        let term = f64::from(weight) * (-self.decay * age.max(0.0)).exp();
        if let Some(score) = self.scores.get_mut(item as usize).filter(|_| term.is_finite()) {
            *score += term;
        }
    }

    /// Score of an item; 0 for an unknown one.
    #[must_use]
    pub fn score(&self, item: u32) -> f64 {
        self.scores.get(item as usize).copied().unwrap_or(0.0)
    }

    /// The best `k` accepted items with a score above 0, ties to the lower index.
    #[must_use]
    pub fn top(&self, k: usize, mut accept: impl FnMut(u32) -> bool) -> Vec<Scored> {
        let mut best = TopK::new(k);
        for (index, &score) in self.scores.iter().enumerate() {
            let (index, score) = (index as u32, score as f32);
            if score > best.threshold().max(0.0) && accept(index) {
                best.push(index, score);
            }
        }
        best.into_sorted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feedback_of_one_half_life_ago_counts_half() {
        let mut board = Leaderboard::new(2, Some(7.0));
        board.add(0, 1.0, 7.0);
        board.add(1, 1.0, -3.0);
        board.add(9, 1.0, 0.0);
        board.add(0, f32::NAN, 0.0);
        assert!((board.score(0) - 0.5).abs() < 1e-12);
        assert!((board.score(1) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn without_decay_the_most_frequent_comes_first_and_ties_go_to_the_lower_index() {
        let mut board = Leaderboard::new(4, None);
        for item in [2, 1, 2, 1, 0] {
            board.add(item, 1.0, 1e9);
        }
        let ids = |k| board.top(k, |item| item != 9).iter().map(|scored| scored.index).collect::<Vec<_>>();
        assert_eq!(ids(9), [1, 2, 0]);
        assert_eq!(ids(1), [1]);
        assert_eq!(board.top(1, |item| item != 1)[0].index, 2, "a refused item leaves its place to the next");
    }
}
