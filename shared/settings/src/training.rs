//! `[training]`: when models are fitted and which one goes live.

use std::time::Duration;

use serde_json::json;

use crate::duration::GoDuration;
use crate::resolve::Checks;
use crate::written;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// The first fit waits until no data has come for this long, ...
    pub quiet: Duration,
    /// ... but no longer than this after the first data. At least `quiet`.
    pub first_fit_within: Duration,
    /// Fit again when the data has grown by this share of what the last fit saw.
    pub growth: f64,
    /// Model sets kept, at least 1.
    pub keep: usize,
    /// Where all randomness of training comes from.
    pub seed: u64,
    /// Whether a new model must not be worse than the live one.
    pub gate: bool,
}

impl Training {
    pub(crate) fn resolve(written: &written::Training, checks: &mut Checks<'_>) -> Self {
        let quiet = checks.duration("training.quiet", &written.quiet);
        let first_fit_within =
            checks.positive_duration("training.first_fit_within", &written.first_fit_within);
        if !first_fit_within.is_zero() && first_fit_within < quiet {
            let given = GoDuration::from_std(first_fit_within);
            let expected = format!("at least training.quiet, which is {}", GoDuration::from_std(quiet));
            checks.problem("training.first_fit_within", &json!(given), expected);
        }
        Self {
            quiet,
            first_fit_within,
            growth: checks.positive_number("training.growth", &written.growth),
            keep: checks.integer("training.keep", &written.keep, 1..=i64::MAX),
            seed: checks.integer("training.seed", &written.seed, 0..=i64::MAX),
            gate: checks.flag("training.gate", &written.gate),
        }
    }
}
