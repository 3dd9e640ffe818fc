//! The loop of an ingester: pull, commit, announce, settle. Why in this order stands in the module above.
//!
//! While a large group is committed, the one before it is announced and settled and the next is read. A small one is
//! settled first: by then there is more to share the next transaction, which costs the same for one row and for a hundred.

mod settle;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join;
use smol_str::SmolStr;
use tokio::sync::Notify;
use tracing::{Instrument as _, error, warn};
use ulex_domain::Change;
use ulex_nats::BusError;
use ulex_nats::topology::{EVENTS, INGEST};
use ulex_nats::transport::{RawDelivery, RawPuller};
use ulex_storage::StorageError;
use ulex_storage::data::Outcome;

use super::batch::{Ahead, Entry};
use super::measures::Measures;
use super::server_clock::ServerClock;
use super::{Counts, IngestParts, spans};

/// How long one pull waits before it looks around.
const PULL_WAIT: Duration = Duration::from_secs(1);
/// A pull that took at least this long waited for the message that it returned.
const FRESH_AFTER: Duration = Duration::from_millis(50);
/// Pause after a failure of the bus; the first pause after one of the store.
const PAUSE: Duration = Duration::from_millis(200);
/// Most messages at hand, if they are small.
const MOST_MESSAGES: usize = 4_096;
/// Fewest that are pulled, however large they are.
const FEWEST_MESSAGES: usize = 16;
/// What is meant to be at hand, going by the pull before.
const AHEAD_BYTES: usize = 32 << 20;
/// Rows that are worth a transaction of their own although more would come if one waited.
const WORTH_OVERLAPPING: usize = 500;

/// Whether what comes behind may be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Everything is settled.
    GoOn,
    /// Something went back to the log, and so must all that comes behind it.
    Stop,
}

/// A group whose transaction has ended one way or the other.
struct Stored {
    group: Vec<Entry>,
    result: Result<Vec<Outcome>, StorageError>,
    begun: Instant,
}

/// What an ingester holds between two steps.
#[derive(Default)]
pub(super) struct Hand {
    /// Committed, and nobody has been told.
    behind: Option<Stored>,
    /// Read, and no transaction has begun with it.
    pub(super) ahead: Ahead,
    /// When it was last said that it is worked on.
    in_progress: Option<Instant>,
}

pub(super) struct Worker {
    parts: IngestParts,
    counts: Rc<RefCell<Counts>>,
    stop: Rc<Notify>,
    stopping: Rc<Cell<bool>>,
    /// Which log this is.
    log: RefCell<SmolStr>,
    /// The highest position in the log that was pulled.
    seen: Cell<u64>,
    /// Bytes of a message, going by the last pull.
    typical: Cell<usize>,
    /// Changes that the cache could not be told of yet.
    untold: RefCell<Vec<Change>>,
    measures: Measures,
    server_clock: RefCell<ServerClock>,
}

impl Worker {
    pub(super) fn new(
        parts: IngestParts,
        counts: Rc<RefCell<Counts>>,
        (stop, stopping): (Rc<Notify>, Rc<Cell<bool>>),
    ) -> Self {
        Self {
            parts,
            counts,
            stop,
            stopping,
            log: RefCell::default(),
            seen: Cell::new(0),
            typical: Cell::new(AHEAD_BYTES / 256),
            untold: RefCell::default(),
            measures: Measures::new(),
            server_clock: RefCell::new(ServerClock::new()),
        }
    }

    /// Works until it is told to stop or the bus is closed.
    pub(super) async fn run(self) {
        let Some(mut puller) = self.open().await else { return };
        let mut hand = Hand::default();
        while !self.stopping.get() {
            match self.step(puller.as_mut(), &mut hand).await {
                Ok(()) => {}
                Err(BusError::Closed) => break,
                Err(reason) => self.pause("cannot pull events", &reason).await,
            }
        }
        self.settle_behind(&mut hand).await;
    }

    async fn open(&self) -> Option<Box<dyn RawPuller>> {
        while !self.stopping.get() {
            let opened = match self.parts.bus.raw_puller(&INGEST, None).await {
                Ok(puller) => self.learn_log().await.map(|()| puller),
                Err(reason) => Err(reason),
            };
            match opened {
                Ok(puller) => return Some(puller),
                Err(BusError::Closed) => return None,
                Err(reason) => self.pause("cannot open the log", &reason).await,
            }
        }
        None
    }

    pub(super) async fn learn_log(&self) -> Result<(), BusError> {
        let state = self.parts.bus.stream_state(&EVENTS.name).await?;
        *self.log.borrow_mut() = state.log;
        Ok(())
    }

