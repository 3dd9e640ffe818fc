//! What happens when more is asked than can be answered: less is done for each answer, and at last some get none.
//!
//! | level | personal lists | other reads that have to wait |
//! |---|---|---|
//! | 0 | as always | as always |
//! | 1 | a kept list will do even if it is out of date | as always |
//! | 2 | and who has none gets one without ranking | as always |
//! | 3 | and who has none gets a leaderboard | as always |
//! | 4 | as 3, and a share is refused with 429 | a share is refused with 429 |
//!
//! Only who asks more than others is refused ([`peers`]). Lists from memory cost less than a refusal and are always
//! given; writes have a bound of their own, the queue of the ingester. An answer that is less than the best says so in the
//! header `x-ulex-degraded`.
//!
//! The level follows from how long work waits before it begins, and from how many requests are in flight ([`ladder`]).
//! Waiting is measured by a timer on each thread that serves ([`probe`]): it is as late as everything else there. A thread
//! without requests is never late.

mod ladder;
mod peers;
mod probe;

use std::cell::Cell;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{info, warn};
use ulex_recommenders::service::{Effort, Quality};

use self::ladder::{Ladder, Sample};
use self::peers::Peers;
pub(crate) use self::probe::{note_request, watch};
use crate::http::measures::heading;

/// Time between two looks at the ladder.
const STEP: Duration = Duration::from_millis(50);

/// The state of one process. What requests read is a few atomics.
pub(crate) struct Overload {
    ladder: Mutex<(Ladder, Instant)>,
    begun: Instant,
    level: AtomicU8,
    /// Of a thousand.
    refused_share: AtomicU32,
    peers: Peers,
    /// Microseconds that work waits, by thread.
    delays: Mutex<Vec<Arc<AtomicU64>>>,
    refused: AtomicU64,
    stale: AtomicU64,
    unranked: AtomicU64,
    leaderboards: AtomicU64,
}

thread_local! {
    /// Shares of refusals that were not whole yet.
    static OWED: Cell<u32> = const { Cell::new(0) };
}

impl Overload {
    pub(crate) fn new() -> Self {
        let begun = Instant::now();
        Self {
            ladder: Mutex::new((Ladder::default(), begun)),
            begun,
            level: AtomicU8::new(0),
            refused_share: AtomicU32::new(0),
            peers: Peers::default(),
            delays: Mutex::default(),
            refused: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            unranked: AtomicU64::new(0),
            leaderboards: AtomicU64::new(0),
        }
    }

    /// How much may be done for a list now.
    pub(crate) fn effort(&self) -> Effort {
        match self.level.load(Ordering::Relaxed) {
            0 => Effort::Full,
            1 => Effort::Kept,
            2 => Effort::Unranked,
            _ => Effort::Leaderboard,
        }
    }

    /// Notes a read that has to wait; whether it is to be refused.
    pub(crate) fn refuses(&self, peer: Option<IpAddr>) -> bool {
        let asks_much = self.peers.note(peer);
        let share = self.refused_share.load(Ordering::Relaxed);
        if share == 0 || !asks_much {
            return false;
        }
        // As many as the share says, evenly spread.
        let owed = OWED.get() + share;
        OWED.set(owed % 1000);
        let refused = owed >= 1000;
        self.refused.fetch_add(u64::from(refused), Ordering::Relaxed);
        refused
    }

    /// What the header of an answer says; `None` for the best there is.
    pub(crate) fn told(&self, quality: Quality) -> Option<&'static str> {
        let (counter, word) = match quality {
            Quality::Full => return None,
            Quality::Stale => (&self.stale, "stale"),
            Quality::Unranked => (&self.unranked, "unranked"),
            Quality::Leaderboard => (&self.leaderboards, "leaderboard"),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Some(word)
    }

    /// A place for the delay of one more thread.
    fn thread(&self) -> Arc<AtomicU64> {
        let delay = Arc::new(AtomicU64::new(0));
        self.delays.lock().push(Arc::clone(&delay));
        delay
    }

