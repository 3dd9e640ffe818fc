//! What a durable consumer still has to hand out, and what it has handed out.
//!
//! Pure: time comes in as an argument, waiting is somebody else's. Messages with the same key form a line. A key has
//! messages in flight from one pull only; what comes back (`nak`, expiry) goes to the head of its line, so a later
//! message never overtakes it. Keys are hashes: two keys with the same hash merely wait for one another.
//!
//! For [`Order::Strict`] everything is one line, and several pulls may be in flight: its only puller goes by their order.
//! When something has come back, nothing is handed out until everything later has been settled or has come back as well.
//!
//! Cost: constant per message while nothing comes back, logarithmic in what is waiting otherwise.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, SystemTime};

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::transport::{ConsumerSpec, Message, Order};

/// A message in a stream, as a bus holds it while somebody works on it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) sequence: u64,
    pub(crate) appended_at: SystemTime,
    pub(crate) at: Instant,
    pub(crate) key: u64,
    pub(crate) size: u64,
    pub(crate) message: Message,
}

/// What a message counts for.
pub(crate) fn size_of(message: &Message) -> u64 {
    let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    (message.subject.len() + headers + message.payload.len()) as u64
}

/// Limits of a queue, from its consumer's specification.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) order: Order,
    pub(crate) max_ack_pending: usize,
    pub(crate) ack_wait: Duration,
}

impl From<&ConsumerSpec> for Limits {
    fn from(spec: &ConsumerSpec) -> Self {
        Self { order: spec.order, max_ack_pending: spec.max_ack_pending, ack_wait: spec.ack_wait }
    }
}

/// A message that waits for its turn in its line.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// How often it has been delivered.
    attempts: u64,
    not_before: Instant,
}

/// Everything of one key that is in flight or has to wait.
#[derive(Debug, Default)]
struct Line {
    in_flight: usize,
    /// The pull that those in flight came from.
    pull: u64,
    waiting: BTreeMap<u64, Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    key: u64,
    attempt: u64,
    deadline: Instant,
}

/// A message handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) sequence: u64,
    pub(crate) attempt: u64,
}

/// One pull while it is being filled.
struct Pull<Stored> {
    number: u64,
    room: usize,
    now: Instant,
    stored: Stored,
    taken: Vec<Taken>,
}

impl<Stored> Pull<Stored> {
    const fn has_room(&self) -> bool {
        self.taken.len() < self.room
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue {
    limits: Limits,
    /// Never looked at, in stream order, with their keys.
    fresh: VecDeque<(u64, u64)>,
    /// How many of these are no longer in the stream.
    fresh_gone: usize,
    lines: FxHashMap<u64, Line>,
    /// Lines with nothing in flight whose head may go, by position of the head.
    ready: BTreeSet<(u64, u64)>,
    /// Lines with nothing in flight whose head must wait, by time.
    delayed: BTreeSet<(Instant, u64)>,
    flights: FxHashMap<u64, Flight>,
    /// Deadlines in the order in which they were set, which is their own order; outdated ones are skipped.
    deadlines: VecDeque<(Instant, u64)>,
    /// Waiting in lines, in all.
    waiting: usize,
    /// The puller that has this queue.
    pub(crate) holder: Option<u64>,
}

impl Queue {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            fresh: VecDeque::new(),
            fresh_gone: 0,
            lines: FxHashMap::default(),
            ready: BTreeSet::new(),
            delayed: BTreeSet::new(),
            flights: FxHashMap::default(),
            deadlines: VecDeque::new(),
            waiting: 0,
            holder: None,
        }
    }

    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The line of a message with this key.
    const fn line_of(&self, key: u64) -> u64 {
        match self.limits.order {
            Order::Strict => 0,
            Order::Any => key,
        }
    }

    /// A message was appended.
    pub(crate) fn push(&mut self, sequence: u64, key: u64) {
        self.fresh.push_back((sequence, self.line_of(key)));
    }

    /// A message is no longer in the stream. One in flight may still be settled by whoever has it.
    pub(crate) fn forget(&mut self, sequence: u64, key: u64, now: Instant) {
        let key = self.line_of(key);
        if self.flights.contains_key(&sequence) || self.drop_waiting(sequence, key, now) {
            return;
        }
        if self.fresh.front().is_some_and(|(first, _)| *first <= sequence) {
            self.fresh_gone += 1;
        }
    }

