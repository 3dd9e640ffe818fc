//! A stream in memory, with its durable consumers.
//!
//! One lock per stream, held for a few map operations at a time. A waiting puller or reader sleeps on a notification;
//! what happens by time (redelivery, delays, age) is done by whoever comes next, and a waiting puller sleeps no longer
//! than until the next such moment, so there is no background task.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use smol_str::SmolStr;
use tokio::sync::Notify;
use tokio::time::Instant;
use ulex_domain::LogEpoch;

use super::consumer::{Consumer, Slot};
use crate::BusError;
use crate::queue::{Kept, Limits, Queue, size_of};
use crate::subject::{covers, fnv1a_64, last_token};
use crate::transport::{
    Appended, Backlog, ConsumerSpec, KnownLog, MESSAGE_ID_HEADER, Message, Order, ReadFrom, Retention,
    StreamMessage, StreamSpec, StreamState,
};

struct State {
    spec: StreamSpec,
    slots: BTreeMap<u64, Slot>,
    last: u64,
    bytes: u64,
    /// Position by message id, within the window.
    ids: HashMap<String, u64>,
    id_ages: VecDeque<(Instant, String)>,
    /// Position by subject, for work queues.
    subjects: HashMap<String, u64>,
    consumers: Vec<Consumer>,
    last_puller: u64,
    last_pull: u64,
    closed: bool,
}

/// See the module.
pub(super) struct Stream {
    pub(super) name: String,
    /// Messages do not survive, so every start begins another log.
    pub(super) name_of_log: SmolStr,
    /// With its epoch, which the data store decides if there is one.
    log: OnceLock<LogEpoch>,
    state: Mutex<State>,
    appended: Notify,
    max_bytes: u64,
}

/// Where a puller is bound to.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) stream: Arc<Stream>,
    consumer: usize,
    generation: u64,
    puller: u64,
    pub(super) notify: Arc<Notify>,
}

/// What a look at a queue gave.
pub(super) struct Look {
    pub(super) taken: Vec<(Arc<Kept>, u64)>,
    /// When to look again if nothing is heard before.
    pub(super) next: Option<Instant>,
}

impl Stream {
    /// `max_bytes` bounds what the specification asks for: this is memory.
    pub(super) fn new(spec: StreamSpec, max_bytes: u64) -> Self {
        let name = spec.name.clone().into_owned();
        let state = State {
            spec,
            slots: BTreeMap::new(),
            last: 0,
            bytes: 0,
            ids: HashMap::new(),
            id_ages: VecDeque::new(),
            subjects: HashMap::new(),
            consumers: Vec::new(),
            last_puller: 0,
            last_pull: 0,
            closed: false,
        };
        let name_of_log = uuid::Uuid::now_v7().to_string().into();
        Self {
            name,
            name_of_log,
            log: OnceLock::new(),
            state: Mutex::new(state),
            appended: Notify::new(),
            max_bytes,
        }
    }

    /// The log and its epoch.
    pub(super) fn log(&self) -> &LogEpoch {
        self.log.get_or_init(|| LogEpoch { log: self.name_of_log.clone(), epoch: 1 })
    }

    /// A log in memory is a new one in every process: its epoch is higher than all that the data store has seen. Nothing
    /// that was acknowledged is lost with the old one, because the store has it, so this is no news for a person.
    pub(super) fn meet(&self, known: &KnownLog) {
        let epoch = known.checkpoint.map_or(known.newest_epoch + 1, |checkpoint| checkpoint.epoch.max(1));
        self.log.get_or_init(|| LogEpoch { log: self.name_of_log.clone(), epoch });
    }

    pub(super) fn redefine(&self, spec: StreamSpec) {
        self.state.lock().spec = spec;
    }

