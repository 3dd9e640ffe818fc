//! Whether a new ModelSet may go live: it must be sane, and not worse than the live one for the same test users.

use ulex_algorithms::evaluation::interval::Bootstrap;
use ulex_algorithms::random::Seed;

use crate::training::Cycled;

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
    let mut problems = cycled.problems.clone();
    let mut measured = Vec::new();
    match &cycled.comparison {
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