    /// Whether so many fresh messages are gone that [`Self::compact`] is worth it.
    pub(crate) fn wants_compaction(&self) -> bool {
        self.fresh_gone > self.fresh.len() / 2 + 1024
    }

    /// Drops fresh messages that are gone.
    pub(crate) fn compact(&mut self, stored: impl Fn(u64) -> bool) {
        self.fresh.retain(|(sequence, _)| stored(*sequence));
        self.fresh_gone = 0;
    }

    /// Hands out up to `max` messages to the pull with this number. `stored` says what is still in the stream.
    pub(crate) fn take(
        &mut self,
        number: u64,
        max: usize,
        now: Instant,
        stored: impl Fn(u64) -> bool,
    ) -> Vec<Taken> {
        self.expire(now);
        self.promote(now);
        let room = max.min(self.limits.max_ack_pending.saturating_sub(self.flights.len()));
        let mut pull = Pull { number, room, now, stored, taken: Vec::new() };
        while pull.has_room() {
            let Some((_, key)) = self.ready.pop_first() else { break };
            self.take_line(key, &mut pull);
        }
        self.take_fresh(&mut pull);
        pull.taken
    }

    /// Hands out what a line with nothing in flight has that may go.
    fn take_line(&mut self, key: u64, pull: &mut Pull<impl Fn(u64) -> bool>) {
        while pull.has_room() {
            let Some(line) = self.lines.get_mut(&key) else { return };
            let Some(head) = line.waiting.first_entry() else { break };
            if head.get().not_before > pull.now {
                break;
            }
            let (sequence, waited) = head.remove_entry();
            self.waiting -= 1;
            if (pull.stored)(sequence) {
                line.in_flight += 1;
                line.pull = pull.number;
                pull.taken.push(self.depart(sequence, key, waited.attempts + 1, pull.now));
            }
        }
        self.reconsider(key, pull.now);
    }

    fn take_fresh(&mut self, pull: &mut Pull<impl Fn(u64) -> bool>) {
        while pull.has_room() {
            let Some(&(sequence, key)) = self.fresh.front() else { return };
            if !(pull.stored)(sequence) {
                self.fresh.pop_front();
                self.fresh_gone = self.fresh_gone.saturating_sub(1);
                continue;
            }
            let line = self.lines.entry(key).or_default();
            let strict = self.limits.order == Order::Strict;
            let may_go =
                line.waiting.is_empty() && (strict || line.in_flight == 0 || line.pull == pull.number);
            if !may_go && strict {
                return;
            }
            self.fresh.pop_front();
            if may_go {
                line.in_flight += 1;
                line.pull = pull.number;
                pull.taken.push(self.depart(sequence, key, 1, pull.now));
            } else {
                // The line has something in flight or ahead of this one, so it is looked at when that is settled.
                line.waiting.insert(sequence, Waiting { attempts: 0, not_before: pull.now });
                self.waiting += 1;
            }
        }
    }

    fn depart(&mut self, sequence: u64, key: u64, attempt: u64, now: Instant) -> Taken {
        let deadline = now + self.limits.ack_wait;
        self.flights.insert(sequence, Flight { key, attempt, deadline });
        self.deadlines.push_back((deadline, sequence));
        Taken { sequence, attempt }
    }

    /// Settles a message for good, even one that is waiting to be delivered again; whether it was still owed.
    pub(crate) fn settle(&mut self, sequence: u64, key: u64, now: Instant) -> bool {
        let key = self.line_of(key);
        if self.flights.remove(&sequence).is_none() {
            return self.drop_waiting(sequence, key, now);
        }
        self.land(key, now);
        self.trim_deadlines();
        true
    }

    /// Takes a delivery back, to be made again after `delay`.
    pub(crate) fn nak(&mut self, sequence: u64, attempt: u64, delay: Duration, now: Instant) {
        if self.flights.get(&sequence).is_none_or(|flight| flight.attempt != attempt) {
            return;
        }
        self.come_back(sequence, now + delay, now);
        self.trim_deadlines();
    }

    /// Takes back everything that is in flight: whoever has it is gone.
    pub(crate) fn take_back(&mut self, now: Instant) {
        for sequence in self.flights.keys().copied().collect::<Vec<_>>() {
            self.come_back(sequence, now, now);
        }
        self.trim_deadlines();
    }