    pub(super) fn append(&self, message: Message, now: Instant) -> Result<Appended, BusError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(BusError::Closed);
        }
        state.forget_the_old(now);
        let id = message.headers.get(MESSAGE_ID_HEADER).filter(|_| !state.spec.dedup.is_zero()).cloned();
        if let Some(&sequence) = id.as_ref().and_then(|id| state.ids.get(id)) {
            return Ok(Appended { sequence, duplicate: true });
        }
        let size = size_of(&message);
        let max_bytes = state.spec.max_bytes.min(self.max_bytes);
        let replaced = state.replaced(&message.subject);
        if !state.make_room(size, replaced, max_bytes, now) {
            return Err(BusError::Full { stream: self.name.clone() });
        }
        if let Some(sequence) = replaced {
            state.drop_slot(sequence, now);
        }
        let sequence = state.insert(message, size, now);
        if let Some(id) = id {
            state.ids.insert(id.clone(), sequence);
            state.id_ages.push_back((now, id));
        }
        drop(state);
        self.appended.notify_waiters();
        Ok(Appended { sequence, duplicate: false })
    }

    pub(super) fn state(&self, now: Instant) -> StreamState {
        let mut state = self.state.lock();
        state.forget_the_old(now);
        StreamState {
            log: self.name_of_log.clone(),
            epoch: self.log().epoch,
            first_sequence: state.slots.first_key_value().map_or(state.last + 1, |(first, _)| *first),
            messages: state.slots.len() as u64,
            bytes: state.bytes,
            last_sequence: state.last,
        }
    }

    pub(super) fn remove(&self, sequence: u64, now: Instant) -> bool {
        self.state.lock().drop_slot(sequence, now)
    }

    pub(super) fn purge(&self, filter: &str, now: Instant) -> u64 {
        let mut state = self.state.lock();
        let matching = state.slots.values().filter(|slot| covers(filter, &slot.kept.message.subject));
        let sequences: Vec<u64> = matching.map(|slot| slot.kept.sequence).collect();
        sequences.iter().filter(|sequence| state.drop_slot(**sequence, now)).count() as u64
    }

    /// Creates or changes a consumer; where it is in the list.
    pub(super) fn ensure_consumer(&self, spec: &ConsumerSpec) -> Result<usize, BusError> {
        let refused = |reason: &str| {
            Err(BusError::Refused { name: spec.name.clone().into_owned(), reason: reason.to_owned() })
        };
        if spec.max_ack_pending == 0 {
            return refused("max_ack_pending must be at least 1");
        }
        let mut state = self.state.lock();
        if state.closed {
            return Err(BusError::Closed);
        }
        Ok(state.ensure_consumer(spec))
    }

    pub(super) fn seat(self: &Arc<Self>, spec: &ConsumerSpec) -> Result<Seat, BusError> {
        let consumer = self.ensure_consumer(spec)?;
        let mut state = self.state.lock();
        state.last_puller += 1;
        let puller = state.last_puller;
        let Consumer { generation, notify, .. } = &state.consumers[consumer];
        let (generation, notify) = (*generation, Arc::clone(notify));
        Ok(Seat { stream: Arc::clone(self), consumer, generation, puller, notify })
    }

    pub(super) fn backlog(&self, name: &str) -> Backlog {
        let state = self.state.lock();
        let Some(consumer) = state.consumers.iter().find(|consumer| consumer.spec.name == name) else {
            return Backlog::default();
        };
        Backlog { waiting: consumer.queue.waiting() as u64, in_flight: consumer.queue.in_flight() as u64 }
    }

    /// Where a reader begins.
    pub(super) fn position(&self, from: ReadFrom) -> u64 {
        let state = self.state.lock();
        match from {
            ReadFrom::First => 1,
            ReadFrom::New => state.last + 1,
            ReadFrom::Sequence(sequence) => sequence.max(1),
            ReadFrom::Time(time) => {
                let first = state.slots.values().find(|slot| slot.kept.appended_at >= time);
                first.map_or(state.last + 1, |slot| slot.kept.sequence)
            }
        }
    }

    /// What there is from a position on; moves the position behind what was looked at.
    fn read(&self, filter: &str, position: &mut u64, max: usize) -> Result<Vec<StreamMessage>, BusError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(BusError::Closed);
        }
        state.forget_the_old(Instant::now());
        let mut found = Vec::new();
        for (sequence, slot) in state.slots.range(*position..) {
            if found.len() == max {
                return Ok(found);
            }
            *position = sequence + 1;
            if covers(filter, &slot.kept.message.subject) {
                let Kept { sequence, appended_at, ref message, .. } = *slot.kept;
                found.push(StreamMessage { sequence, appended_at, message: message.clone() });
            }
        }
        Ok(found)
    }

    /// [`Stream::read`], waiting for the first message.
    pub(super) async fn read_within(
        &self,
        filter: &str,
        position: &mut u64,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<StreamMessage>, BusError> {
        let deadline = Instant::now() + wait;
        loop {
            let mut appended = std::pin::pin!(self.appended.notified());
            appended.as_mut().enable();
            let found = self.read(filter, position, max)?;
            if !found.is_empty() || max == 0 || tokio::time::timeout_at(deadline, appended).await.is_err() {
                return Ok(found);
            }
        }
    }

    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.consumers.iter().for_each(|consumer| consumer.notify.notify_waiters());
        self.appended.notify_waiters();
    }
}

