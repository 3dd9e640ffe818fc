//! Pulled messages, decoded and divided into transactions.

use std::collections::VecDeque;

use smol_str::SmolStr;
use ulex_domain::Event;
use ulex_nats::events::EventEnvelope;
use ulex_nats::transport::{NOT_AFTER_HEADER, RECEIPT_HEADER, RawDelivery};
use ulex_storage::data::{LogPosition, Submission};

use crate::published::{Admission, events_of, position};

/// A pulled message: what settles it, and what it asks for or why it cannot be read.
pub(super) struct Entry {
    pub(super) delivery: Box<dyn RawDelivery>,
    pub(super) asked: Result<Vec<EventEnvelope>, String>,
}

impl Entry {
    pub(super) fn read(delivery: Box<dyn RawDelivery>, admission: Admission) -> Self {
        let asked = events_of(delivery.message(), delivery.appended_at(), admission);
        Self { delivery, asked }
    }

    pub(super) fn events(&self) -> &[EventEnvelope] {
        self.asked.as_deref().unwrap_or_default()
    }

    /// Where the publisher waits for a receipt, if it does.
    pub(super) fn receipt_to(&self) -> Option<&str> {
        self.delivery.message().headers.get(RECEIPT_HEADER).map(String::as_str)
    }

    /// Whether the publisher has stopped waiting at `now_ms`, in milliseconds since 1970.
    pub(super) fn is_late(&self, now_ms: u64) -> bool {
        let deadline = self.delivery.message().headers.get(NOT_AFTER_HEADER);
        deadline.and_then(|text| text.parse::<u64>().ok()).is_some_and(|deadline| deadline < now_ms)
    }

    /// Rows of the store that it may touch, for the size of a transaction.
    fn rows(&self) -> usize {
        self.events().iter().map(|envelope| rows_of(&envelope.event)).sum()
    }

    /// What the store is given; each event has a position of its own.
    pub(super) fn submissions(&self, log: &SmolStr) -> Vec<Submission> {
        let sequence = self.delivery.sequence();
        let submit = |(part, envelope): (usize, &EventEnvelope)| Submission {
            event_id: envelope.event_id.clone(),
            event: envelope.event.clone(),
            position: Some(LogPosition { log: log.clone(), sequence: position(sequence, part) }),
        };
        self.events().iter().enumerate().map(submit).collect()
    }

    /// The position of the last of its events.
    pub(super) fn last_position(&self) -> u64 {
        position(self.delivery.sequence(), self.events().len().saturating_sub(1))
    }
}

/// Takes messages off the front for one transaction of about `most` rows; at least one if there is one.
pub(super) fn next_group(waiting: &mut VecDeque<Entry>, most: usize) -> Vec<Entry> {
    let (mut group, mut rows) = (Vec::new(), 0);
    while let Some(next) = waiting.front() {
        rows += next.rows();
        if rows > most && !group.is_empty() {
            break;
        }
        group.extend(waiting.pop_front());
    }
    group
}

fn rows_of(event: &Event) -> usize {
    match event {
        Event::PutUsers { users } => users.len(),
        Event::PutItems { items } => items.len(),
        Event::PutFeedback { rows, .. } => rows.len(),
        Event::PatchUser { .. }
        | Event::DeleteUser { .. }
        | Event::PatchItem { .. }
        | Event::SetCategory { .. }
        | Event::DeleteItem { .. }
        | Event::DeleteFeedback { .. } => 1,
    }
}