    fn delay(&self) -> Duration {
        let longest = self.delays.lock().iter().map(|delay| delay.load(Ordering::Relaxed)).max();
        Duration::from_micros(longest.unwrap_or(0))
    }

    /// Looks at the ladder if it is time. `share` is how many of the allowed requests are in flight.
    pub(crate) fn look(&self, share: f64) {
        let mut ladder = self.ladder.lock();
        if ladder.1.elapsed() < STEP {
            return;
        }
        ladder.1 = Instant::now();
        let sample = Sample { delay: self.delay(), in_flight: share };
        let before = ladder.0.level();
        let level = ladder.0.step(self.begun.elapsed(), sample);
        self.level.store(level, Ordering::Relaxed);
        self.refused_share.store((ladder.0.refused() * 1000.0) as u32, Ordering::Relaxed);
        drop(ladder);
        self.peers.settle();
        if before == 0 && level > 0 {
            let delay_ms = sample.delay.as_millis() as u64;
            warn!(delay_ms, in_flight = share, "more is asked than can be answered: answers get simpler");
        } else if before > 0 && level == 0 {
            info!("everything is answered in full again");
        }
    }

    /// Appends its figures in the text format of Prometheus.
    pub(crate) fn render(&self, text: &mut String) {
        let level = self.level.load(Ordering::Relaxed);
        heading(text, "ulex_overload_level", "gauge", "0 is none, 4 refuses requests.");
        let _ = writeln!(text, "ulex_overload_level {level}");
        heading(text, "ulex_overload_delay_seconds", "gauge", "How long work waits before it begins.");
        let _ = writeln!(text, "ulex_overload_delay_seconds {}", self.delay().as_secs_f64());
        heading(text, "ulex_overload_refused_total", "counter", "Requests refused with status 429.");
        let _ = writeln!(text, "ulex_overload_refused_total {}", self.refused.load(Ordering::Relaxed));
        heading(text, "ulex_degraded_total", "counter", "Lists that were less than the best.");
        for (how, counter) in
            [("stale", &self.stale), ("unranked", &self.unranked), ("leaderboard", &self.leaderboards)]
        {
            let _ =
                writeln!(text, "ulex_degraded_total{{how=\"{how}\"}} {}", counter.load(Ordering::Relaxed));
        }
    }

    /// Puts it on a level, for tests of what follows from that.
    #[cfg(test)]
    pub(crate) fn force(&self, level: u8, refused_share: u32) {
        self.level.store(level, Ordering::Relaxed);
        self.refused_share.store(refused_share, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn peer(number: u8) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)))
    }

    #[test]
    fn a_share_of_a_busy_peer_is_refused_and_nothing_of_a_quiet_one() {
        let overload = Overload::new();
        overload.force(4, 250);
        for _ in 0..1000 {
            overload.refuses(peer(1));
        }
        overload.refuses(peer(2));
        overload.peers.settle();
        let refused = (0..1000).filter(|_| overload.refuses(peer(1))).count();
        assert!((240..=260).contains(&refused), "{refused}");
        assert!((0..20).all(|_| !overload.refuses(peer(2))));
    }

    #[test]
    fn nothing_is_refused_below_the_last_level() {
        let overload = Overload::new();
        overload.force(3, 0);
        assert!((0..1000).all(|_| !overload.refuses(peer(1))));
        assert_eq!(overload.effort(), Effort::Leaderboard);
    }

    #[test]
    fn answers_that_are_less_are_counted_and_named() {
        let overload = Overload::new();
        assert_eq!(overload.told(Quality::Full), None);
        assert_eq!(overload.told(Quality::Stale), Some("stale"));
        assert_eq!(overload.told(Quality::Stale), Some("stale"));
        let mut text = String::new();
        overload.render(&mut text);
        assert!(text.contains("ulex_degraded_total{how=\"stale\"} 2"), "{text}");
    }
}
