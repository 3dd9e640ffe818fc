//! Faults of one process: pauses, crashes, a network that loses or delays answers, a clock that is wrong.
//!
//! Every call that leaves a process passes its [`ProcessControl`] twice, on the way out and on the way back. The local
//! tasks of the process are held by [`ProcessControl::is_running`] in the node's own task, at whichever await they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::Waker;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use ulex_domain::Clock;

use crate::random::SeededRandom;

/// Longest time that a healthy network takes for one way, in microseconds.
const LATENCY_MICROS: u64 = 2_000;
/// Wall-clock time at which every run begins, in seconds since 1970.
const RUN_BEGINS_AT: u64 = 1_800_000_000;

/// Wall clock of the world; nodes are off by their own skew.
#[derive(Clone, Copy, Debug)]
pub struct WorldClock {
    begun: Instant,
}

impl Default for WorldClock {
    fn default() -> Self {
        Self { begun: Instant::now() }
    }
}

impl WorldClock {
    /// The time since the run began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The time by the servers' clock.
    #[must_use]
    pub fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(RUN_BEGINS_AT) + self.begun.elapsed()
    }
}

/// Clock of one process.
#[derive(Debug)]
pub struct NodeClock {
    world: WorldClock,
    control: Arc<ProcessControl>,
}

impl NodeClock {
    /// The clock of the process that `control` belongs to.
    #[must_use]
    pub const fn new(world: WorldClock, control: Arc<ProcessControl>) -> Self {
        Self { world, control }
    }
}

impl Clock for NodeClock {
    fn wall(&self) -> SystemTime {
        let skew = self.control.skew_seconds.load(Ordering::Relaxed);
        let off = Duration::from_secs(skew.unsigned_abs());
        if skew < 0 { self.world.wall() - off } else { self.world.wall() + off }
    }
}

#[derive(Debug)]
struct Network {
    random: SeededRandom,
    paused_until: Option<Instant>,
    answers_lost_until: Option<Instant>,
    slow_until: Option<Instant>,
    doubled_until: Option<Instant>,
}

/// Faults of one process, from its start to its crash.
#[derive(Debug)]
pub struct ProcessControl {
    network: Mutex<Network>,
    skew_seconds: AtomicI64,
    dead: AtomicBool,
    changed: Notify,
    /// Wakes the task that polls the process.
    waker: Mutex<Option<Waker>>,
}

/// The answer to a call got lost; its effect, if it had one, stays.
#[derive(Clone, Copy, Debug)]
pub struct AnswerLost;

fn in_force(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}

impl ProcessControl {
    /// A healthy process.
    #[must_use]
    pub fn new(seed: u64, skew_seconds: i64) -> Arc<Self> {
        let network = Network {
            random: SeededRandom::new(seed),
            paused_until: None,
            answers_lost_until: None,
            slow_until: None,
            doubled_until: None,
        };
        Arc::new(Self {
            network: Mutex::new(network),
            skew_seconds: AtomicI64::new(skew_seconds),
            dead: AtomicBool::new(false),
            changed: Notify::new(),
            waker: Mutex::new(None),
        })
    }

    /// Holds the process still.
    pub fn pause(&self, long: Duration) {
        self.network.lock().paused_until = Some(Instant::now() + long);
        self.changed.notify_waiters();
    }

    /// Loses answers for so long.
    pub fn lose_answers(&self, long: Duration) {
        self.network.lock().answers_lost_until = Some(Instant::now() + long);
    }

    /// Delays each way by up to five seconds for so long.
    pub fn slow_down(&self, long: Duration) {
        self.network.lock().slow_until = Some(Instant::now() + long);
    }

    /// Delivers every message of a subscription twice for so long.
    pub fn double_messages(&self, long: Duration) {
        self.network.lock().doubled_until = Some(Instant::now() + long);
    }

    /// Whether messages arrive twice.
    #[must_use]
    pub fn doubles(&self) -> bool {
        in_force(self.network.lock().doubled_until)
    }

    /// Puts the clock of the process off.
    pub fn skew(&self, seconds: i64) {
        self.skew_seconds.store(seconds, Ordering::Relaxed);
    }

    /// Ends every fault but death.
    pub fn heal(&self) {
        let mut network = self.network.lock();
        network.paused_until = None;
        network.answers_lost_until = None;
        network.slow_until = None;
        network.doubled_until = None;
        drop(network);
        self.skew(0);
        self.changed.notify_waiters();
    }

    /// Ends the process: nothing that it still waits for ever arrives.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::Release);
        self.changed.notify_waiters();
        if let Some(waker) = self.waker.lock().take() {
            waker.wake();
        }
    }

    /// Remembers the task that polls the process, to be woken by its end.
    pub fn polled_by(&self, waker: &Waker) {
        *self.waker.lock() = Some(waker.clone());
    }

    /// Whether the process has ended.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Waits until the process is neither paused nor dead; for ever if it is dead.
    pub async fn is_running(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.is_dead() {
                return std::future::pending().await;
            }
            let until = self.network.lock().paused_until.filter(|until| Instant::now() < *until);
            let Some(until) = until else { return };
            tokio::select! {
                biased;
                () = &mut changed => {}
                () = sleep_until(until) => {}
            }
        }
    }

    fn latency(&self) -> Duration {
        let mut network = self.network.lock();
        let most = if in_force(network.slow_until) { 5_000_000 } else { LATENCY_MICROS };
        Duration::from_micros(100 + network.random.below(most))
    }

    /// The way of a call to a server.
    pub async fn way_out(&self) {
        sleep(self.latency()).await;
        self.is_running().await;
    }

    /// The way of a message to this process; `false` if it gets lost.
    pub async fn arrives(&self) -> bool {
        let lost = in_force(self.network.lock().answers_lost_until);
        sleep(self.latency()).await;
        self.is_running().await;
        !lost
    }

    /// The way of an answer back.
    ///
    /// # Errors
    ///
    /// [`AnswerLost`], after the time that a caller waits at most.
    pub async fn way_back(&self) -> Result<(), AnswerLost> {
        let lost = in_force(self.network.lock().answers_lost_until);
        sleep(if lost { Duration::from_secs(5) } else { self.latency() }).await;
        self.is_running().await;
        if lost { Err(AnswerLost) } else { Ok(()) }
    }
}
