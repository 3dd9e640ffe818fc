//! Durable consumers with an order: a cursor that one puller at a time moves forward.
//!
//! JetStream's own consumers deliver again out of order after a failure, and what a dead puller held comes back only
//! after `ack_wait`. So a consumer with [`crate::transport::Order::Strict`] is a value in a bucket instead: how far it has come and who
//! moves it. Whoever holds it reads the stream with an ordered reader, hands messages out from memory by the rules of
//! [`crate::queue::Queue`], and writes the cursor by compare-and-set, every [`RENEW`] and when everything at hand is settled. Settling
//! costs no message, so thousands are settled at once for one small write.
//!
//! - A holder that was not heard of for [`TAKE_OVER`], by the clock of whoever waits, is replaced; nobody's clocks are
//!   compared. One that leaves says so and is replaced at once.
//! - A holder that could not write for 0.8 of that time hands out nothing more until it can. One that was replaced learns
//!   it from its next write, which fails; what it still works on then is delivered again by its successor, which is what
//!   at least once means.
//! - The cursor is behind by what was settled since it was last written; that is delivered again after a crash, too.

mod hand;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tracing::{debug, info, warn};

use self::hand::{READ_MAX, Shared};
use super::Inner;
use super::cursor::{Cursor, Cursors, key};
use super::reader::Reading;
use super::stream::log_of;
use crate::BusError;
use crate::connection::pause;
use crate::transport::{ConsumerSpec, RawDelivery, RawPuller, RawReader, ReadFrom, StreamMessage};

/// How often a holder writes its cursor.
const RENEW: Duration = Duration::from_secs(1);
/// A holder that is not heard of for this long is replaced.
const TAKE_OVER: Duration = Duration::from_secs(4);
/// How often a waiting puller looks whether it may take over.
const LOOK: Duration = Duration::from_millis(250);
/// Shortest time between two writes because everything is settled.
const FLUSH: Duration = Duration::from_millis(50);

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

    /// Keeps the cursor until it is lost or the puller leaves. Reading goes on while the cursor is being written.
    async fn hold(&mut self, cursor: Cursor, revision: u64) {
        let mut held = Held { cursor, revision, written_at: Instant::now(), writing: None };
        let mut reading: Option<Reading> = None;
        let mut renew = interval(RENEW);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        renew.tick().await;
        // When to write because everything is settled.
        let mut flush_at: Option<Instant> = None;
        loop {
            let shared = Arc::clone(&self.shared);
            let mut settled = std::pin::pin!(shared.settled.notified());
            settled.as_mut().enable();
            let is_writing = held.writing.is_some();
            let step = tokio::select! {
                biased;
                () = Self::leaving(&shared, &mut self.closed) => Step::Leave,
                written = held.written(), if is_writing => Step::Written(written),
                _ = renew.tick(), if !is_writing => Step::Write,
                () = at(flush_at), if !is_writing && flush_at.is_some() => Step::Write,
                () = &mut settled, if flush_at.is_none() => Step::Settled,
                read = read_ahead(&self.inner, &shared, &mut reading) => Step::Read(read),
            };
            match step {
                Step::Read(Ok(messages)) => shared.take(messages),
                Step::Read(Err(BusError::NoStream { .. })) => return,
                Step::Read(Err(reason)) => {
                    debug!(%reason, consumer = self.key, "cannot read");
                    self.rest(LOOK).await;
                }
                Step::Settled => flush_at = Some(held.written_at + FLUSH),
                Step::Write => {
                    flush_at = None;
                    self.write(&mut held, Some(self.holder.clone()));
                }
                Step::Written(written) => {
                    if !self.take_note(&mut held, written).await {
                        return;
                    }
                }
                Step::Leave => {
                    if held.writing.is_some() {
                        let written = held.written().await;
                        self.take_note(&mut held, written).await;
                    }
                    self.write(&mut held, None);
                    let (_, outcome) = held.written().await;
                    if let Err(reason) = outcome {
                        debug!(%reason, consumer = self.key, "the cursor could not be given back");
                    }
                    return;
                }
            }
        }
    }

    /// Begins to write how far the consumer has come.
    fn write(&self, held: &mut Held, holder: Option<String>) {
        held.cursor.done = self.shared.hand.lock().done();
        held.cursor.holder = holder;
        let (cursors, key) = (self.cursors.clone(), self.key.clone());
        let (cursor, revision) = (held.cursor.clone(), held.revision);
        held.writing = Some(Box::pin(async move {
            let asked_at = Instant::now();
            (asked_at, cursors.put(&key, &cursor, revision).await)
        }));
    }

    /// What came of a write; `false` if another process moves the cursor now.
    async fn take_note(&mut self, held: &mut Held, (asked_at, outcome): Written) -> bool {
        match outcome {
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
            Err(reason) => debug!(%reason, consumer = self.key, "the cursor cannot be written"),
        }
        true
    }
}

/// When a write was begun, and what came of it.
type Written = (Instant, Result<u64, BusError>);

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// The cursor as its holder knows it.
struct Held {
    cursor: Cursor,
    revision: u64,
    written_at: Instant,
    writing: Option<BoxFuture<'static, Written>>,
}

impl Held {
    /// Waits for the write that was begun, if there is one.
    async fn written(&mut self) -> Written {
        match &mut self.writing {
            Some(writing) => {
                let written = writing.await;
                self.writing = None;
                written
            }
            None => std::future::pending().await,
        }
    }
}

/// What a holder does next.
enum Step {
    Leave,
    Write,
    Written(Written),
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
