//! Items a user did not touch, drawn as negatives.
//!
//! Uniform draws from the unseen items are exact and never retry, however much a user has seen. Draws by popularity
//! retry on seen items a fixed number of times and then fall back to a uniform one.

use crate::random::Generator;

/// Draws from `0..n` in proportion to given weights, in constant time (Walker 1977, Vose 1991).
#[derive(Clone, Debug)]
pub struct AliasTable {
    keep: Vec<f32>,
    alias: Vec<u32>,
}

impl AliasTable {
    /// `None` without weights, if one is negative or not finite, or if all are zero.
    #[must_use]
    pub fn new(weights: &[f64]) -> Option<Self> {
        let total: f64 = weights.iter().sum();
        let n = u32::try_from(weights.len()).ok()?;
        if weights.iter().any(|&weight| weight < 0.0) || !(total > 0.0 && total.is_finite()) {
            return None;
        }
        let mut share: Vec<f64> = weights.iter().map(|weight| weight / total * f64::from(n)).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            (0..n).partition(|&index| share[index as usize] < 1.0);
        let mut table = Self { keep: vec![1.0; weights.len()], alias: (0..n).collect() };
        while let (Some(poor), Some(&rich)) = (small.pop(), large.last()) {
            table.keep[poor as usize] = share[poor as usize] as f32;
            table.alias[poor as usize] = rich;
            share[rich as usize] -= 1.0 - share[poor as usize];
            if share[rich as usize] < 1.0 {
                small.extend(large.pop());
            }
        }
        Some(table)
    }

    /// One index.
    #[inline]
    pub fn draw(&self, random: &mut Generator) -> u32 {
        let index = random.below(self.alias.len() as u32);
        if random.unit() < self.keep[index as usize] { index } else { self.alias[index as usize] }
    }
}

/// How negatives are drawn from a catalogue of `n_items`.
#[derive(Clone, Debug)]
pub struct NegativeSampler {
    n_items: u32,
    popularity: Option<AliasTable>,
}

/// Seen items met before a draw by popularity becomes a uniform one.
const ATTEMPTS: usize = 16;

impl NegativeSampler {
    /// Every unseen item alike.
    #[must_use]
    pub fn uniform(n_items: usize) -> Self {
        Self { n_items: u32::try_from(n_items).expect("fewer than 2^32 items"), popularity: None }
    }

    /// In proportion to `count^power`; uniform if `power` is 0 or no item was ever touched.
    #[must_use]
    pub fn by_popularity(counts: &[u32], power: f64) -> Self {
        let weights: Vec<f64> = counts.iter().map(|&count| f64::from(count).powf(power)).collect();
        let popularity = if power == 0.0 { None } else { AliasTable::new(&weights) };
        Self { popularity, ..Self::uniform(counts.len()) }
    }

    /// An item that is not in `seen` (ascending, distinct, all below `n_items`); `None` if there is none.
    #[inline]
    pub fn draw(&self, seen: &[u32], random: &mut Generator) -> Option<u32> {
        if seen.len() >= self.n_items as usize {
            return None;
        }
        let popular = self.popularity.as_ref().and_then(|table| {
            let mut drawn = (0..ATTEMPTS).map(|_| table.draw(random));
            drawn.find(|item| seen.binary_search(item).is_err())
        });
        popular.or_else(|| Some(nth_unseen(seen, random.below(self.n_items - seen.len() as u32))))
    }
}

/// The `n`-th item (from 0) that is not in `seen`; `O(log seen)`.
#[must_use]
#[inline]
pub fn nth_unseen(seen: &[u32], n: u32) -> u32 {
    // Before the seen item at position p there are seen[p] − p unseen ones.
    let (mut low, mut high) = (0, seen.len());
    while low < high {
        let middle = low.midpoint(high);
        if seen[middle] - middle as u32 <= n {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    n + low as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seed;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_nth_unseen_item_is_what_counting_gives(seen in proptest::collection::btree_set(0_u32..50, 0..50)) {
            let unseen: Vec<u32> = (0..50).filter(|item| !seen.contains(item)).collect();
            let seen: Vec<u32> = seen.into_iter().collect();
            for (n, &item) in unseen.iter().enumerate() {
                prop_assert_eq!(nth_unseen(&seen, n as u32), item);
            }
        }
    }

    #[test]
    fn draws_follow_their_weights() {
        let table = AliasTable::new(&[1.0, 0.0, 3.0, 4.0]).unwrap();
        let mut random = Seed::new(2).generator();
        let mut counts = [0_u32; 4];
        for _ in 0..80_000 {
            counts[table.draw(&mut random) as usize] += 1;
        }
        assert_eq!(counts[1], 0);
        for (count, expected) in [(counts[0], 10_000), (counts[2], 30_000), (counts[3], 40_000)] {
            assert!(count.abs_diff(expected) < 600, "{counts:?}");
        }
    }

    #[test]
    fn unusable_weights_are_refused() {
        for weights in [&[][..], &[0.0, 0.0], &[1.0, -1.0], &[f64::NAN], &[f64::INFINITY]] {
            assert!(AliasTable::new(weights).is_none(), "{weights:?}");
        }
    }

    #[test]
    fn negatives_are_unseen_even_if_a_single_item_is_left() {
        let mut random = Seed::new(3).generator();
        let seen: Vec<u32> = (0..100).filter(|&item| item != 37).collect();
        let popular: Vec<u32> = (0..100).map(|item| 100 - item).collect();
        for sampler in [NegativeSampler::uniform(100), NegativeSampler::by_popularity(&popular, 1.0)] {
            assert_eq!(sampler.draw(&seen, &mut random), Some(37));
            assert_eq!(sampler.draw(&(0..100).collect::<Vec<_>>(), &mut random), None);
        }
        assert_eq!(NegativeSampler::uniform(0).draw(&[], &mut random), None);
    }

    #[test]
    fn popularity_prefers_what_was_touched_more() {
        let sampler = NegativeSampler::by_popularity(&[1, 0, 9], 1.0);
        let mut random = Seed::new(4).generator();
        let drawn: Vec<u32> = (0..1000).filter_map(|_| sampler.draw(&[], &mut random)).collect();
        assert!(!drawn.contains(&1));
        assert!(drawn.iter().filter(|&&item| item == 2).count() > 850);
    }
}
