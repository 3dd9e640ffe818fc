//! A sparse sum over a dense array.

use crate::top_k::{Scored, TopK};

/// Adds scores by index and remembers which indexes were touched, so that emptying it costs what was added and not
/// what there is. To be kept and reused: 4 bytes per index.
#[derive(Clone, Debug, Default)]
pub struct Accumulator {
    sums: Vec<f32>,
    touched: Vec<u32>,
}

impl Accumulator {
    /// Sums for indexes below `n`.
    #[must_use]
    pub fn new(n: usize) -> Self {
        Self { sums: vec![0.0; n], touched: Vec::new() }
    }

    /// Makes room for indexes below `n`.
    pub fn grow(&mut self, n: usize) {
        if n > self.sums.len() {
            self.sums.resize(n, 0.0);
        }
    }

    /// Adds `scale · score` to every id. What lies outside, and terms that are zero, are left out.
    #[inline]
    pub fn add_scaled(&mut self, ids: &[u32], scores: &[f32], scale: f32) {
        for (&id, &score) in ids.iter().zip(scores) {
            self.add(id, scale * score);
        }
    }

    /// Adds to one sum.
    #[inline]
    pub fn add(&mut self, id: u32, term: f32) {
        if let Some(sum) = self.sums.get_mut(id as usize) {
            // A sum that came back to exactly zero is listed twice; draining zeroes it at the first sight.
            if *sum == 0.0 {
                self.touched.push(id);
            }
            *sum += term;
        }
    }

    /// The sum of an index.
    #[must_use]
    pub fn get(&self, id: u32) -> f32 {
        self.sums.get(id as usize).copied().unwrap_or(0.0)
    }

    /// The best `k` accepted sums above 0, best first, ties to the lower index. Leaves everything empty.
    pub fn drain_top(&mut self, k: usize, mut accept: impl FnMut(u32) -> bool) -> Vec<Scored> {
        let mut best = TopK::new(k);
        let mut threshold = 0.0;
        for &id in &self.touched {
            let score = std::mem::take(&mut self.sums[id as usize]);
            // Equal to the threshold may still win by its lower index.
            if score > 0.0 && score >= threshold && accept(id) {
                best.push(id, score);
                threshold = best.threshold();
            }
        }
        self.touched.clear();
        best.into_sorted()
    }

    /// Every touched index with its sum, in order of first touch. Leaves everything empty.
    pub fn drain(&mut self, mut each: impl FnMut(u32, f32)) {
        for &id in &self.touched {
            let sum = std::mem::take(&mut self.sums[id as usize]);
            if sum != 0.0 {
                each(id, sum);
            }
        }
        self.touched.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn draining_gives_what_a_map_gives_and_leaves_nothing(
            terms in proptest::collection::vec((0_u32..20, -2_i8..3), 0..60), k in 0_usize..8,
        ) {
            let mut sums = Accumulator::new(18);
            for _ in 0..2 {
                let mut expected: BTreeMap<u32, f32> = BTreeMap::new();
                for &(id, term) in &terms {
                    sums.add(id, f32::from(term));
                    if id < 18 {
                        *expected.entry(id).or_default() += f32::from(term);
                    }
                }
                let mut best: Vec<Scored> = expected.into_iter().map(|(index, score)| Scored { index, score }).collect();
                best.retain(|scored| scored.score > 0.0 && scored.index % 3 != 0);
                best.sort_by(crate::top_k::best_first);
                best.truncate(k);
                prop_assert_eq!(sums.drain_top(k, |id| id % 3 != 0), best);
            }
        }
    }
}