    /// Begins with the next group of what is at hand or, with nothing at hand, waits for some.
    async fn step(&self, puller: &mut dyn RawPuller, hand: &mut Hand) -> Result<(), BusError> {
        if hand.ahead.rows() < WORTH_OVERLAPPING {
            self.settle_behind(hand).await;
            let wait = if hand.ahead.is_empty() { PULL_WAIT } else { Duration::ZERO };
            self.pull(puller, &mut hand.ahead, wait).await?;
        }
        if hand.ahead.is_empty() {
            self.tell_cache(Vec::new()).await;
            return Ok(());
        }
        self.say_in_progress(hand).await;
        let group = hand.ahead.next_group(self.parts.batch_rows);
        let flow = self.commit(group, puller, hand).await;
        if flow == Flow::Stop {
            self.return_all(&hand.ahead.take()).await;
        }
        Ok(())
    }

    /// Commits a group, which is behind then, while the one behind is settled.
    pub(super) async fn commit(
        &self,
        group: Vec<Entry>,
        puller: &mut dyn RawPuller,
        hand: &mut Hand,
    ) -> Flow {
        let is_large = group.iter().map(Entry::rows).sum::<usize>() >= WORTH_OVERLAPPING;
        let span = spans::lead(&group);
        let both = join(self.store_group(group).instrument(span), self.settle_stored(hand.behind.take()));
        let (stored, before) =
            if is_large { self.read_while(both, puller, &mut hand.ahead).await } else { both.await };
        let Some(stored) = stored else { return Flow::Stop };
        if before == Flow::Stop {
            // It comes again behind the other, and is found in the store then.
            self.return_all(&stored.group).await;
            return Flow::Stop;
        }
        if stored.result.is_err() {
            return self.settle_stored(Some(stored)).await;
        }
        hand.behind = Some(stored);
        Flow::GoOn
    }

    /// Settles what is behind. After a failure what is ahead goes back to the log, too.
    pub(super) async fn settle_behind(&self, hand: &mut Hand) {
        if self.settle_stored(hand.behind.take()).await == Flow::Stop {
            self.return_all(&hand.ahead.take()).await;
        }
    }