    /// Starts the deadline of a delivery anew.
    pub(crate) fn extend(&mut self, sequence: u64, attempt: u64, now: Instant) {
        let Some(flight) = self.flights.get_mut(&sequence) else { return };
        if flight.attempt != attempt {
            return;
        }
        let deadline = now + self.limits.ack_wait;
        if flight.deadline == deadline {
            return;
        }
        flight.deadline = deadline;
        self.deadlines.push_back((deadline, sequence));
        self.trim_deadlines();
    }

    /// When something happens by itself next.
    pub(crate) fn next_event(&self) -> Option<Instant> {
        let deadline = self.deadlines.front().map(|(at, _)| *at);
        let delayed = self.delayed.first().map(|(at, _)| *at);
        deadline.into_iter().chain(delayed).min()
    }

    /// Whether a pull would find something now.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty() || !self.fresh.is_empty()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.fresh.len().saturating_sub(self.fresh_gone) + self.waiting
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Everything that is not settled, in stream order.
    pub(crate) fn owed(&self) -> BTreeSet<u64> {
        let waiting = self.lines.values().flat_map(|line| line.waiting.keys().copied());
        let fresh = self.fresh.iter().map(|(sequence, _)| *sequence);
        waiting.chain(fresh).chain(self.flights.keys().copied()).collect()
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(deadline, sequence)) = self.deadlines.front() {
            if deadline > now {
                return;
            }
            self.deadlines.pop_front();
            if self.flights.get(&sequence).is_some_and(|flight| flight.deadline == deadline) {
                self.come_back(sequence, now, now);
            }
        }
    }

    fn promote(&mut self, now: Instant) {
        while let Some(&(at, key)) = self.delayed.first() {
            if at > now {
                return;
            }
            self.delayed.pop_first();
            self.reconsider(key, now);
        }
    }

    fn come_back(&mut self, sequence: u64, not_before: Instant, now: Instant) {
        let Some(flight) = self.flights.remove(&sequence) else { return };
        let line = self.lines.entry(flight.key).or_default();
        line.waiting.insert(sequence, Waiting { attempts: flight.attempt, not_before });
        self.waiting += 1;
        self.land(flight.key, now);
    }

    /// One message of this key is no longer in flight.
    fn land(&mut self, key: u64, now: Instant) {
        if let Some(line) = self.lines.get_mut(&key) {
            line.in_flight = line.in_flight.saturating_sub(1);
        }
        self.reconsider(key, now);
    }

    fn drop_waiting(&mut self, sequence: u64, key: u64, now: Instant) -> bool {
        let Some(line) = self.lines.get_mut(&key) else { return false };
        let first = line.waiting.first_key_value().map(|(first, waiting)| (*first, waiting.not_before));
        if line.waiting.remove(&sequence).is_none() {
            return false;
        }
        self.waiting -= 1;
        if let Some((first, not_before)) = first {
            self.ready.remove(&(first, key));
            self.delayed.remove(&(not_before, key));
        }
        self.reconsider(key, now);
        true
    }

    /// Puts a line with nothing in flight where it belongs; forgets an empty one.
    fn reconsider(&mut self, key: u64, now: Instant) {
        let Some(line) = self.lines.get(&key) else { return };
        if line.in_flight > 0 {
            return;
        }
        match line.waiting.first_key_value() {
            None => {
                self.lines.remove(&key);
            }
            Some((&first, waiting)) if waiting.not_before <= now => {
                self.ready.insert((first, key));
            }
            Some((_, waiting)) => {
                self.delayed.insert((waiting.not_before, key));
            }
        }
    }

    /// Drops deadlines of deliveries that are settled: those in front always, the others when they are many.
    fn trim_deadlines(&mut self) {
        let flights = &self.flights;
        let stands = |(deadline, sequence): &(Instant, u64)| {
            flights.get(sequence).is_some_and(|flight| flight.deadline == *deadline)
        };
        while self.deadlines.front().is_some_and(|front| !stands(front)) {
            self.deadlines.pop_front();
        }
        if self.deadlines.len() > 4 * flights.len() + 1024 {
            self.deadlines.retain(stands);
        }
    }
}

#[cfg(test)]
mod tests;