impl Seat {
    /// Takes what there is, if this puller may.
    pub(super) fn look(&self, max: usize, now: Instant) -> Result<Look, BusError> {
        let mut state = self.stream.state.lock();
        if state.closed {
            return Err(BusError::Closed);
        }
        state.forget_the_old(now);
        state.last_pull += 1;
        let pull = state.last_pull;
        let State { slots, consumers, .. } = &mut *state;
        let Some(queue) = self.queue_of(consumers) else {
            return Ok(Look { taken: Vec::new(), next: None });
        };
        if queue.holder.is_none() {
            queue.holder = Some(self.puller);
            queue.take_back(now);
        }
        if queue.holder != Some(self.puller) {
            return Ok(Look { taken: Vec::new(), next: None });
        }
        let taken = queue.take(pull, max, now, |sequence| slots.contains_key(&sequence));
        let found =
            taken.iter().filter_map(|one| Some((Arc::clone(&slots.get(&one.sequence)?.kept), one.attempt)));
        Ok(Look { taken: found.collect(), next: queue.next_event() })
    }

    fn queue_of<'a>(&self, consumers: &'a mut [Consumer]) -> Option<&'a mut Queue> {
        let consumer = consumers.get_mut(self.consumer).filter(|one| one.generation == self.generation)?;
        let shared = consumer.spec.order == Order::Any;
        if shared {
            consumer.queue.holder = Some(self.puller);
        }
        Some(&mut consumer.queue)
    }

    /// Lets another puller have the queue.
    pub(super) fn leave(&self) {
        let mut state = self.stream.state.lock();
        if let Some(queue) = self.queue_of(&mut state.consumers)
            && queue.holder == Some(self.puller)
        {
            queue.holder = None;
        }
        drop(state);
        self.notify.notify_waiters();
    }

    pub(super) fn settle(&self, kept: &Kept, now: Instant) {
        let mut state = self.stream.state.lock();
        let Some(queue) = self.queue_of(&mut state.consumers) else { return };
        let owed = queue.settle(kept.sequence, kept.key, now);
        let wake = queue.has_ready();
        if owed {
            state.one_is_done(kept.sequence, now);
        }
        drop(state);
        if wake {
            self.notify.notify_waiters();
        }
    }

    pub(super) fn nak(&self, kept: &Kept, attempt: u64, delay: Duration, now: Instant) {
        let mut state = self.stream.state.lock();
        if let Some(queue) = self.queue_of(&mut state.consumers) {
            queue.nak(kept.sequence, attempt, delay, now);
        }
        drop(state);
        // Also for a delay: whoever waits has to wait for another moment now.
        self.notify.notify_waiters();
    }

    pub(super) fn extend(&self, kept: &Kept, attempt: u64, now: Instant) {
        let mut state = self.stream.state.lock();
        if let Some(queue) = self.queue_of(&mut state.consumers) {
            queue.extend(kept.sequence, attempt, now);
        }
    }
}

impl State {
    /// Drops what is too old.
    fn forget_the_old(&mut self, now: Instant) {
        while let Some((at, _)) = self.id_ages.front()
            && now.duration_since(*at) >= self.spec.dedup
        {
            if let Some((_, id)) = self.id_ages.pop_front() {
                self.ids.remove(&id);
            }
        }
        let Some(max_age) = self.spec.max_age else { return };
        while let Some((sequence, slot)) = self.slots.first_key_value()
            && now.duration_since(slot.kept.at) >= max_age
        {
            let sequence = *sequence;
            self.drop_slot(sequence, now);
        }
    }

