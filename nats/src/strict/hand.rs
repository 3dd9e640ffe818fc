//! What a puller holds in memory: messages that were read ahead, and who has them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use ulex_domain::LogEpoch;

use crate::BusError;
use crate::handshake::Fingerprint;
use crate::queue::{Kept, Limits, Queue, size_of};
use crate::transport::{ConsumerSpec, Message, RawDelivery, StreamMessage};

/// Most bytes read ahead of what is settled.
const READ_AHEAD_BYTES: u64 = 64 << 20;
/// Most messages read at a time.
pub(super) const READ_MAX: usize = 1_000;

/// What a puller has at hand.
struct Hand {
    queue: Queue,
    /// Read and not settled.
    unsettled: BTreeMap<u64, Arc<Kept>>,
    log: Arc<LogEpoch>,
    bytes: u64,
    /// Position of the last message read, or where reading began.
    read: u64,
    /// Until when this puller is the holder for certain; `None` if it is not.
    holding: Option<Instant>,
    /// Fingerprint of the message at `read`, if it is known.
    last_read: Option<Fingerprint>,
    /// Messages appended until then may have been applied before the log was cut.
    ambiguous_until: Option<SystemTime>,
    /// Position of the first message of the tenure, and how many holders ended while they had it.
    head: Option<(u64, u64)>,
    /// An earlier tenure may have handed out the messages up to this position.
    seen_until: u64,
    /// Settled, and a successor begins with it again.
    restart: Option<u64>,
    /// Counts up when the cursor is taken; words about what an earlier one gave out are without effect.
    tenure: u64,
    pulls: u64,
}

impl Hand {
    fn done(&self) -> u64 {
        self.unsettled.first_key_value().map_or(self.read, |(first, _)| first - 1)
    }
}

/// Where a tenure begins.
pub(super) struct Start {
    pub log: LogEpoch,
    /// Everything up to here is settled.
    pub done: u64,
    /// Until when the cursor is held for certain.
    pub until: Instant,
    /// Fingerprint of the message at `done`, if it is known.
    pub last_read: Option<Fingerprint>,
    pub ambiguous_until: Option<SystemTime>,
    /// An earlier tenure may have handed out the messages up to this position.
    pub seen_until: u64,
}

/// How far a holder has come.
pub(super) struct Progress {
    /// Everything up to here is settled.
    pub done: u64,
    /// The first message that is not, if some are handed out.
    pub in_flight: Option<u64>,
    /// The message with which a successor begins again.
    pub restart: Option<u64>,
}

/// Shared by a puller, its deliveries and the task that keeps its cursor.
pub(super) struct Shared {
    pub spec: ConsumerSpec,
    hand: Mutex<Hand>,
    /// Something may be pulled.
    pub pullable: Notify,
    /// Everything is settled, or there is room again.
    pub settled: Notify,
    /// What is handed out does not follow from what was, by this puller or another one.
    pub has_begun_anew: AtomicBool,
    pub leaving: AtomicBool,
    pub leave: Notify,
}

impl Shared {
    pub(super) fn new(spec: &ConsumerSpec) -> Self {
        let hand = Hand {
            queue: Queue::new(Limits::from(spec)),
            unsettled: BTreeMap::new(),
            log: Arc::default(),
            bytes: 0,
            read: 0,
            holding: None,
            last_read: None,
            ambiguous_until: None,
            head: None,
            seen_until: 0,
            restart: None,
            tenure: 0,
            pulls: 0,
        };
        Self {
            spec: spec.clone(),
            hand: Mutex::new(hand),
            pullable: Notify::new(),
            settled: Notify::new(),
            has_begun_anew: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            leave: Notify::new(),
        }
    }

    pub(super) fn begin(&self, start: Start) {
        let mut hand = self.hand.lock();
        hand.queue = Queue::new(Limits::from(&self.spec));
        hand.unsettled.clear();
        hand.log = Arc::new(start.log);
        hand.bytes = 0;
        hand.read = start.done;
        hand.last_read = start.last_read;
        hand.ambiguous_until = start.ambiguous_until;
        hand.head = None;
        hand.seen_until = start.seen_until;
        hand.restart = None;
        hand.holding = Some(start.until);
        hand.tenure += 1;
    }

    /// The first message of the tenure is this one, and so many holders ended while they had it.
    pub(super) fn expect_head(&self, sequence: u64, lost_holders: u64) {
        self.hand.lock().head = Some((sequence, lost_holders));
    }

    /// Position of the last message read or settled, if one is known.
    pub(super) fn read_until(&self) -> Option<u64> {
        Some(self.hand.lock().read).filter(|read| *read > 0)
    }

    /// Position of the last message read, and its fingerprint if it is known.
    pub(super) fn last_read(&self) -> (u64, Option<Fingerprint>) {
        let hand = self.hand.lock();
        (hand.read, hand.last_read)
    }

    pub(super) fn progress(&self) -> Progress {
        let hand = self.hand.lock();
        let first = hand.unsettled.first_key_value().map(|(first, _)| *first);
        let in_flight = first.filter(|_| hand.queue.in_flight() > 0);
        Progress { done: hand.done(), in_flight, restart: hand.restart }
    }

    pub(super) fn end(&self) {
        let mut hand = self.hand.lock();
        hand.holding = None;
        hand.tenure += 1;
    }

    pub(super) fn extend(&self, until: Instant) {
        self.hand.lock().holding = Some(until);
        self.pullable.notify_waiters();
    }

