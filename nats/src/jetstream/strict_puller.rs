//! Durable consumers with an order: a cursor that one puller at a time moves forward.
//!
//! JetStream's own consumers deliver again out of order after a failure, and what a dead puller held comes back only
//! after `ack_wait`. So a consumer with [`Order::Strict`] is a value in a bucket instead: how far it has come and who
//! moves it. Whoever holds it reads the stream with an ordered reader, hands messages out from memory by the rules of
//! [`Queue`], and writes the cursor by compare-and-set, every [`RENEW`] and when everything at hand is settled. Settling
//! costs no message, so thousands are settled at once for one small write.
//!
//! - A holder that was not heard of for [`TAKE_OVER`], by the clock of whoever waits, is replaced; nobody's clocks are
//!   compared. One that leaves says so and is replaced at once.
//! - A holder that could not write for 0.8 of that time hands out nothing more until it can. One that was replaced learns
//!   it from its next write, which fails; what it still works on then is delivered again by its successor, which is what
//!   at least once means.
//! - The cursor is behind by what was settled since it was last written; that is delivered again after a crash, too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::Inner;
use super::cursor::{Cursor, Cursors, key};
use super::reader::Reading;
use super::stream::log_of;
use crate::BusError;
use crate::connection::pause;
use crate::queue::{Kept, Limits, Queue, size_of};
use crate::transport::{ConsumerSpec, Message, RawDelivery, RawPuller, RawReader, ReadFrom, StreamMessage};

/// How often a holder writes its cursor.
const RENEW: Duration = Duration::from_secs(1);
/// A holder that is not heard of for this long is replaced.
const TAKE_OVER: Duration = Duration::from_secs(4);
/// How often a waiting puller looks whether it may take over.
const LOOK: Duration = Duration::from_millis(250);
/// Shortest time between two writes because everything is settled.
const FLUSH: Duration = Duration::from_millis(20);
/// Most bytes read ahead of what is settled.
const AHEAD: u64 = 64 << 20;
/// Most messages read at a time.
const READ_MAX: usize = 1_000;

/// What a puller has at hand.
struct Hand {
    queue: Queue,
    /// Read and not settled.
    unsettled: BTreeMap<u64, Arc<Kept>>,
    bytes: u64,
    /// Position of the last message read, or where reading began.
    read: u64,
    /// Until when this puller is the holder for certain; `None` if it is not.
    holding: Option<Instant>,
    /// Counts up when the cursor is taken; words about what an earlier one gave out are without effect.
    tenure: u64,
    pulls: u64,
}

impl Hand {
    fn done(&self) -> u64 {
        self.unsettled.first_key_value().map_or(self.read, |(first, _)| first - 1)
    }
}

/// Shared by a puller, its deliveries and the task that keeps its cursor.
struct Shared {
    spec: ConsumerSpec,
    hand: Mutex<Hand>,
    /// Something may be pulled.
    pullable: Notify,
    /// Everything is settled, or there is room again.
    settled: Notify,
    leaving: AtomicBool,
    leave: Notify,
}

