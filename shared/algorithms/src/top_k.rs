//! The best `k` of many scored indexes, in `O(n log k)` and without ever meeting NaN.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// An index and its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// What is scored.
    pub index: u32,
    /// Higher is better.
    pub score: f32,
}

/// Best first: higher score, then lower index. Scores are never NaN.
#[must_use]
pub fn best_first(a: &Scored, b: &Scored) -> Ordering {
    b.score.total_cmp(&a.score).then(a.index.cmp(&b.index))
}

/// Orders the heap so that its top is the worst entry kept.
#[derive(Clone, Copy, Debug, PartialEq)]
struct WorstOnTop(Scored);

impl Eq for WorstOnTop {}

impl PartialOrd for WorstOnTop {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for WorstOnTop {
    fn cmp(&self, other: &Self) -> Ordering {
        best_first(&self.0, &other.0)
    }
}

/// Keeps the best `k`; ties go to the lower index.
#[derive(Clone, Debug)]
pub struct TopK {
    k: usize,
    heap: BinaryHeap<WorstOnTop>,
}

impl TopK {
    /// Keeps `k`; with 0 it keeps nothing.
    #[must_use]
    pub fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::with_capacity(k.min(4096)) }
    }

    /// Offers one candidate; NaN is refused.
    #[inline]
    pub fn push(&mut self, index: u32, score: f32) {
        if score.is_nan() {
            return;
        }
        let candidate = WorstOnTop(Scored { index, score });
        if self.heap.len() < self.k {
            self.heap.push(candidate);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && candidate < *worst
        {
            *worst = candidate;
        }
    }

    /// The score a candidate must beat to be kept; `-inf` while there is room.
    #[must_use]
    #[inline]
    pub fn threshold(&self) -> f32 {
        if self.heap.len() < self.k {
            return f32::NEG_INFINITY;
        }
        self.heap.peek().map_or(f32::INFINITY, |worst| worst.0.score)
    }

    /// What was kept, best first.
    #[must_use]
    pub fn into_sorted(self) -> Vec<Scored> {
        self.heap.into_sorted_vec().into_iter().map(|entry| entry.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keeps_what_sorting_everything_would_keep(
            scores in proptest::collection::vec(-3_i8..3, 0..60), k in 0_usize..12,
        ) {
            let mut all: Vec<Scored> = Vec::new();
            let mut top = TopK::new(k);
            for (index, &score) in scores.iter().enumerate() {
                all.push(Scored { index: index as u32, score: f32::from(score) });
                top.push(index as u32, f32::from(score));
            }
            all.sort_by(best_first);
            all.truncate(k);
            prop_assert_eq!(top.into_sorted(), all);
        }
    }

    #[test]
    fn refuses_nan() {
        let mut top = TopK::new(2);
        top.push(0, f32::NAN);
        top.push(1, 1.0);
        assert_eq!(top.into_sorted(), [Scored { index: 1, score: 1.0 }]);
    }
}
