//! From logits to probabilities, and how good either is.

use serde::{Deserialize, Serialize};

use super::gradient::{log_loss, sigmoid};

/// Probability that a positive sample has a higher logit than a negative one; ties count one half.
/// 0.5 if there is only one class. `O(n log n)`.
#[must_use]
pub fn area_under_curve(logits: &[f32], labels: &[bool]) -> f64 {
    let mut order: Vec<(f32, bool)> = logits.iter().copied().zip(labels.iter().copied()).collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut positives, mut pairs) = (0_u64, 0_u64, 0.0_f64);
    for tie in order.chunk_by(|a, b| a.0 == b.0) {
        let hits = tie.iter().filter(|&&(_, label)| label).count() as u64;
        let misses = tie.len() as u64 - hits;
        pairs += hits as f64 * (below as f64 + 0.5 * misses as f64);
        below += misses;
        positives += hits;
    }
    if below == 0 || positives == 0 { 0.5 } else { pairs / (below as f64 * positives as f64) }
}

/// Mean negative log-likelihood of the labels; 0 for no samples.
#[must_use]
pub fn mean_log_loss(logits: &[f32], labels: &[bool]) -> f64 {
    let losses = logits.iter().zip(labels).map(|(&logit, &label)| f64::from(log_loss(logit, label)));
    losses.sum::<f64>() / labels.len().max(1) as f64
}

/// Mean distance between predicted probability and observed rate over `bins` bins of equally many samples,
/// weighted by their size. 0 for no samples.
#[must_use]
pub fn expected_calibration_error(probabilities: &[f32], labels: &[bool], bins: usize) -> f64 {
    let mut order: Vec<(f32, bool)> = probabilities.iter().copied().zip(labels.iter().copied()).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let size = order.len().div_ceil(bins.max(1)).max(1);
    let gap = |bin: &[(f32, bool)]| {
        let predicted: f64 = bin.iter().map(|&(probability, _)| f64::from(probability)).sum();
        let observed = bin.iter().filter(|&&(_, label)| label).count() as f64;
        (predicted - observed).abs()
    };
    order.chunks(size).map(gap).sum::<f64>() / order.len().max(1) as f64
}

/// A map from logit to probability that never decreases, so it changes no ranking.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calibration {
    /// The logit as it is.
    #[default]
    Identity,
    /// `1 / (1 + e^-(slope · logit + intercept))`, slope above 0.
    Platt {
        /// Above 1 if the machine was too cautious, below if too sure.
        slope: f32,
        /// Corrects the base rate, for example after sampling negatives.
        intercept: f32,
    },
    /// Straight lines between points, flat outside them.
    Isotonic {
        /// Ascending.
        logits: Vec<f32>,
        /// Ascending, one per logit.
        probabilities: Vec<f32>,
    },
}

impl Calibration {
    /// Platt scaling by Newton's method with his smoothed targets; identity if the labels have one class or the
    /// best slope is not positive, because that would turn the ranking round.
    ///
    /// J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999; H.-T. Lin et al., Machine Learning 68, 2007.
    #[must_use]
    pub fn platt(logits: &[f32], labels: &[bool]) -> Self {
        let positives = labels.iter().filter(|&&label| label).count() as f64;
        let negatives = labels.len() as f64 - positives;
        if positives == 0.0 || negatives == 0.0 {
            return Self::Identity;
        }
        let targets = [1.0 / (negatives + 2.0), (positives + 1.0) / (positives + 2.0)];
        let (mut slope, mut intercept) = (1.0_f64, 0.0_f64);
        for _ in 0..50 {
            // Gradient and Hessian of the log-loss; the small ridge keeps the Hessian invertible.
            let (mut g_slope, mut g_intercept) = (0.0, 0.0);
            let (mut h_slope, mut h_mixed, mut h_intercept) = (1e-9, 0.0, 1e-9);
            for (&logit, &label) in logits.iter().zip(labels) {
                let logit = f64::from(logit);
                let probability = 1.0 / (1.0 + (-(slope * logit + intercept)).exp());
                let error = probability - targets[usize::from(label)];
                let spread = probability * (1.0 - probability);
                g_slope += error * logit;
                g_intercept += error;
                h_slope += spread * logit * logit;
                h_mixed += spread * logit;
                h_intercept += spread;
            }
            let determinant = h_slope * h_intercept - h_mixed * h_mixed;
            let step_slope = (h_intercept * g_slope - h_mixed * g_intercept) / determinant;
            let step_intercept = (h_slope * g_intercept - h_mixed * g_slope) / determinant;
            slope -= step_slope.clamp(-1.0, 1.0);
            intercept -= step_intercept.clamp(-1.0, 1.0);
            if step_slope.abs() + step_intercept.abs() < 1e-9 {
                break;
            }
        }
        let (slope, intercept) = (slope as f32, intercept as f32);
        let sound = slope.is_finite() && slope > 0.0 && intercept.is_finite();
        if sound { Self::Platt { slope, intercept } } else { Self::Identity }
    }

