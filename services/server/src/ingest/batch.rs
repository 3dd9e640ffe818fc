//! Pulled messages, decoded, waiting for their transaction.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use smol_str::SmolStr;
use tracing::Span;
use ulex_nats::events::EventEnvelope;
use ulex_nats::transport::{EXPIRES_HEADER, RECEIPT_HEADER, RawDelivery};
use ulex_storage::data::{LogPosition, Submission};

use super::server_clock::ServerClock;
use super::spans;
use crate::published::{Admission, events_of, position};

/// A pulled message: what settles it, and what it asks for or why it cannot be read.
pub(super) struct Entry {
    pub(super) delivery: Box<dyn RawDelivery>,
    /// Which log it was pulled from.
    pub(super) log: SmolStr,
    pub(super) asked: Result<Vec<EventEnvelope>, String>,
    /// Its part of the trace that it belongs to, if there is one.
    pub(super) span: Span,
}

impl Entry {
    pub(super) fn read(delivery: Box<dyn RawDelivery>, log: SmolStr, admission: Admission) -> Self {
        let span = spans::of_message(delivery.as_ref());
        let asked = events_of(delivery.message(), delivery.appended_at(), admission);
        Self { delivery, log, asked, span }
    }

    pub(super) fn events(&self) -> &[EventEnvelope] {
        self.asked.as_deref().unwrap_or_default()
    }

    /// Where the publisher waits for a receipt, if it does.
    pub(super) fn receipt_to(&self) -> Option<&str> {
        self.delivery.message().headers.get(RECEIPT_HEADER).map(String::as_str)
    }

    /// Whether the publisher has stopped waiting.
    pub(super) fn is_expired(&self, clock: &ServerClock, now: SystemTime) -> bool {
        let after = self.delivery.message().headers.get(EXPIRES_HEADER);
        let after = after.and_then(|text| text.parse().ok()).map(Duration::from_millis);
        after.is_some_and(|after| clock.age(self.delivery.appended_at(), now) > after)
    }

    /// Rows of the store that it may touch, for the size of a transaction.
    pub(super) fn rows(&self) -> usize {
        self.events().iter().map(|envelope| envelope.event.row_count()).sum()
    }

    fn bytes(&self) -> usize {
        self.delivery.message().payload.len() + 1
    }

    /// What the store is given; each event has a position of its own.
    pub(super) fn submissions(&self) -> Vec<Submission> {
        let sequence = self.delivery.sequence();
        let submit = |(part, envelope): (usize, &EventEnvelope)| Submission {
            event_id: envelope.event_id.clone(),
            event: envelope.event.clone(),
            position: Some(LogPosition {
                log: self.log.clone(),
                epoch: 1,
                sequence: position(sequence, part),
                ..LogPosition::default()
            }),
        };
        self.events().iter().enumerate().map(submit).collect()
    }

    /// The position of the last of its events.
    pub(super) fn last_position(&self) -> u64 {
        position(self.delivery.sequence(), self.events().len().saturating_sub(1))
    }
}

/// Messages at hand that no transaction has begun with, in stream order.
#[derive(Default)]
pub(super) struct Ahead {
    waiting: VecDeque<Entry>,
    rows: usize,
    bytes: usize,
}

impl Ahead {
    pub(super) fn push(&mut self, entry: Entry) {
        self.rows += entry.rows();
        self.bytes += entry.bytes();
        self.waiting.push_back(entry);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Rows of the store that these may touch.
    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn messages(&self) -> usize {
        self.waiting.len()
    }

    /// Of their bodies.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.waiting.iter()
    }

    /// Takes everything, in order.
    pub(super) fn take(&mut self) -> Vec<Entry> {
        std::mem::take(self).waiting.into()
    }

    /// Takes messages of one log off the front for one transaction of about `most` rows; at least one if there is one.
    pub(super) fn next_group(&mut self, most: usize) -> Vec<Entry> {
        let (mut group, mut rows): (Vec<Entry>, usize) = (Vec::new(), 0);
        while let Some(next) = self.waiting.front() {
            rows += next.rows();
            if group.first().is_some_and(|first| rows > most || first.log != next.log) {
                break;
            }
            self.rows -= next.rows();
            self.bytes -= next.bytes();
            group.extend(self.waiting.pop_front());
        }
        group
    }
}
