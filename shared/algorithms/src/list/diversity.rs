//! Maximal marginal relevance: picks one after the other what is good and unlike what is already picked.
//!
//! ```text
//! next = argmax over the rest of  λ · relevance(i) − (1 − λ) · max over picked similarity(i, j)
//! ```
//!
//! Relevance is scaled to 0–1 over the candidates so that `λ` means the same for every user; similarity is to be in 0–1.
//! J. Carbonell, J. Goldstein, SIGIR 1998. `O(picked · candidates)` similarities.

use crate::top_k::Scored;

/// Picks `k` of `candidates` (best first); with `lambda` 1 these are the first `k`. Scores are kept.
#[must_use]
pub fn maximal_marginal_relevance(
    candidates: &[Scored],
    k: usize,
    lambda: f32,
    similarity: impl Fn(u32, u32) -> f32,
) -> Vec<Scored> {
    let finite = candidates.iter().map(|scored| scored.score).filter(|score| score.is_finite());
    let (low, high) =
        finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    let scale = if high > low { 1.0 / (high - low) } else { 0.0 };
    // What is left: position, relevance, similarity to the nearest that is picked.
    let relevance =
        |scored: &Scored| if scored.score.is_finite() { (scored.score - low) * scale } else { 0.0 };
    let mut rest: Vec<(usize, f32, f32)> =
        candidates.iter().enumerate().map(|(position, scored)| (position, relevance(scored), 0.0)).collect();
    let mut picked = Vec::new();
    while picked.len() < k && !rest.is_empty() {
        let value =
            |&(_, relevance, nearest): &(usize, f32, f32)| lambda * relevance - (1.0 - lambda) * nearest;
        let mut best = 0;
        for (at, entry) in rest.iter().enumerate() {
            if value(entry) > value(&rest[best]) {
                best = at;
            }
        }
        let chosen = candidates[rest.remove(best).0];
        picked.push(chosen);
        for (position, _, nearest) in &mut rest {
            *nearest = nearest.max(similarity(candidates[*position].index, chosen.index));
        }
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates() -> Vec<Scored> {
        [(1, 1.0), (2, 0.9), (11, 0.8), (3, 0.0)].map(|(index, score)| Scored { index, score }).to_vec()
    }

    /// Items of the same ten are copies of each other.
    fn same_ten(a: u32, b: u32) -> f32 {
        f32::from(u8::from(a / 10 == b / 10))
    }

    fn picked(lambda: f32, k: usize) -> Vec<u32> {
        maximal_marginal_relevance(&candidates(), k, lambda, same_ten)
            .iter()
            .map(|scored| scored.index)
            .collect()
    }

    #[test]
    fn relevance_alone_keeps_the_order() {
        assert_eq!(picked(1.0, 9), [1, 2, 11, 3]);
    }

    #[test]
    fn something_different_moves_up() {
        assert_eq!(picked(0.5, 2), [1, 11]);
        assert_eq!(picked(0.5, 9), [1, 11, 2, 3], "everything is still there");
    }

    #[test]
    fn equal_scores_and_nothing_at_all_are_fine() {
        let equal = [Scored { index: 4, score: 2.0 }, Scored { index: 5, score: 2.0 }];
        assert_eq!(maximal_marginal_relevance(&equal, 2, 0.7, same_ten), equal);
        assert!(maximal_marginal_relevance(&[], 2, 0.7, same_ten).is_empty());
    }
}
