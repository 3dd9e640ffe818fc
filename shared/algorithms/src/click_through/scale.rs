//! Brings numbers of any unit to about -1 to 1.

use serde::{Deserialize, Serialize};

/// Numbers kept per path; quartiles need no more.
const MAX_SAMPLE: usize = 8192;
/// Scaled values beyond this are outliers and are cut.
const LIMIT: f32 = 3.0;

/// An evenly thinned-out record of the numbers seen: every `stride`-th.
#[derive(Clone, Debug)]
pub(super) struct NumberSample {
    values: Vec<f64>,
    stride: usize,
    seen: usize,
}

impl Default for NumberSample {
    fn default() -> Self {
        Self { values: Vec::new(), stride: 1, seen: 0 }
    }
}

impl NumberSample {
    pub(super) fn push(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        if self.seen.is_multiple_of(self.stride) {
            self.values.push(value);
        }
        self.seen += 1;
        if self.values.len() >= MAX_SAMPLE {
            let mut position = 0;
            self.values.retain(|_| {
                position += 1;
                position % 2 == 1
            });
            self.stride *= 2;
        }
    }

    pub(super) fn finish(mut self) -> NumberScale {
        self.values.sort_by(f64::total_cmp);
        let (Some(&low), Some(&high)) = (self.values.first(), self.values.last()) else {
            return NumberScale::Constant;
        };
        if low == high {
            return NumberScale::Constant;
        }
        let mean = self.values.iter().sum::<f64>() / self.values.len() as f64;
        let logarithmic = low >= 0.0 && mean > 1.5 * quantile(&self.values, 0.5);
        if logarithmic {
            self.values.iter_mut().for_each(|value| *value = value.ln_1p());
        }
        let spread = quantile(&self.values, 0.75) - quantile(&self.values, 0.25);
        let range = self.values[self.values.len() - 1] - self.values[0];
        let spread = if spread > 0.0 { spread } else { range };
        NumberScale::Robust { logarithmic, median: quantile(&self.values, 0.5), spread }
    }
}

/// How the numbers of one path are scaled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NumberScale {
    /// There was one value only: its presence is the information.
    Constant,
    /// `(x − median) / (third − first quartile)`, of `ln(1 + x)` if the numbers are skewed and not negative.
    Robust { logarithmic: bool, median: f64, spread: f64 },
}

impl NumberScale {
    /// The scaled value; `None` for what is not a number.
    pub(super) fn apply(&self, value: f64) -> Option<f32> {
        let scaled = match *self {
            Self::Constant => 1.0,
            Self::Robust { logarithmic, median, spread } => {
                let value = if logarithmic { value.max(0.0).ln_1p() } else { value };
                (value - median) / spread
            }
        };
        value.is_finite().then(|| (scaled as f32).clamp(-LIMIT, LIMIT))
    }
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(values: impl IntoIterator<Item = f64>) -> NumberScale {
        let mut sample = NumberSample::default();
        values.into_iter().for_each(|value| sample.push(value));
        sample.finish()
    }

    #[test]
    fn the_median_becomes_zero_and_the_quartiles_lie_one_apart() {
        let years = scale((0..101).map(|i| 1900.0 + f64::from(i)));
        assert_eq!(years.apply(1950.0), Some(0.0));
        assert_eq!(years.apply(1975.0), Some(0.5));
        assert_eq!(years.apply(1e9), Some(LIMIT));
        assert_eq!(years.apply(f64::NAN), None);
    }

    #[test]
    fn skewed_amounts_are_scaled_by_their_logarithm() {
        let prices = scale((0..20).map(|i| f64::from(1 << i)));
        assert!(matches!(prices, NumberScale::Robust { logarithmic: true, .. }));
        assert!(prices.apply(-5.0).is_some_and(f32::is_finite), "below zero counts as zero");
    }

    #[test]
    fn one_value_means_presence() {
        assert_eq!(scale([7.0, 7.0]).apply(7.0), Some(1.0));
        assert_eq!(scale([]).apply(7.0), Some(1.0));
    }

    #[test]
    fn long_records_are_thinned_evenly() {
        let mut sample = NumberSample::default();
        (0..100_000).for_each(|i| sample.push(f64::from(i)));
        assert!(sample.values.len() < MAX_SAMPLE);
        let NumberScale::Robust { median, .. } = sample.finish() else { panic!("not constant") };
        assert!((median - 50_000.0).abs() < 200.0, "{median}");
    }
}
