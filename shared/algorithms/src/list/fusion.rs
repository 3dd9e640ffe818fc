//! Reciprocal rank fusion: an item scores `Σ over lists weight / (60 + rank)`, rank counted from 1.
//!
//! G. Cormack, C. Clarke, S. Büttcher, SIGIR 2009. Needs no scores and no training; an item near the top of several lists beats
//! one at the top of a single list. `O(entries)`.

use rustc_hash::FxHashMap;

use crate::top_k::{Scored, best_first};

/// The constant of the paper: how flat the top of a list is.
const RANK_OFFSET: f32 = 60.0;

/// Merges ranked lists, each with its weight; best first, ties to the lower index. Of equal entries in one list the first counts.
#[must_use]
pub fn reciprocal_rank_fusion(lists: &[(&[u32], f32)]) -> Vec<Scored> {
    let mut sums: FxHashMap<u32, (f32, usize)> = FxHashMap::default();
    for (number, &(list, weight)) in lists.iter().enumerate() {
        for (rank, &item) in list.iter().enumerate() {
            let (sum, last_list) = sums.entry(item).or_insert((0.0, usize::MAX));
            if *last_list != number {
                *last_list = number;
                *sum += weight / (RANK_OFFSET + 1.0 + rank as f32);
            }
        }
    }
    let mut merged: Vec<Scored> =
        sums.into_iter().map(|(index, (score, _))| Scored { index, score }).collect();
    merged.sort_unstable_by(best_first);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_add_up_as_in_the_formula() {
        let merged = reciprocal_rank_fusion(&[(&[7, 8, 7], 1.0), (&[8, 9], 1.0)]);
        let ids: Vec<u32> = merged.iter().map(|scored| scored.index).collect();
        assert_eq!(ids, [8, 7, 9]);
        assert!((merged[0].score - (1.0 / 62.0 + 1.0 / 61.0)).abs() < 1e-7);
        assert!((merged[1].score - 1.0 / 61.0).abs() < 1e-7, "the second 7 does not count");
    }

    #[test]
    fn a_list_without_weight_only_fills_the_end() {
        let merged = reciprocal_rank_fusion(&[(&[3], 0.0), (&[1, 2], 1.0)]);
        assert_eq!(merged.iter().map(|scored| scored.index).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(reciprocal_rank_fusion(&[]).is_empty());
    }
}
