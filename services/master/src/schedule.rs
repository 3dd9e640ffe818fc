//! When a fit is due: a pure decision over what is known, taken by the trainer a few times a second.

use std::time::{Duration, Instant};

use ulex_settings::Settings;

/// When to fit, as configured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// The first fit waits until data has been quiet for this long ...
    pub quiet: Duration,
    /// ... but not longer than this after the first data.
    pub first_fit_within: Duration,
    /// A later fit is due when the data has changed at all and this long has passed ...
    pub fit_period: Duration,
    /// ... or when this share of the rows of the last fit has come.
    pub growth: f64,
}

impl Policy {
    /// What these settings say.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let (training, recommend) = (&settings.training, &settings.recommend);
        Self {
            quiet: training.quiet,
            first_fit_within: training.first_fit_within,
            fit_period: recommend.collaborative.fit_period.min(recommend.ranker.fit_period),
            growth: training.growth,
        }
    }
}

/// What is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Known {
    /// When the last successful or refused fit ended; `None` if there is none.
    pub last_fit: Option<Instant>,
    /// Rows the last fit saw.
    pub rows_at_last_fit: u64,
    /// The settings have changed since the last fit.
    pub settings_changed: bool,
    /// Rows written since.
    pub new_rows: u64,
    /// When the first of them came.
    pub first_change: Option<Instant>,
    /// When the last of them came.
    pub last_change: Option<Instant>,
    /// No fit before this moment: the last one failed.
    pub not_before: Option<Instant>,
}

/// Why a fit is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no model yet.
    First,
    /// The settings have changed.
    Settings,
    /// The period is over and something has changed.
    Period,
    /// The data has grown.
    Growth,
}

/// Whether a fit is due at `now`.
#[must_use]
pub fn due(now: Instant, known: &Known, policy: &Policy) -> Option<Reason> {
    if known.not_before.is_some_and(|moment| now < moment) {
        return None;
    }
    let since = |moment: Option<Instant>| moment.map(|moment| now.saturating_duration_since(moment));
    let settled = since(known.last_change).is_none_or(|quiet| quiet >= policy.quiet)
        || since(known.first_change).is_some_and(|waited| waited >= policy.first_fit_within);
    let Some(last_fit) = known.last_fit else {
        return (known.new_rows > 0 && settled).then_some(Reason::First);
    };
    if known.settings_changed {
        return Some(Reason::Settings);
    }
    if known.new_rows == 0 {
        return None;
    }
    if now.saturating_duration_since(last_fit) >= policy.fit_period {
        return Some(Reason::Period);
    }
    let grown = known.new_rows as f64 >= policy.growth * known.rows_at_last_fit.max(1) as f64;
    (grown && settled).then_some(Reason::Growth)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        quiet: Duration::from_secs(3),
        first_fit_within: Duration::from_secs(60),
        fit_period: Duration::from_secs(3600),
        growth: 0.1,
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_fit_waits_for_quiet_but_not_for_ever() {
        let start = Instant::now();
        let busy = |at: u64| Known {
            new_rows: 9,
            first_change: Some(start),
            last_change: Some(start + seconds(at)),
            ..Known::default()
        };
        assert_eq!(due(start + seconds(10), &busy(10), &POLICY), None);
        assert_eq!(due(start + seconds(13), &busy(10), &POLICY), Some(Reason::First));
        assert_eq!(due(start + seconds(60), &busy(60), &POLICY), Some(Reason::First));
        assert_eq!(due(start, &Known::default(), &POLICY), None, "no data, no fit");
    }

    #[test]
    fn later_fits_need_the_period_or_a_tenth_more_data() {
        let start = Instant::now();
        let known = |new_rows| Known {
            last_fit: Some(start),
            rows_at_last_fit: 1_000,
            new_rows,
            first_change: Some(start),
            last_change: Some(start),
            ..Known::default()
        };
        assert_eq!(due(start + seconds(100), &known(99), &POLICY), None);
        assert_eq!(due(start + seconds(100), &known(100), &POLICY), Some(Reason::Growth));
        assert_eq!(due(start + seconds(3600), &known(1), &POLICY), Some(Reason::Period));
        assert_eq!(due(start + seconds(9999), &known(0), &POLICY), None, "nothing new to learn");
    }

    #[test]
    fn changed_settings_are_learned_at_once_and_a_failure_is_waited_out() {
        let start = Instant::now();
        let known = Known { last_fit: Some(start), settings_changed: true, ..Known::default() };
        assert_eq!(due(start, &known, &POLICY), Some(Reason::Settings));
        let failed = Known { not_before: Some(start + seconds(30)), ..known };
        assert_eq!(due(start + seconds(29), &failed, &POLICY), None);
        assert_eq!(due(start + seconds(30), &failed, &POLICY), Some(Reason::Settings));
    }
}