    pub(super) fn take(&self, messages: Vec<StreamMessage>) {
        let last_read = messages.last().map(Fingerprint::of);
        let mut hand = self.hand.lock();
        hand.last_read = last_read.or(hand.last_read);
        for StreamMessage { sequence, appended_at, message } in messages {
            let kept =
                Kept { sequence, appended_at, at: Instant::now(), key: 0, size: size_of(&message), message };
            hand.read = sequence;
            hand.bytes += kept.size;
            hand.queue.push(sequence, 0);
            hand.unsettled.insert(sequence, Arc::new(kept));
        }
        drop(hand);
        self.pullable.notify_waiters();
    }

    pub(super) fn has_room(&self) -> bool {
        let hand = self.hand.lock();
        hand.unsettled.len() < self.spec.max_ack_pending.max(READ_MAX) && hand.bytes < READ_AHEAD_BYTES
    }

    /// What may be pulled now, and when to look again.
    pub(super) fn look(
        self: &Arc<Self>,
        max: usize,
        now: Instant,
    ) -> (Vec<Box<dyn RawDelivery>>, Option<Instant>) {
        let mut hand = self.hand.lock();
        let Some(until) = hand.holding.filter(|until| now < *until) else { return (Vec::new(), None) };
        hand.pulls += 1;
        let (pull, tenure) = (hand.pulls, hand.tenure);
        let (log, head, ambiguous_until) = (Arc::clone(&hand.log), hand.head, hand.ambiguous_until);
        let seen_until = hand.seen_until;
        let Hand { queue, unsettled, .. } = &mut *hand;
        let taken = queue.take(pull, max, now, |sequence| unsettled.contains_key(&sequence));
        let mut deliveries: Vec<Box<dyn RawDelivery>> = Vec::with_capacity(taken.len());
        for one in taken {
            if let Some(kept) = unsettled.get(&one.sequence) {
                let (shared, kept) = (Arc::clone(self), Arc::clone(kept));
                let lost_holders = head.filter(|(head, _)| *head == one.sequence).map_or(0, |(_, lost)| lost);
                deliveries.push(Box::new(StrictDelivery {
                    is_ambiguous: ambiguous_until.is_some_and(|until| kept.appended_at <= until),
                    shared,
                    kept,
                    log: Arc::clone(&log),
                    attempt: one.attempt,
                    attempts_before: lost_holders.max(u64::from(one.sequence <= seen_until)),
                    lost_holders,
                    tenure,
                }));
            }
        }
        let next = queue.next_event().map_or(until, |next| next.min(until));
        (deliveries, Some(next))
    }
}

/// A delivery; settling it is a matter of this process's memory.
struct StrictDelivery {
    shared: Arc<Shared>,
    kept: Arc<Kept>,
    log: Arc<LogEpoch>,
    attempt: u64,
    /// Deliveries by earlier tenures, as far as they are known; 1 for one that there may have been.
    attempts_before: u64,
    lost_holders: u64,
    is_ambiguous: bool,
    tenure: u64,
}

impl StrictDelivery {
    fn settle(&self) {
        let mut hand = self.shared.hand.lock();
        if hand.tenure != self.tenure {
            return;
        }
        hand.queue.settle(self.kept.sequence, 0, Instant::now());
        if hand.unsettled.remove(&self.kept.sequence).is_some() {
            hand.bytes -= self.kept.size;
        }
        let (idle, wake) = (hand.unsettled.is_empty(), hand.queue.has_ready());
        let low = hand.unsettled.len() == self.shared.spec.max_ack_pending / 2;
        drop(hand);
        if idle || low {
            self.shared.settled.notify_one();
        }
        if wake {
            self.shared.pullable.notify_waiters();
        }
    }
}

#[async_trait]
impl RawDelivery for StrictDelivery {
    fn message(&self) -> &Message {
        &self.kept.message
    }

    fn sequence(&self) -> u64 {
        self.kept.sequence
    }

    fn log(&self) -> &LogEpoch {
        &self.log
    }

    fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }

    fn attempt(&self) -> u64 {
        self.attempt + self.attempts_before
    }

    fn lost_holders(&self) -> u64 {
        self.lost_holders
    }

    fn appended_at(&self) -> SystemTime {
        self.kept.appended_at
    }

    fn is_held(&self) -> bool {
        let hand = self.shared.hand.lock();
        hand.tenure == self.tenure && hand.holding.is_some_and(|until| Instant::now() < until)
    }

    fn set_restart(&self, is_restart: bool) {
        let mut hand = self.shared.hand.lock();
        if hand.tenure == self.tenure {
            hand.restart = is_restart.then_some(self.kept.sequence);
            drop(hand);
            self.shared.settled.notify_one();
        }
    }

    async fn ack(&self) -> Result<(), BusError> {
        self.settle();
        Ok(())
    }

    async fn nak(&self, delay: Duration) -> Result<(), BusError> {
        let mut hand = self.shared.hand.lock();
        if hand.tenure == self.tenure {
            hand.queue.nak(self.kept.sequence, self.attempt, delay, Instant::now());
        }
        drop(hand);
        self.shared.pullable.notify_waiters();
        Ok(())
    }

    async fn in_progress(&self) -> Result<(), BusError> {
        let mut hand = self.shared.hand.lock();
        if hand.tenure == self.tenure {
            hand.queue.extend(self.kept.sequence, self.attempt, Instant::now());
        }
        Ok(())
    }

    async fn term(&self) -> Result<(), BusError> {
        self.settle();
        Ok(())
    }
}
