//! Clock of the server that appends messages, seen from this process.
//!
//! A message that has just been read was appended a moment ago by the server's clock, so the least of *now - appended at*
//! over recent messages bounds the difference between the two clocks from above. The age of a message by the server's
//! clock follows, and no rule compares two clocks directly. While only old messages are read the ages come out too small:
//! an event is then applied although its caller has stopped waiting, which that caller has been told to expect.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Time after which an observation no longer counts; at most twice as long.
const WINDOW: Duration = Duration::from_secs(30);
/// Messages that were waited for, before their difference is believed.
const FRESH_OBSERVATIONS: u32 = 5;
/// Difference between two clocks that an operator should know of.
const ALARM_SECONDS: f64 = 1.0;

/// Least difference seen in one window, in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Minimum {
    any: Option<f64>,
    fresh: Option<f64>,
    fresh_count: u32,
}

/// Difference between the clock of this process and that of the server.
#[derive(Debug)]
pub(super) struct ServerClock {
    begun: Instant,
    current: Minimum,
    previous: Minimum,
    is_alarmed: bool,
}

impl ServerClock {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            current: Minimum::default(),
            previous: Minimum::default(),
            is_alarmed: false,
        }
    }

    /// Takes note of a message that was read at `now`; `is_fresh` if it was waited for, so that reading it took no time.
    pub(super) fn observe(&mut self, appended_at: SystemTime, now: SystemTime, is_fresh: bool) {
        if self.begun.elapsed() >= WINDOW {
            self.begun = Instant::now();
            self.previous = std::mem::take(&mut self.current);
        }
        let difference = seconds_between(appended_at, now);
        self.current.any = least(self.current.any, Some(difference));
        if is_fresh {
            self.current.fresh = least(self.current.fresh, Some(difference));
            self.current.fresh_count += 1;
        }
    }

    /// Age of a message by the server's clock, as far as it is known.
    pub(super) fn age(&self, appended_at: SystemTime, now: SystemTime) -> Duration {
        let difference = least(self.current.any, self.previous.any).unwrap_or(0.0);
        Duration::try_from_secs_f64(seconds_between(appended_at, now) - difference).unwrap_or_default()
    }

    /// Seconds that this process is ahead of the server; `None` until enough messages were waited for.
    pub(super) fn difference(&self) -> Option<f64> {
        let enough = self.current.fresh_count + self.previous.fresh_count >= FRESH_OBSERVATIONS;
        least(self.current.fresh, self.previous.fresh).filter(|_| enough)
    }

    /// The difference, once, when it becomes too large to be overlooked.
    pub(super) fn take_alarm(&mut self) -> Option<f64> {
        let difference = self.difference()?;
        let was_alarmed = std::mem::replace(&mut self.is_alarmed, difference.abs() > ALARM_SECONDS);
        (self.is_alarmed && !was_alarmed).then_some(difference)
    }
}

fn seconds_between(earlier: SystemTime, later: SystemTime) -> f64 {
    match later.duration_since(earlier) {
        Ok(difference) => difference.as_secs_f64(),
        Err(reversed) => -reversed.duration().as_secs_f64(),
    }
}

fn least(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn shifted(time: SystemTime, seconds: i64) -> SystemTime {
        let shift = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { time - shift } else { time + shift }
    }

    fn server(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn ages_are_right_however_wrong_the_clock_of_this_process_is() {
        for ahead in [-14_i64, 0, 14, 86_400] {
            let local = |seconds: u64| shifted(server(seconds), ahead);
            let mut clock = ServerClock::new();
            clock.observe(server(90), local(100), false);
            clock.observe(server(100), local(100), true);
            assert_eq!(clock.age(server(98), local(100)), SECOND * 2, "{ahead}");
            assert_eq!(clock.age(server(100), local(103)), SECOND * 3, "{ahead}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_difference_is_said_once_and_only_of_messages_that_were_waited_for() {
        let mut clock = ServerClock::new();
        for _ in 0..20 {
            clock.observe(server(0), server(3600), false);
        }
        assert_eq!(
            (clock.difference(), clock.take_alarm()),
            (None, None),
            "a backlog says nothing about clocks"
        );
        for _ in 0..FRESH_OBSERVATIONS {
            clock.observe(server(0), server(14), true);
        }
        assert_eq!((clock.take_alarm(), clock.take_alarm()), (Some(14.0), None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_right_is_believed_after_two_windows() {
        let mut clock = ServerClock::new();
        clock.observe(server(100), server(50), true);
        for _ in 0..2 {
            tokio::time::advance(WINDOW).await;
            clock.observe(server(200), server(200), true);
        }
        assert_eq!(clock.age(server(195), server(200)), SECOND * 5);
    }
}
