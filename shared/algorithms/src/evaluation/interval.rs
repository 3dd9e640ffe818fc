//! Whether one model is better than another, judged user by user.
//!
//! # Method
//!
//! Paired bootstrap (Efron 1979): the differences per user are drawn again with replacement; the interval holds the
//! middle of the means so obtained. Seeded, and the same for any number of threads.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::random::Seed;

/// A mean difference and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Mean of `first − second`.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Share of the resamples in which the first was better, ties counting one half.
    pub first_better: f64,
}

impl Difference {
    /// Whether the interval excludes zero.
    #[must_use]
    pub fn is_significant(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// How the resampling is done.
#[derive(Clone, Copy, Debug)]
pub struct Bootstrap {
    /// Number of resamples, for example 2000.
    pub resamples: usize,
    /// Probability the interval should cover, for example 0.95.
    pub confidence: f64,
    /// Where the randomness comes from.
    pub seed: Seed,
}

impl Bootstrap {
    /// Compares two models on the same users, in the same order.
    ///
    /// `None` without users or resamples, if the lengths differ, or if a value is not finite.
    #[must_use]
    pub fn paired_difference(&self, first: &[f64], second: &[f64]) -> Option<Difference> {
        let differences: Vec<f64> = first.iter().zip(second).map(|(first, second)| first - second).collect();
        let n = u32::try_from(differences.len()).ok()?;
        let comparable = first.len() == second.len() && n > 0 && self.resamples > 0;
        if !comparable || differences.iter().any(|difference| !difference.is_finite()) {
            return None;
        }
        let resample = |index: usize| {
            let mut random = self.seed.part(index as u64).generator();
            (0..n).map(|_| differences[random.below(n) as usize]).sum::<f64>() / f64::from(n)
        };
        let mut means: Vec<f64> = (0..self.resamples).into_par_iter().map(resample).collect();
        means.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - self.confidence.clamp(0.0, 1.0)) / 2.0;
        let at =
            |share: f64| means[((share * (means.len() - 1) as f64).round() as usize).min(means.len() - 1)];
        let better =
            means.iter().map(|&mean| if mean == 0.0 { 0.5 } else { f64::from(u8::from(mean > 0.0)) });
        Some(Difference {
            mean: differences.iter().sum::<f64>() / f64::from(n),
            low: at(tail),
            high: at(1.0 - tail),
            first_better: better.sum::<f64>() / self.resamples as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 2000, confidence: 0.95, seed: Seed::new(4) };

    #[test]
    fn the_interval_is_as_wide_as_the_normal_approximation_says() {
        let mut random = Seed::new(9).generator();
        let second: Vec<f64> = (0..400).map(|_| f64::from(random.unit())).collect();
        let first: Vec<f64> =
            second.iter().map(|value| value + 0.05 + 0.3 * f64::from(random.normal())).collect();
        let difference = BOOTSTRAP.paired_difference(&first, &second).unwrap();
        let half = 1.96 * 0.3 / 20.0;
        assert!((difference.high - difference.low - 2.0 * half).abs() < 0.15 * half, "{difference:?}");
        assert!(difference.low < difference.mean && difference.mean < difference.high);
    }

    #[test]
    fn a_constant_gain_is_certain_and_equality_is_undecided() {
        let values = [0.1, 0.5, 0.9];
        let better = values.map(|value| value + 0.25);
        let difference = BOOTSTRAP.paired_difference(&better, &values).unwrap();
        assert!(difference.is_significant() && difference.first_better == 1.0);
        let same = BOOTSTRAP.paired_difference(&values, &values).unwrap();
        assert!(!same.is_significant() && same.first_better == 0.5);
    }

    #[test]
    fn what_cannot_be_compared_is_none() {
        assert_eq!(BOOTSTRAP.paired_difference(&[], &[]), None);
        assert_eq!(BOOTSTRAP.paired_difference(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(BOOTSTRAP.paired_difference(&[f64::NAN], &[1.0]), None);
    }
}
