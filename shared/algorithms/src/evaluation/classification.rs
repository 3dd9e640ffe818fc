//! Quality of scores and probabilities for yes-or-no outcomes.
//!
//! Inputs are parallel slices; what is left over of the longer one is ignored. A measure that is not defined (no
//! example, one class only, NaN) is `None`, never 0.

use rayon::prelude::*;

/// Probability that a positive outscores a negative, a tie counting one half; `O(n log n)`.
///
/// Equals the rank-sum statistic of Mann and Whitney. `None` unless both classes occur and no score is NaN.
#[must_use]
pub fn auc(scores: &[f32], labels: &[bool]) -> Option<f64> {
    let mut pairs: Vec<(f32, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    if pairs.iter().any(|pair| pair.0.is_nan()) {
        return None;
    }
    // `+ 0.0` so that the two zeros tie.
    pairs.iter_mut().for_each(|pair| pair.0 += 0.0);
    pairs.par_sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut twice_won, mut positives) = (0_u128, 0_u128, 0_u128);
    for tied in pairs.chunk_by(|a, b| a.0 == b.0) {
        let up = tied.iter().filter(|pair| pair.1).count() as u128;
        let down = tied.len() as u128 - up;
        twice_won += up * (2 * below + down);
        below += down;
        positives += up;
    }
    (positives > 0 && below > 0).then(|| twice_won as f64 / (2 * positives * below) as f64)
}

/// Mean of `−log` of the probability given to what happened, probabilities kept 10⁻⁷ away from 0 and 1.
#[must_use]
pub fn log_loss(probabilities: &[f32], labels: &[bool]) -> Option<f64> {
    let losses = probabilities.iter().zip(labels).map(|(&probability, &label)| {
        let probability = f64::from(probability).clamp(1e-7, 1.0 - 1e-7);
        if label { -probability.ln() } else { -(1.0 - probability).ln() }
    });
    mean(losses)
}

/// Expected calibration error: the gap between mean probability and frequency in `bins` equal-width bins, weighted by
/// how many examples a bin has.
#[must_use]
pub fn calibration_error(probabilities: &[f32], labels: &[bool], bins: usize) -> Option<f64> {
    let mut sums = vec![(0.0_f64, 0.0_f64); bins.max(1)];
    let mut count = 0_usize;
    for (&probability, &label) in probabilities.iter().zip(labels) {
        if !(0.0..=1.0).contains(&probability) {
            return None;
        }
        let bin = ((f64::from(probability) * sums.len() as f64) as usize).min(sums.len() - 1);
        sums[bin].0 += f64::from(probability);
        sums[bin].1 += f64::from(u8::from(label));
        count += 1;
    }
    (count > 0)
        .then(|| sums.iter().map(|(predicted, seen)| (predicted - seen).abs()).sum::<f64>() / count as f64)
}

/// AUC within each group (a user), averaged by group size; groups with one class only are left out.
#[must_use]
pub fn grouped_auc(groups: &[u32], scores: &[f32], labels: &[bool]) -> Option<f64> {
    let n = groups.len().min(scores.len()).min(labels.len());
    let mut order: Vec<usize> = (0..n).collect();
    order.par_sort_by_key(|&index| groups[index]);
    let (mut weighted, mut weight) = (0.0, 0.0);
    for group in order.chunk_by(|&a, &b| groups[a] == groups[b]) {
        let scores: Vec<f32> = group.iter().map(|&index| scores[index]).collect();
        let labels: Vec<bool> = group.iter().map(|&index| labels[index]).collect();
        if let Some(auc) = auc(&scores, &labels) {
            weighted += auc * group.len() as f64;
            weight += group.len() as f64;
        }
    }
    (weight > 0.0).then(|| weighted / weight)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0 && sum.is_finite()).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn auc_counts_the_pairs_won(examples in proptest::collection::vec((-3_i8..3, any::<bool>()), 0..60)) {
            let (mut won, mut pairs) = (0.0, 0.0);
            for positive in examples.iter().filter(|example| example.1) {
                for negative in examples.iter().filter(|example| !example.1) {
                    pairs += 1.0;
                    won += match positive.0.cmp(&negative.0) {
                        std::cmp::Ordering::Greater => 1.0,
                        std::cmp::Ordering::Equal => 0.5,
                        std::cmp::Ordering::Less => 0.0,
                    };
                }
            }
            let scores: Vec<f32> = examples.iter().map(|example| f32::from(example.0)).collect();
            let labels: Vec<bool> = examples.iter().map(|example| example.1).collect();
            let expected = (pairs > 0.0).then(|| won / pairs);
            match (auc(&scores, &labels), expected) {
                (Some(auc), Some(expected)) => prop_assert!((auc - expected).abs() < 1e-12),
                (found, expected) => prop_assert_eq!(found, expected),
            }
        }
    }

    #[test]
    fn undefined_measures_are_none() {
        assert_eq!(auc(&[1.0, 2.0], &[true, true]), None);
        assert_eq!(auc(&[f32::NAN, 2.0], &[true, false]), None);
        assert_eq!(auc(&[0.0, -0.0], &[true, false]), Some(0.5));
        assert_eq!(log_loss(&[], &[]), None);
        assert_eq!(log_loss(&[f32::NAN], &[true]), None);
        assert_eq!(calibration_error(&[1.5], &[true], 10), None);
        assert_eq!(grouped_auc(&[1, 2], &[0.1, 0.2], &[true, false]), None);
    }

    #[test]
    fn log_loss_matches_its_definition_and_stays_finite() {
        let loss = log_loss(&[0.8, 0.3], &[true, false]).unwrap();
        assert!((loss - -(0.8_f64.ln() + 0.7_f64.ln()) / 2.0).abs() < 1e-6);
        assert!(log_loss(&[0.0], &[true]).unwrap() < 17.0);
    }

    #[test]
    fn calibration_compares_frequency_with_probability_bin_by_bin() {
        let error = calibration_error(&[0.25, 0.25, 0.25, 0.25, 1.0], &[true, false, false, false, false], 2);
        assert!((error.unwrap() - 0.2).abs() < 1e-9);
    }

    #[test]
    fn groups_weigh_by_their_size() {
        // Group 1 perfect with two examples, group 2 inverted with three, group 3 has one class.
        let groups = [2, 1, 2, 1, 2, 3];
        let scores = [0.1, 0.9, 0.5, 0.1, 0.6, 0.5];
        let labels = [true, true, false, false, false, true];
        assert_eq!(grouped_auc(&groups, &scores, &labels), Some(2.0 / 5.0));
    }
}
