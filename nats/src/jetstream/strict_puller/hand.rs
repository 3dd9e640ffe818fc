//! What a puller holds in memory: messages that were read ahead, and who has them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::BusError;
use crate::queue::{Kept, Limits, Queue, size_of};
use crate::transport::{ConsumerSpec, Message, RawDelivery, StreamMessage};

/// Most bytes read ahead of what is settled.
const AHEAD: u64 = 64 << 20;
/// Most messages read at a time.
pub(super) const READ_MAX: usize = 1_000;

/// What a puller has at hand.
pub(super) struct Hand {
    queue: Queue,
    /// Read and not settled.
    unsettled: BTreeMap<u64, Arc<Kept>>,
    bytes: u64,
    /// Position of the last message read, or where reading began.
    pub read: u64,
    /// Until when this puller is the holder for certain; `None` if it is not.
    holding: Option<Instant>,
    /// Counts up when the cursor is taken; words about what an earlier one gave out are without effect.
    tenure: u64,
    pulls: u64,
}

impl Hand {
    pub(super) fn done(&self) -> u64 {
        self.unsettled.first_key_value().map_or(self.read, |(first, _)| first - 1)
    }
}

/// Shared by a puller, its deliveries and the task that keeps its cursor.
pub(super) struct Shared {
    pub spec: ConsumerSpec,
    pub hand: Mutex<Hand>,
    /// Something may be pulled.
    pub pullable: Notify,
    /// Everything is settled, or there is room again.
    pub settled: Notify,
    pub leaving: AtomicBool,
    pub leave: Notify,
}

impl Shared {
    pub(super) fn new(spec: &ConsumerSpec) -> Self {
        let hand = Hand {
            queue: Queue::new(Limits::from(spec)),
            unsettled: BTreeMap::new(),
            bytes: 0,
            read: 0,
            holding: None,
            tenure: 0,
            pulls: 0,
        };
        Self {
            spec: spec.clone(),
            hand: Mutex::new(hand),
            pullable: Notify::new(),
            settled: Notify::new(),
            leaving: AtomicBool::new(false),
            leave: Notify::new(),
        }
    }

    pub(super) fn begin(&self, done: u64, until: Instant) {
        let mut hand = self.hand.lock();
        hand.queue = Queue::new(Limits::from(&self.spec));
        hand.unsettled.clear();
        hand.bytes = 0;
        hand.read = done;
        hand.holding = Some(until);
        hand.tenure += 1;
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
        let mut hand = self.hand.lock();
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
        hand.unsettled.len() < self.spec.max_ack_pending.max(READ_MAX) && hand.bytes < AHEAD
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
        let Hand { queue, unsettled, .. } = &mut *hand;
        let taken = queue.take(pull, max, now, |sequence| unsettled.contains_key(&sequence));
        let mut deliveries: Vec<Box<dyn RawDelivery>> = Vec::with_capacity(taken.len());
        for one in taken {
            if let Some(kept) = unsettled.get(&one.sequence) {
                let (shared, kept) = (Arc::clone(self), Arc::clone(kept));
                deliveries.push(Box::new(StrictDelivery { shared, kept, attempt: one.attempt, tenure }));
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
    attempt: u64,
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

    fn attempt(&self) -> u64 {
        self.attempt
    }

    fn appended_at(&self) -> SystemTime {
        self.kept.appended_at
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
