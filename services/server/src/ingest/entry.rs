//! Pulled messages, decoded.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::Span;
use ulex_domain::log::payload_crc;
use ulex_domain::{Command, FailureCode, FeedbackMode, Version};
use ulex_nats::events::EventEnvelope;
use ulex_nats::transport::{EXPIRES_HEADER, RECEIPT_HEADER, RawDelivery};
use ulex_storage::data::{LogPosition, Submission};

use super::server_clock::ServerClock;
use super::spans;
use crate::published::{Admission, events_of, position};

/// Reason why a message can never be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventFailure {
    pub(super) code: FailureCode,
    pub(super) reason: String,
}

/// A pulled message: its settlement, and its events or the reason why it cannot be read.
pub(super) struct IngestEntry {
    pub(super) delivery: Box<dyn RawDelivery>,
    pub(super) decoded: Result<Vec<EventEnvelope>, EventFailure>,
    /// Part of the trace that the message belongs to, if there is one.
    pub(super) span: Span,
    /// Whether the publisher had stopped waiting when the message was taken for a transaction.
    pub(super) is_expired: bool,
}

impl IngestEntry {
    pub(super) fn decode(delivery: Box<dyn RawDelivery>, admission: Admission) -> Self {
        let span = spans::of_message(delivery.as_ref());
        let read = || events_of(delivery.message(), delivery.appended_at(), admission);
        // A body on which the decoder panics would take down every ingester in turn.
        let decoded = match catch_unwind(AssertUnwindSafe(read)) {
            Ok(events) => events.map_err(|reason| EventFailure { code: FailureCode::Malformed, reason }),
            Err(_panic) => Err(EventFailure {
                code: FailureCode::Panicked,
                reason: "reading the message panicked".to_owned(),
            }),
        };
        let decoded = decoded.and_then(|events| decided(delivery.as_ref(), events));
        Self { delivery, decoded, span, is_expired: false }
    }

    pub(super) fn events(&self) -> &[EventEnvelope] {
        self.decoded.as_deref().unwrap_or_default()
    }

    /// Address where the publisher waits for a receipt, if it does.
    pub(super) fn receipt_to(&self) -> Option<&str> {
        self.delivery.message().headers.get(RECEIPT_HEADER).map(String::as_str)
    }

    /// Decides whether the publisher has stopped waiting. What may have been applied before, and its caller have been told
    /// so, never expires: a store that went back needs it again.
    pub(super) fn check_expiry(&mut self, clock: &ServerClock, now: SystemTime) {
        let after = self.delivery.message().headers.get(EXPIRES_HEADER);
        let after = after.and_then(|text| text.parse().ok()).map(Duration::from_millis);
        let is_new = self.delivery.attempt() == 1;
        self.is_expired =
            is_new && after.is_some_and(|after| clock.age(self.delivery.appended_at(), now) > after);
    }

    /// Rows of the store that it may touch, for the size of a transaction.
    pub(super) fn row_count(&self) -> usize {
        self.events().iter().map(|envelope| envelope.event.row_count()).sum()
    }

    /// Size of the body.
    pub(super) fn body_bytes(&self) -> usize {
        self.delivery.message().payload.len() + 1
    }

    /// The events as the store takes them, each with a position of its own. Of an expired message nothing but the
    /// positions: the store says whether they were reached before, and from then on nobody can apply them. Of one that
    /// cannot be read one position, behind which a successor begins.
    pub(super) fn submissions(&self) -> Vec<Submission> {
        match &self.decoded {
            Ok(events) => {
                let submit = |(part, envelope): (usize, &EventEnvelope)| Submission {
                    event_id: envelope.event_id.clone().filter(|_| !self.is_expired),
                    event: if self.is_expired { no_command() } else { envelope.event.clone() },
                    position: Some(self.log_position(part)),
                    follows: None,
                };
                events.iter().enumerate().map(submit).collect()
            }
            Err(_) => vec![self.passed_over()],
        }
    }

    /// Moves the store behind the message without its effect.
    pub(super) fn passed_over(&self) -> Submission {
        let last = self.events().len().saturating_sub(1);
        Submission { position: Some(self.log_position(last)), ..no_command().into() }
    }

    fn log_position(&self, part: usize) -> LogPosition {
        let log = self.delivery.log();
        let appended_at = self.delivery.appended_at().duration_since(UNIX_EPOCH).unwrap_or_default();
        LogPosition {
            log: log.log.clone(),
            epoch: log.epoch,
            sequence: position(self.delivery.sequence(), part),
            appended_at_nanos: i64::try_from(appended_at.as_nanos()).unwrap_or(i64::MAX),
            crc: payload_crc(&self.delivery.message().payload),
        }
    }

    /// The place of one of its events.
    pub(super) fn version(&self, part: usize) -> Version {
        Version::new(self.delivery.log().epoch, position(self.delivery.sequence(), part))
    }

    /// The place of the last of its events.
    pub(super) fn last_version(&self) -> Version {
        self.version(self.events().len().saturating_sub(1))
    }
}

/// The events of a message, unless it may have been applied before its log was cut and an event has no id by which the
/// ledger could tell.
fn decided(
    delivery: &dyn RawDelivery,
    events: Vec<EventEnvelope>,
) -> Result<Vec<EventEnvelope>, EventFailure> {
    if delivery.is_ambiguous() && events.iter().any(|envelope| envelope.event_id.is_none()) {
        let reason =
            "the log was cut near this message: it may have been applied before, and it has no event id";
        return Err(EventFailure { code: FailureCode::Undecided, reason: reason.to_owned() });
    }
    Ok(events)
}

/// A command without an effect.
pub(super) const fn no_command() -> Command {
    Command::PutFeedback {
        rows: Vec::new(),
        mode: FeedbackMode::Overwrite,
        insert_users: false,
        insert_items: false,
    }
}
