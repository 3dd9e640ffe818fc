//! Which level follows from what is measured. Pure: time comes in as an argument.
//!
//! Up at once, one level a look, while the pressure is above what the level can bear; down one level after the pressure
//! was far below that for a while. Whoever goes down and must go up again soon waits longer the next time, so a load between
//! two levels does not make it swing.

use std::time::Duration;

/// What is measured at one look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// How long work waits before it begins.
    pub(super) delay: Duration,
    /// Requests in flight, as a share of those that are allowed.
    pub(super) in_flight: f64,
}

/// The highest level.
pub(super) const TOP: u8 = 4;

/// Waiting that is a pressure of 1.
const DELAY: Duration = Duration::from_millis(20);
/// A share of requests in flight that is a pressure of 1.
const IN_FLIGHT: f64 = 1.0 / 8.0;
/// The pressure from which on each level is left for the next.
const BEARS: [f64; TOP as usize] = [1.0, 1.5, 2.0, 3.0];
/// The pressure must be below this share of what the level below bears.
const FAR_BELOW: f64 = 0.5;
/// How long it must be.
const CALM: Duration = Duration::from_secs(1);
/// How long at most, after going up again soon.
const LONGEST_CALM: Duration = Duration::from_secs(16);
/// Going up again within this time after going down is soon.
const SOON: Duration = Duration::from_secs(2);
/// By how much the share of refused requests grows, and shrinks, at one look.
const MORE: f64 = 0.05;
const LESS: f64 = 0.02;
/// Somebody is always answered.
const MOST_REFUSED: f64 = 0.95;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Ladder {
    level: u8,
    refused: f64,
    calm_since: Option<Duration>,
    calm: Duration,
    down_at: Option<Duration>,
}

impl Default for Ladder {
    fn default() -> Self {
        Self { level: 0, refused: 0.0, calm_since: None, calm: CALM, down_at: None }
    }
}

impl Ladder {
    pub(super) const fn level(&self) -> u8 {
        self.level
    }

    /// The share of requests to refuse.
    pub(super) const fn refused(&self) -> f64 {
        self.refused
    }

    /// Takes a sample at `now` and returns the level.
    pub(super) fn step(&mut self, now: Duration, sample: Sample) -> u8 {
        let pressure = (sample.delay.as_secs_f64() / DELAY.as_secs_f64()).max(sample.in_flight / IN_FLIGHT);
        if self.level < TOP && pressure >= BEARS[usize::from(self.level)] {
            self.up(now);
        } else if self.level == TOP {
            let too_much = pressure >= BEARS[usize::from(TOP) - 1];
            self.refused = (self.refused + if too_much { MORE } else { -LESS }).clamp(0.0, MOST_REFUSED);
        }
        self.relax(now, pressure);
        self.level
    }

    fn up(&mut self, now: Duration) {
        self.level += 1;
        self.calm_since = None;
        if let Some(down_at) = self.down_at.take()
            && now.saturating_sub(down_at) < SOON
        {
            self.calm = (self.calm * 2).min(LONGEST_CALM);
        }
    }