    /// Does the work, and reads ahead for as long as it takes. What goes wrong with reading is met again by the next pull.
    async fn read_while<T>(
        &self,
        work: impl Future<Output = T>,
        puller: &mut dyn RawPuller,
        ahead: &mut Ahead,
    ) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            let room = self.room(ahead);
            if room == 0 {
                return work.await;
            }
            let pulled = tokio::select! {
                biased;
                done = &mut work => return done,
                pulled = puller.pull(room, PULL_WAIT) => pulled,
            };
            let read = match pulled {
                Ok(batch) => self.read(batch, ahead).await,
                Err(reason) => Err(reason),
            };
            if read.is_err() {
                return work.await;
            }
        }
    }

    /// Waits for events, at most so long or until asked to stop.
    async fn pull(
        &self,
        puller: &mut dyn RawPuller,
        ahead: &mut Ahead,
        wait: Duration,
    ) -> Result<(), BusError> {
        let most = self.room(ahead).max(FEWEST_MESSAGES);
        let begun = Instant::now();
        let batch = tokio::select! {
            biased;
            () = self.stop.notified() => Vec::new(),
            pulled = puller.pull(most, wait) => pulled?,
        };
        if begun.elapsed() >= FRESH_AFTER {
            self.note_clock(&batch);
        }
        self.read(batch, ahead).await
    }

    /// How many messages like the last ones may be at hand besides these.
    fn room(&self, ahead: &Ahead) -> usize {
        let messages = MOST_MESSAGES.saturating_sub(ahead.messages());
        messages.min(AHEAD_BYTES.saturating_sub(ahead.bytes()) / self.typical.get())
    }

    /// Decodes what was pulled.
    pub(super) async fn read(
        &self,
        batch: Vec<Box<dyn RawDelivery>>,
        ahead: &mut Ahead,
    ) -> Result<(), BusError> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(()) };
        let bytes: usize = batch.iter().map(|delivery| delivery.message().payload.len() + 1).sum();
        self.typical.set((bytes / batch.len()).max(1));
        // What was pulled before may have come back, or another log has begun in the place of the old one.
        if first.sequence() <= self.seen.get()
            && let Err(reason) = self.learn_log().await
        {
            self.give_back(batch.iter().map(AsRef::as_ref), PAUSE).await;
            return Err(reason);
        }
        self.seen.set(last.sequence());
        let log = self.log.borrow().clone();
        let now = self.parts.bus.clock().wall();
        for delivery in batch {
            self.server_clock.borrow_mut().observe(delivery.appended_at(), now, false);
            ahead.push(Entry::read(delivery, log.clone(), self.parts.admission));
        }
        Ok(())
    }

    /// Takes note of a message that was waited for.
    fn note_clock(&self, batch: &[Box<dyn RawDelivery>]) {
        let Some(last) = batch.last() else { return };
        let now = self.parts.bus.clock().wall();
        let mut clock = self.server_clock.borrow_mut();
        clock.observe(last.appended_at(), now, true);
        if let Some(difference) = clock.difference() {
            self.measures.clock_difference.set(difference);
        }
        if let Some(seconds) = clock.take_alarm() {
            error!(seconds, "clock: this process and the NATS server disagree; set their clocks");
        }
    }

    fn failed(&self) {
        self.counts.borrow_mut().failures += 1;
        self.measures.failures.increment(1);
    }

    async fn pause(&self, what: &str, reason: &BusError) {
        self.failed();
        warn!(%reason, "{what}");
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = self.stop.notified() => {}
        }
    }

    /// Deliveries that are not settled in time are made again: says of those at hand that they will be.
    async fn say_in_progress(&self, hand: &mut Hand) {
        let said = hand.in_progress.get_or_insert_with(Instant::now);
        if said.elapsed() > INGEST.ack_wait / 4 {
            *said = Instant::now();
            for entry in hand.ahead.iter() {
                let _ = entry.delivery.in_progress().await;
            }
        }
    }

    /// One transaction; `None` if the store could not be asked and everything went back to the log.
    async fn store_group(&self, group: Vec<Entry>) -> Option<Stored> {
        let begun = Instant::now();
        let group = self.without_late(group).await?;
        let result = self.store(&group).await;
        Some(Stored { group, result, begun })
    }

    async fn settle_stored(&self, stored: Option<Stored>) -> Flow {
        let Some(Stored { group, result, begun }) = stored else { return Flow::GoOn };
        let (messages, span) = (group.len(), spans::lead(&group));
        let flow = async {
            match result {
                Err(reason) if !reason.is_transient() && group.len() > 1 => {
                    self.store_one_by_one(group).await
                }
                result => self.settle(&group, result).await,
            }
        };
        let flow = flow.instrument(span).await;
        self.measures.batch.record(messages as f64);
        self.measures.batch_seconds.record(begun.elapsed().as_secs_f64());
        flow
    }

    /// The store has refused these as a whole. Each is tried alone, so that a bad one harms no other.
    async fn store_one_by_one(&self, group: Vec<Entry>) -> Flow {
        let mut rest = VecDeque::from(group);
        while let Some(entry) = rest.pop_front() {
            let alone = [entry];
            let result = self.store(&alone).await;
            if self.settle(&alone, result).await == Flow::Stop {
                self.return_all(rest.make_contiguous()).await;
                return Flow::Stop;
            }
        }
        Flow::GoOn
    }

    async fn store(&self, group: &[Entry]) -> Result<Vec<Outcome>, StorageError> {
        let submissions: Vec<_> = group.iter().flat_map(Entry::submissions).collect();
        if submissions.is_empty() {
            return Ok(Vec::new());
        }
        let shared = spans::shared(group);
        let applied = self.parts.recommender.data().apply(submissions).await;
        drop(shared);
        match applied {
            Err(reason) if reason.is_transient() && self.was_applied(group).await => {
                // The word of the commit was lost, not the commit.
                let count = group.iter().map(|entry| entry.events().len()).sum();
                Ok(vec![Outcome { duplicate: true, ..Outcome::default() }; count])
            }
            result => result,
        }
    }

    /// Whether the store says that it holds all of these already.
    async fn was_applied(&self, group: &[Entry]) -> bool {
        let Some(last) = group.iter().max_by_key(|entry| entry.last_position()) else { return false };
        let (log, last) = (&last.log, last.last_position());
        let until = self.parts.recommender.data().applied_until(log).await;
        until.is_ok_and(|until| until.is_some_and(|until| until >= last))
    }

    /// Takes out what nobody waits for any more, unless it was applied before; `None` if all went back to the log.
    async fn without_late(&self, group: Vec<Entry>) -> Option<Vec<Entry>> {
        let now = self.parts.bus.clock().wall();
        let is_late = |entry: &Entry| entry.is_expired(&self.server_clock.borrow(), now);
        let Some(first) = group.iter().find(|entry| is_late(entry)) else { return Some(group) };
        let until = match self.parts.recommender.data().applied_until(&first.log).await {
            Ok(until) => until.unwrap_or(0),
            Err(reason) => {
                error!(%reason, "the data store cannot be read");
                self.failed();
                self.return_all(&group).await;
                return None;
            }
        };
        let mut kept = VecDeque::from(group);
        for _ in 0..kept.len() {
            let Some(entry) = kept.pop_front() else { break };
            let late = is_late(&entry) && entry.last_position() > until;
            if !late || !self.refuse(&entry, "it was not applied in time").await {
                kept.push_back(entry);
            }
        }
        Some(kept.into())
    }
}
