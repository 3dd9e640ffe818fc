//! From candidates with one score per source to one order.

use std::cmp::Ordering;

use ulex_algorithms::list::fusion::reciprocal_rank_fusion;

use super::candidates::Candidates;
use super::{Inputs, Ranked};

/// Orders candidates by the ModelSet's blend, which turns the scores of all sources into a probability. Without
/// a blend for exactly these columns the sources are fused by rank: their raw scores have no common scale.
pub(super) fn rank(inputs: &Inputs<'_>, candidates: &Candidates) -> Vec<Ranked> {
    let blended = inputs.live.and_then(|live| {
        let blend = live.set.blend.as_ref()?;
        let same = blend.scorers.len() == candidates.scorers.len()
            && blend.scorers.iter().zip(&candidates.scorers).all(|(name, scorer)| *name == scorer.name());
        same.then(|| blend.probabilities(&candidates.scores))
    });
    let scores = blended.unwrap_or_else(|| fused(candidates));
    let slots = candidates.slots.iter().zip(&candidates.factors).zip(scores);
    let mut list: Vec<Ranked> =
        slots.map(|((&slot, &factor), score)| Ranked { slot, score: score * factor }).collect();
    list.sort_unstable_by(best_first);
    list
}

/// Higher score first, then the lower slot.
fn best_first(a: &Ranked, b: &Ranked) -> Ordering {
    b.score.total_cmp(&a.score).then(a.slot.cmp(&b.slot))
}

fn fused(candidates: &Candidates) -> Vec<f32> {
    let lists: Vec<(&[u32], f32)> = candidates.found.iter().map(|found| (&found[..], 1.0)).collect();
    let mut scores = vec![0.0; candidates.slots.len()];
    for place in reciprocal_rank_fusion(&lists) {
        scores[place.index as usize] = place.score;
    }
    scores
}
