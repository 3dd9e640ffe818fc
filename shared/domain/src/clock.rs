//! Wall clock of a process.
//!
//! A process asks its own clock and never compares it with the clock of another process. Rules that need one time for
//! everybody go by the time at which the log took a message.

use std::fmt::Debug;
use std::time::SystemTime;

use crate::Timestamp;

/// Source of wall-clock time.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Wall-clock time of this process; may jump.
    fn wall(&self) -> SystemTime;

    /// [`Clock::wall`] as a timestamp.
    fn timestamp(&self) -> Timestamp {
        let since = self.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// Clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Debug)]
    struct Stopped(SystemTime);

    impl Clock for Stopped {
        fn wall(&self) -> SystemTime {
            self.0
        }
    }

    #[test]
    fn a_timestamp_is_the_wall_time_in_nanoseconds() {
        let clock = Stopped(SystemTime::UNIX_EPOCH + Duration::from_nanos(1_234_567_891));
        assert_eq!(clock.timestamp().as_nanos(), 1_234_567_891);
        assert_eq!(Stopped(SystemTime::UNIX_EPOCH - Duration::from_secs(1)).timestamp().as_nanos(), 0);
    }
}
