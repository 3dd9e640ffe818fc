//! Whether a new ModelSet may go live: it must be sane, and not worse than the live one for the same test users.

use ulex_algorithms::evaluation::interval::Bootstrap;
use ulex_algorithms::random::Seed;

use crate::training::{Comparison, Cycled};

/// Seed of the resampling, so that a verdict can be repeated.
const RESAMPLING: u64 = 1;

/// What the gate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may go live.
    pub passed: bool,
    /// Why not, or what was measured; one sentence each.
    pub reasons: Vec<String>,
}

impl Verdict {
    /// The gate is switched off.
    #[must_use]
    pub fn ungated() -> Self {
        Self { passed: true, reasons: vec!["the gate is switched off".to_owned()] }
    }
}

/// Judges a finished cycle.
///
/// The comparison is a paired bootstrap of NDCG@10 over users whose test no side has seen: the candidate is refused
/// if the whole 95 % interval of "candidate minus live" lies below zero. Without such users only sanity counts.
#[must_use]
pub fn judge(cycled: &Cycled) -> Verdict {
    judge_parts(&cycled.problems, cycled.comparison.as_ref())
}

fn judge_parts(problems: &[String], comparison: Option<&Comparison>) -> Verdict {
    let mut problems = problems.to_vec();
    let mut measured = Vec::new();
    match comparison {
        None => measured.push("nothing to compare with".to_owned()),
        Some(comparison) => {
            let bootstrap = Bootstrap { resamples: 2_000, confidence: 0.95, seed: Seed::new(RESAMPLING) };
            match bootstrap.paired_difference(&comparison.candidate, &comparison.live) {
                None => measured.push("too few users to compare".to_owned()),
                Some(difference) => {
                    let sentence = format!(
                        "NDCG@10 candidate minus live {:+.4} (95 % interval {:+.4} to {:+.4}, {} users)",
                        difference.mean,
                        difference.low,
                        difference.high,
                        comparison.candidate.len()
                    );
                    if difference.high < 0.0 { problems.push(sentence) } else { measured.push(sentence) }
                }
            }
        }
    }
    let passed = problems.is_empty();
    Verdict { passed, reasons: if passed { measured } else { problems } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(problems: &[&str], shift: Option<f64>) -> Verdict {
        let live: Vec<f64> = (0..200).map(|user| f64::from(user % 10) / 10.0).collect();
        let comparison = shift.map(|shift| Comparison {
            candidate: live
                .iter()
                .zip(0..)
                .map(|(ndcg, user)| ndcg + shift + f64::from(user % 3) * 0.001)
                .collect(),
            live: live.clone(),
        });
        judge_parts(
            &problems.iter().map(|&problem| problem.to_owned()).collect::<Vec<_>>(),
            comparison.as_ref(),
        )
    }

    #[test]
    fn a_worse_candidate_is_refused_and_a_better_or_equal_one_is_not() {
        let refused = judged(&[], Some(-0.05));
        assert!(!refused.passed);
        assert!(refused.reasons[0].contains("candidate minus live -0.0"), "{:?}", refused.reasons);
        assert!(judged(&[], Some(0.05)).passed);
        assert!(judged(&[], Some(-0.001)).passed, "within the noise");
    }

    #[test]
    fn what_is_not_sane_is_refused_whatever_the_comparison_says() {
        let refused = judged(&["als has a value that is not finite"], Some(0.05));
        assert_eq!(refused.reasons, ["als has a value that is not finite"]);
        assert!(!refused.passed);
    }

    #[test]
    fn without_a_comparison_only_sanity_counts() {
        assert_eq!(
            judged(&[], None),
            Verdict { passed: true, reasons: vec!["nothing to compare with".to_owned()] }
        );
    }
}
