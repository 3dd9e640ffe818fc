//! From logits to probabilities, and how good either is.

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
    let losses = logits.iter().zip(labels).map(|(&logit, &label)| f64::from(super::gradient::log_loss(logit, label)));
    losses.sum::<f64>() / labels.len().max(1) as f64
}