    /// The message that one on this subject takes the place of.
    fn replaced(&self, subject: &str) -> Option<u64> {
        match self.spec.retention {
            Retention::WorkQueue => self.subjects.get(subject).copied(),
            Retention::Limits | Retention::Recent => None,
        }
    }

    /// Whether `size` more bytes fit, after dropping what may be dropped.
    fn make_room(&mut self, size: u64, replaced: Option<u64>, max_bytes: u64, now: Instant) -> bool {
        if size > max_bytes {
            return false;
        }
        let freed = replaced.and_then(|sequence| self.slots.get(&sequence)).map_or(0, |slot| slot.kept.size);
        while self.bytes - freed + size > max_bytes {
            let Some((&oldest, slot)) = self.slots.first_key_value() else { return true };
            let may_go = match self.spec.retention {
                Retention::Limits => slot.owed == 0 && !self.consumers.is_empty(),
                Retention::Recent => true,
                Retention::WorkQueue => false,
            };
            if !may_go {
                return false;
            }
            self.drop_slot(oldest, now);
        }
        true
    }

    fn insert(&mut self, message: Message, size: u64, now: Instant) -> u64 {
        self.last += 1;
        let (sequence, key) = (self.last, fnv1a_64(last_token(&message.subject).as_bytes()));
        let mut owed = 0;
        for consumer in &mut self.consumers {
            if consumer.wants(&message) {
                consumer.queue.push(sequence, key);
                consumer.notify.notify_waiters();
                owed += 1;
            }
        }
        if self.spec.retention == Retention::WorkQueue {
            self.subjects.insert(message.subject.clone(), sequence);
        }
        let kept = Kept { sequence, appended_at: SystemTime::now(), at: now, key, size, message };
        self.bytes += size;
        self.slots.insert(sequence, Slot { kept: Arc::new(kept), owed });
        sequence
    }

    fn drop_slot(&mut self, sequence: u64, now: Instant) -> bool {
        let Some(Slot { kept, owed }) = self.slots.remove(&sequence) else { return false };
        self.bytes -= kept.size;
        if self.subjects.get(&kept.message.subject) == Some(&sequence) {
            self.subjects.remove(&kept.message.subject);
        }
        if owed == 0 {
            return true;
        }
        for consumer in &mut self.consumers {
            consumer.forget(&kept, &self.slots, now);
        }
        true
    }

    /// One consumer is done with a message.
    fn one_is_done(&mut self, sequence: u64, now: Instant) {
        let Some(slot) = self.slots.get_mut(&sequence) else { return };
        slot.owed = slot.owed.saturating_sub(1);
        if slot.owed == 0 && self.spec.retention == Retention::WorkQueue {
            self.drop_slot(sequence, now);
        }
    }

    fn ensure_consumer(&mut self, spec: &ConsumerSpec) -> usize {
        let Some(index) = self.consumers.iter().position(|consumer| consumer.spec.name == spec.name) else {
            let everything = self.slots.keys().copied().collect();
            self.consumers.push(Consumer::new(spec.clone(), 0));
            self.deal(self.consumers.len() - 1, everything);
            return self.consumers.len() - 1;
        };
        let present = &mut self.consumers[index];
        if present.spec.filter == spec.filter && present.spec.order == spec.order {
            present.spec = spec.clone();
            present.queue.set_limits(Limits::from(spec));
            return index;
        }
        let next = Consumer::new(spec.clone(), present.generation + 1);
        let before = std::mem::replace(present, next);
        let owed = before.queue.owed();
        for sequence in &owed {
            if let Some(slot) = self.slots.get_mut(sequence) {
                slot.owed = slot.owed.saturating_sub(1);
            }
        }
        self.deal(index, owed);
        before.notify.notify_waiters();
        index
    }

    /// Gives messages to a consumer.
    fn deal(&mut self, consumer: usize, sequences: std::collections::BTreeSet<u64>) {
        let consumer = &mut self.consumers[consumer];
        for sequence in sequences {
            let Some(slot) = self.slots.get_mut(&sequence) else { continue };
            if consumer.wants(&slot.kept.message) {
                consumer.queue.push(sequence, slot.kept.key);
                slot.owed += 1;
            }
        }
    }
}