    /// Isotonic regression by pooling adjacent violators; needs thousands of samples to be better than Platt's.
    #[must_use]
    pub fn isotonic(logits: &[f32], labels: &[bool]) -> Self {
        let mut order: Vec<(f32, bool)> = logits.iter().copied().zip(labels.iter().copied()).collect();
        order.retain(|(logit, _)| logit.is_finite());
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        // Blocks of (sum of logits, positives, size), their rates ascending.
        let mut blocks: Vec<(f64, f64, f64)> = Vec::new();
        for (logit, label) in order {
            let mut block = (f64::from(logit), f64::from(u8::from(label)), 1.0);
            while let Some(&(logits, positives, size)) = blocks.last()
                && positives * block.2 >= block.1 * size
            {
                blocks.pop();
                block = (block.0 + logits, block.1 + positives, block.2 + size);
            }
            blocks.push(block);
        }
        if blocks.len() < 2 {
            return Self::Identity;
        }
        let logits = blocks.iter().map(|block| (block.0 / block.2) as f32).collect();
        let probabilities = blocks.iter().map(|block| (block.1 / block.2) as f32).collect();
        Self::Isotonic { logits, probabilities }
    }

    /// The probability for a logit.
    #[must_use]
    #[inline]
    pub fn probability(&self, logit: f32) -> f32 {
        match self {
            Self::Identity => sigmoid(logit),
            Self::Platt { slope, intercept } => sigmoid(slope * logit + intercept),
            Self::Isotonic { logits, probabilities } => interpolate(logits, probabilities, logit),
        }
    }
}

fn interpolate(xs: &[f32], ys: &[f32], x: f32) -> f32 {
    let right = xs.partition_point(|&other| other < x);
    match (right.checked_sub(1), xs.get(right)) {
        (None, _) => ys.first().copied().unwrap_or(0.5),
        (Some(left), None) => ys.get(left).copied().unwrap_or(0.5),
        (Some(left), Some(&high)) => {
            let share = (x - xs[left]) / (high - xs[left]);
            ys[left] + share * (ys[right] - ys[left])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_curve_is_the_share_of_ordered_pairs(
            samples in proptest::collection::vec((-3_i8..3, any::<bool>()), 0..40),
        ) {
            let (logits, labels): (Vec<f32>, Vec<bool>) = samples.iter().map(|&(l, y)| (f32::from(l), y)).unzip();
            let (mut ordered, mut pairs) = (0.0, 0.0);
            for (&high, _) in logits.iter().zip(&labels).filter(|&(_, &label)| label) {
                for (&low, _) in logits.iter().zip(&labels).filter(|&(_, &label)| !label) {
                    pairs += 1.0;
                    ordered += if high > low { 1.0 } else if high == low { 0.5 } else { 0.0 };
                }
            }
            let expected = if pairs == 0.0 { 0.5 } else { ordered / pairs };
            prop_assert!((area_under_curve(&logits, &labels) - expected).abs() < 1e-12);
        }

        #[test]
        fn no_calibration_turns_two_logits_round(
            samples in proptest::collection::vec((-8.0_f32..8.0, any::<bool>()), 0..60),
            a in -9.0_f32..9.0, b in -9.0_f32..9.0,
        ) {
            let (logits, labels): (Vec<f32>, Vec<bool>) = samples.into_iter().unzip();
            let (low, high) = (a.min(b), a.max(b));
            for calibration in [Calibration::platt(&logits, &labels), Calibration::isotonic(&logits, &labels)] {
                let (p, q) = (calibration.probability(low), calibration.probability(high));
                prop_assert!((0.0..=1.0).contains(&p) && p <= q, "{calibration:?}: {p} {q}");
            }
        }
    }

    /// 4,000 labels drawn, without chance, with the probability `sigmoid(logit / 2 − 1)`.
    fn too_sure() -> (Vec<f32>, Vec<bool>) {
        let samples = (0..4000).map(|i| {
            let logit = (i / 40) as f32 * 0.1 - 5.0;
            let probability = sigmoid(logit / 2.0 - 1.0);
            (logit, ((i % 40) as f32 + 0.5) / 40.0 < probability)
        });
        samples.unzip()
    }

    #[test]
    fn platt_finds_the_scale_and_the_base_rate() {
        let (logits, labels) = too_sure();
        let Calibration::Platt { slope, intercept } = Calibration::platt(&logits, &labels) else {
            panic!("one class")
        };
        assert!((slope - 0.5).abs() < 0.02 && (intercept + 1.0).abs() < 0.05, "{slope} {intercept}");
    }

    #[test]
    fn calibration_lowers_the_calibration_error() {
        let (logits, labels) = too_sure();
        let error = |calibration: &Calibration| {
            let probabilities: Vec<f32> =
                logits.iter().map(|&logit| calibration.probability(logit)).collect();
            expected_calibration_error(&probabilities, &labels, 20)
        };
        let before = error(&Calibration::Identity);
        assert!(before > 0.1, "{before}");
        assert!(error(&Calibration::platt(&logits, &labels)) < 0.01);
        assert!(error(&Calibration::isotonic(&logits, &labels)) < 0.01);
    }

    #[test]
    fn one_class_stays_as_it_is() {
        assert_eq!(Calibration::platt(&[1.0, 2.0], &[true, true]), Calibration::Identity);
        assert_eq!(Calibration::isotonic(&[], &[]), Calibration::Identity);
    }
}
