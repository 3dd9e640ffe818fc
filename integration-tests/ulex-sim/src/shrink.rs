//! Makes a failing run short.

use crate::run::run_steps;
use crate::steps::Step;

/// Takes steps away, in ever smaller pieces, as long as the run still breaks the invariant that it broke first.
#[must_use]
pub fn shrink(seed: u64, steps: &[Step], invariant: &str) -> Vec<Step> {
    let fails = |steps: &[Step]| {
        run_steps(seed, steps).violations.iter().any(|violation| violation.invariant == invariant)
    };
    let mut kept = steps.to_vec();
    let mut piece = kept.len().div_ceil(2).max(1);
    loop {
        let mut from = 0;
        while from < kept.len() {
            let to = (from + piece).min(kept.len());
            let shorter: Vec<Step> = [&kept[..from], &kept[to..]].concat();
            if fails(&shorter) {
                kept = shorter;
            } else {
                from = to;
            }
        }
        if piece == 1 {
            return kept;
        }
        piece = piece.div_ceil(2);
    }
}