    /// Goes down if it was calm for long enough.
    fn relax(&mut self, now: Duration, pressure: f64) {
        let is_calm = match self.level.checked_sub(1) {
            None => {
                let rested = self.down_at.is_none_or(|down_at| now.saturating_sub(down_at) >= LONGEST_CALM);
                if rested {
                    self.calm = CALM;
                }
                return;
            }
            Some(below) => pressure < BEARS[usize::from(below)] * FAR_BELOW && self.refused == 0.0,
        };
        if !is_calm {
            self.calm_since = None;
            return;
        }
        let since = *self.calm_since.get_or_insert(now);
        if now.saturating_sub(since) >= self.calm {
            self.level -= 1;
            self.calm_since = None;
            self.down_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOOK: Duration = Duration::from_millis(50);

    /// A ladder and its clock.
    #[derive(Default)]
    struct Clocked(Ladder, Duration);

    impl Clocked {
        fn look(&mut self, delay_ms: u64, in_flight: f64) -> u8 {
            self.1 += LOOK;
            self.0.step(self.1, Sample { delay: Duration::from_millis(delay_ms), in_flight })
        }

        /// Levels in so many looks at the same pressure.
        fn looks(&mut self, count: usize, delay_ms: u64) -> Vec<u8> {
            (0..count).map(|_| self.look(delay_ms, 0.0)).collect()
        }
    }

    #[test]
    fn pressure_leads_up_one_level_a_look_as_far_as_it_reaches() {
        assert_eq!(Clocked::default().looks(5, 25), [1, 1, 1, 1, 1]);
        assert_eq!(Clocked::default().looks(5, 35), [1, 2, 2, 2, 2]);
        assert_eq!(Clocked::default().looks(5, 100), [1, 2, 3, 4, 4]);
        let mut by_requests = Clocked::default();
        assert_eq!([by_requests.look(0, 0.13), by_requests.look(0, 0.13)], [1, 1]);
    }

    #[test]
    fn a_load_that_can_be_borne_changes_nothing() {
        assert!(Clocked::default().looks(1000, 19).iter().all(|level| *level == 0));
        let mut ladder = Clocked::default();
        assert!((0..1000).all(|_| ladder.look(0, 0.12) == 0));
    }

    #[test]
    fn it_comes_down_only_after_it_was_calm_for_a_while() {
        let mut ladder = Clocked::default();
        ladder.looks(2, 25);
        assert!(ladder.looks(100, 15).iter().all(|level| *level == 1), "not far below");
        assert!(ladder.looks(20, 5).iter().all(|level| *level == 1), "not long enough");
        ladder.look(15, 0.0);
        assert!(ladder.looks(20, 5).iter().all(|level| *level == 1), "the calm began anew");
        assert_eq!(ladder.looks(2, 5).last(), Some(&0));
    }

    #[test]
    fn refusals_grow_while_it_is_too_much_and_end_before_the_level_does() {
        let mut ladder = Clocked::default();
        ladder.looks(4, 100);
        assert_eq!(ladder.0.refused(), 0.0);
        ladder.looks(100, 100);
        assert_eq!(ladder.0.refused(), MOST_REFUSED);
        let mut levels = Vec::new();
        while ladder.0.refused() > 0.0 {
            levels.push(ladder.look(1, 0.0));
        }
        assert!(levels.iter().all(|level| *level == TOP), "{levels:?}");
        assert!(ladder.looks(200, 1).contains(&0));
    }

    #[test]
    fn a_load_between_two_levels_makes_it_swing_ever_more_slowly() {
        let mut ladder = Clocked::default();
        let mut changes = Vec::new();
        let mut before = 0;
        for look in 0..4000 {
            // Calm as soon as less is done, too much as soon as everything is.
            let level = ladder.look(if before == 0 { 25 } else { 5 }, 0.0);
            if level < before {
                changes.push(look);
            }
            before = level;
        }
        let pauses: Vec<i32> = changes.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses[0] < 60 && pauses.last().is_some_and(|last| *last > 300), "{pauses:?}");
    }

    proptest! {
        #[test]
        fn a_level_changes_by_one_and_nothing_is_refused_below_the_top(
            samples in proptest::collection::vec((0_u64..200, 0.0_f64..1.0), 1..400)
        ) {
            let mut ladder = Clocked::default();
            let mut before = 0;
            for (delay, in_flight) in samples {
                let level = ladder.look(delay, in_flight);
                prop_assert!(level <= TOP && level.abs_diff(before) <= 1);
                prop_assert!((0.0..=MOST_REFUSED).contains(&ladder.0.refused()));
                prop_assert!(level == TOP || ladder.0.refused() == 0.0);
                before = level;
            }
        }

        #[test]
        fn it_is_back_on_the_ground_within_two_minutes_of_calm(
            samples in proptest::collection::vec((0_u64..200, 0.0_f64..1.0), 1..400)
        ) {
            let mut ladder = Clocked::default();
            for (delay, in_flight) in samples {
                ladder.look(delay, in_flight);
            }
            prop_assert_eq!(ladder.looks(2400, 0).pop(), Some(0));
        }
    }
}