impl Shared {
    fn new(spec: &ConsumerSpec) -> Self {
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

    fn begin(&self, done: u64, until: Instant) {
        let mut hand = self.hand.lock();
        hand.queue = Queue::new(Limits::from(&self.spec));
        hand.unsettled.clear();
        hand.bytes = 0;
        hand.read = done;
        hand.holding = Some(until);
        hand.tenure += 1;
    }

    fn end(&self) {
        let mut hand = self.hand.lock();
        hand.holding = None;
        hand.tenure += 1;
    }

    fn extend(&self, until: Instant) {
        self.hand.lock().holding = Some(until);
        self.pullable.notify_waiters();
    }

    fn take(&self, messages: Vec<StreamMessage>) {
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

    fn has_room(&self) -> bool {
        let hand = self.hand.lock();
        hand.unsettled.len() < self.spec.max_ack_pending.max(READ_MAX) && hand.bytes < AHEAD
    }

    /// What may be pulled now, and when to look again.
    fn look(self: &Arc<Self>, max: usize, now: Instant) -> (Vec<Box<dyn RawDelivery>>, Option<Instant>) {
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

/// See the module.
pub(super) struct StrictPuller {
    inner: Arc<Inner>,
    shared: Arc<Shared>,
}

impl StrictPuller {
    pub(super) async fn start(inner: &Arc<Inner>, spec: &ConsumerSpec) -> Result<Self, BusError> {
        let shared = Arc::new(Shared::new(spec));
        let keeper = Keeper {
            inner: Arc::clone(inner),
            cursors: Cursors::open(inner).await?,
            shared: Arc::clone(&shared),
            holder: format!("{}-{}", inner.node, uuid::Uuid::new_v4().simple()),
            key: key(spec),
            closed: inner.closed.subscribe(),
        };
        tokio::spawn(keeper.run());
        Ok(Self { inner: Arc::clone(inner), shared })
    }
}

impl Drop for StrictPuller {
    fn drop(&mut self) {
        self.shared.leaving.store(true, Ordering::Release);
        self.shared.leave.notify_one();
    }
}

#[async_trait]
impl RawPuller for StrictPuller {
    async fn pull(&mut self, max: usize, wait: Duration) -> Result<Vec<Box<dyn RawDelivery>>, BusError> {
        let deadline = Instant::now() + wait;
        loop {
            if *self.inner.closed.borrow() {
                return Err(BusError::Closed);
            }
            let mut pullable = std::pin::pin!(self.shared.pullable.notified());
            pullable.as_mut().enable();
            let now = Instant::now();
            let (deliveries, next) = self.shared.look(max, now);
            if !deliveries.is_empty() || max == 0 || now >= deadline {
                return Ok(deliveries);
            }
            let until = next.map_or(deadline, |next| next.min(deadline));
            tokio::select! {
                _ = timeout_at(until, pullable) => {}
                () = self.inner.ended() => {}
            }
        }
    }
}

/// Takes the cursor, keeps it, reads ahead. Ends when its puller is dropped or the bus is closed.
struct Keeper {
    inner: Arc<Inner>,
    cursors: Cursors,
    shared: Arc<Shared>,
    holder: String,
    key: String,
    closed: tokio::sync::watch::Receiver<bool>,
}

impl Keeper {
    async fn run(mut self) {
        let mut failures = 0;
        while !self.is_leaving() {
            match self.acquire().await {
                Ok(Some((cursor, revision))) => {
                    failures = 0;
                    debug!(consumer = self.key, "this process drains");
                    self.hold(cursor, revision).await;
                    self.shared.end();
                }
                Ok(None) => self.rest(LOOK).await,
                Err(reason) => {
                    debug!(%reason, consumer = self.key, "the cursor cannot be read");
                    self.rest(pause(failures)).await;
                    failures += 1;
                }
            }
        }
    }

    fn is_leaving(&self) -> bool {
        self.shared.leaving.load(Ordering::Acquire) || *self.closed.borrow()
    }

    /// Waits until there is a reason to leave.
    async fn leaving(shared: &Shared, closed: &mut tokio::sync::watch::Receiver<bool>) {
        let closed = async {
            let _ = closed.wait_for(|closed| *closed).await;
        };
        tokio::select! {
            () = shared.leave.notified() => {}
            () = closed => {}
        }
    }

    async fn rest(&mut self, long: Duration) {
        let _ = timeout(long, Self::leaving(&self.shared, &mut self.closed)).await;
    }

    /// Takes the cursor if it is free, or if its holder is silent for too long; `None` if it is held or the puller leaves.
    async fn acquire(&mut self) -> Result<Option<(Cursor, u64)>, BusError> {
        let mut seen: Option<(u64, Instant)> = None;
        while !self.is_leaving() {
            let found = self.cursors.get(&self.key).await?;
            let now = Instant::now();
            let (done, revision, is_free) = match &found {
                None => (None, 0, true),
                Some((cursor, revision)) => {
                    let since = seen.filter(|(known, _)| known == revision).map_or(now, |(_, since)| since);
                    seen = Some((*revision, since));
                    let silent = now.duration_since(since) >= TAKE_OVER;
                    if silent && cursor.holder.is_some() {
                        warn!(
                            consumer = self.key,
                            holder = cursor.holder,
                            "taking over from a silent process"
                        );
                    }
                    (Some(cursor), *revision, cursor.holder.is_none() || silent)
                }
            };
            if is_free {
                let log = log_of(&self.inner.stream(&self.shared.spec.stream).await?);
                let done = done.filter(|cursor| cursor.log == log).map_or(0, |cursor| cursor.done);
                let cursor = Cursor { log, done, holder: Some(self.holder.clone()) };
                let asked_at = Instant::now();
                match self.cursors.put(&self.key, &cursor, revision).await {
                    Ok(revision) => {
                        self.shared.begin(done, asked_at + TAKE_OVER.mul_f64(0.8));
                        return Ok(Some((cursor, revision)));
                    }
                    Err(BusError::Conflict { .. }) => {}
                    Err(reason) => return Err(reason),
                }
            }
            self.rest(LOOK).await;
        }
        Ok(None)
    }

    /// Keeps the cursor until it is lost or the puller leaves.
    async fn hold(&mut self, cursor: Cursor, revision: u64) {
        let mut held = Held { cursor, revision, written_at: Instant::now() };
        let mut reading: Option<Reading> = None;
        let mut renew = interval(RENEW);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        renew.tick().await;
        loop {
            let shared = Arc::clone(&self.shared);
            let mut settled = std::pin::pin!(shared.settled.notified());
            settled.as_mut().enable();
            let step = tokio::select! {
                biased;
                () = Self::leaving(&shared, &mut self.closed) => Step::Leave,
                _ = renew.tick() => Step::Write,
                () = &mut settled => Step::Settled,
                read = read_ahead(&self.inner, &shared, &mut reading) => Step::Read(read),
            };
            match step {
                Step::Read(Ok(messages)) => shared.take(messages),
                Step::Read(Err(BusError::NoStream { .. })) => return,
                Step::Read(Err(reason)) => {
                    debug!(%reason, consumer = self.key, "cannot read");
                    self.rest(LOOK).await;
                }
                Step::Settled => {
                    tokio::time::sleep_until(held.written_at + FLUSH).await;
                    if !self.write(&mut held, false).await {
                        return;
                    }
                }
                Step::Write | Step::Leave => {
                    let leaves = matches!(step, Step::Leave) || self.is_leaving();
                    if !self.write(&mut held, leaves).await || leaves {
                        return;
                    }
                }
            }
        }
    }

    /// Writes how far the consumer has come; `false` if another process moves the cursor now.
    async fn write(&mut self, held: &mut Held, leaves: bool) -> bool {
        held.cursor.done = self.shared.hand.lock().done();
        held.cursor.holder = (!leaves).then(|| self.holder.clone());
        let asked_at = Instant::now();
        match self.cursors.put(&self.key, &held.cursor, held.revision).await {
            Ok(revision) => {
                held.revision = revision;
                held.written_at = asked_at;
                self.shared.extend(asked_at + TAKE_OVER.mul_f64(0.8));
            }
            // An answer that was lost leaves a later revision, of this very holder.
            Err(BusError::Conflict { .. }) => match self.cursors.get(&self.key).await {
                Ok(Some((found, revision))) if found.holder.as_ref() == Some(&self.holder) => {
                    held.revision = revision;
                }
                Ok(_) => {
                    info!(consumer = self.key, "another process drains now");
                    return false;
                }
                Err(reason) => debug!(%reason, consumer = self.key, "the cursor cannot be read"),
            },
            Err(reason) => {
                debug!(%reason, consumer = self.key, "the cursor cannot be written");
                if !leaves {
                    self.rest(LOOK).await;
                }
            }
        }
        true
    }
}

/// The cursor as its holder knows it.
struct Held {
    cursor: Cursor,
    revision: u64,
    written_at: Instant,
}

/// What a holder does next.
enum Step {
    Leave,
    Write,
    Settled,
    Read(Result<Vec<StreamMessage>, BusError>),
}

/// Waits for messages behind those at hand, if there is room for them.
async fn read_ahead(
    inner: &Arc<Inner>,
    shared: &Shared,
    reading: &mut Option<Reading>,
) -> Result<Vec<StreamMessage>, BusError> {
    if !shared.has_room() {
        return std::future::pending().await;
    }
    let reader = match reading {
        Some(reader) => reader,
        None => {
            let from = ReadFrom::Sequence(shared.hand.lock().read + 1);
            reading.insert(Reading::open(inner, &shared.spec.stream, &shared.spec.filter, from).await?)
        }
    };
    reader.read(READ_MAX, RENEW).await
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
