//! Ends of a message that is not applied: given back to the log, taken out of it, or kept as a dead letter. Stateless, so
//! that every stage of an ingester can share it.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use tracing::{info, warn};
use ulex_nats::bus::AppendOptions;
use ulex_nats::dead_letters::{BuryRequest, DeadBody, DeadLetter};
use ulex_nats::events::{Receipt, ReceiptError};
use ulex_nats::topology::{BURIALS, EVENTS};
use ulex_nats::transport::RawDelivery;
use ulex_nats::{Bus, BusError};

use super::IngestCounters;
use super::entry::{EventFailure, IngestEntry};
use super::measures::Measures;

/// Pause after a failure of the bus; the first pause after one of the store.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between failures of the store that follow one another: callers that wait are told within it.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);
/// Bytes of a body in a dead letter that would otherwise be too large.
const DEAD_BODY_BYTES: usize = 4096;

/// Disposes of messages.
pub(super) struct EventDisposer {
    bus: Bus,
    counters: Rc<RefCell<IngestCounters>>,
    measures: Rc<Measures>,
    /// Receipts go to addresses below this subject and nowhere else: a publisher must not borrow the rights of the
    /// ingester to write to any other.
    inbox_prefix: String,
}

impl EventDisposer {
    pub(super) fn new(bus: Bus, counters: Rc<RefCell<IngestCounters>>, measures: Rc<Measures>) -> Self {
        let inbox = bus.transport().inbox();
        let inbox_prefix =
            inbox.split_once('.').map_or(inbox.as_str(), |(prefix, _)| prefix).to_owned() + ".";
        Self { bus, counters, measures, inbox_prefix }
    }

    /// Counts a failure of the bus or the store.
    pub(super) fn count_failure(&self) {
        self.counters.borrow_mut().failures += 1;
        self.measures.failures.increment(1);
    }

    /// Sends the receipt if the publisher waits for one.
    pub(super) async fn answer(&self, entry: &IngestEntry, receipt: &Receipt) {
        let Some(address) = entry.receipt_to() else { return };
        if !is_inbox(address, &self.inbox_prefix) {
            let subject = &entry.delivery.message().subject;
            warn!(address, subject, "receipt: the address is no inbox; nothing is sent");
            return;
        }
        if let Err(reason) = self.bus.send_to(address, receipt).await {
            warn!(%reason, "receipt: not sent");
        }
    }

    async fn answer_failure(&self, entry: &IngestEntry, failure: &EventFailure) {
        let EventFailure { code, reason } = failure.clone();
        let error = Some(ReceiptError { code, message: reason });
        let sequence = entry.delivery.sequence();
        self.answer(entry, &Receipt { sequence, error, ..Receipt::default() }).await;
    }

    /// Takes an event without an effect out of the log, then tells its caller. `false` if it could not be removed. If
    /// another ingester may have been given it before it was removed, nobody is told anything: that one may apply it.
    pub(super) async fn reject(&self, entry: &IngestEntry, failure: &EventFailure) -> bool {
        let sequence = entry.delivery.sequence();
        if !entry.delivery.is_held() {
            return false;
        }
        if let Err(reason) = self.bus.transport().remove(&EVENTS.name, sequence).await {
            warn!(%reason, sequence, "event: not removed from the log");
            return false;
        }
        self.counters.borrow_mut().rejected += 1;
        self.measures.refused.increment(1);
        if entry.delivery.is_held() {
            self.answer_failure(entry, failure).await;
        }
        // It is no longer there to be delivered again; this only says so at once.
        let _ = entry.delivery.term().await;
        true
    }

    /// Keeps an event that can never be applied where it can be looked at, then settles it. If it cannot be kept, it comes
    /// again, and what is behind it must come behind it.
    pub(super) async fn dead_letter(&self, entry: &IngestEntry, failure: &EventFailure) -> ControlFlow<()> {
        let delivery = entry.delivery.as_ref();
        let sequence = delivery.sequence();
        let message_id = Some(DeadLetter::message_id(delivery.log(), sequence));
        let options = AppendOptions { message_id, ..AppendOptions::default() };
        if let Err(reason) = self.bus.append(&self.letter(delivery, failure), options).await {
            warn!(%reason, sequence, "dead letter: not kept; the event comes again");
            self.count_failure();
            give_back(std::iter::once(delivery), RETRY_PAUSE).await;
            return ControlFlow::Break(());
        }
        self.counters.borrow_mut().dead += 1;
        self.measures.dead.increment(1);
        let EventFailure { code, reason } = failure;
        info!(sequence, subject = delivery.message().subject, %code, reason, "dead letter: kept");
        self.answer_failure(entry, failure).await;
        if let Err(reason) = delivery.term().await {
            warn!(%reason, sequence, "dead letter: its event was not settled");
        }
        ControlFlow::Continue(())
    }

    /// Whether an operator has asked to bury this event, once.
    pub(super) async fn take_bury_request(&self, entry: &IngestEntry) -> bool {
        let key = BuryRequest::key(entry.delivery.sequence());
        let found = async {
            let requests = self.bus.bucket::<BuryRequest>(&BURIALS).await?;
            let is_there = requests.get(&key).await?.is_some();
            if is_there {
                requests.delete(&key).await?;
            }
            Ok::<bool, BusError>(is_there)
        };
        found.await.unwrap_or_else(|reason| {
            warn!(%reason, "ingest: requests to bury an event cannot be read");
            false
        })
    }

    fn letter(&self, delivery: &dyn RawDelivery, failure: &EventFailure) -> DeadLetter {
        let place = (delivery.sequence(), delivery.attempt());
        let EventFailure { code, reason } = failure.clone();
        let mut letter = DeadLetter::of(delivery.message(), place, code, reason);
        let size = serde_json::to_vec(&letter).map_or(usize::MAX, |bytes| bytes.len());
        if size + DEAD_BODY_BYTES > self.bus.transport().max_payload() {
            letter.body = DeadBody::begin(&delivery.message().payload, DEAD_BODY_BYTES);
        }
        letter
    }
}

/// Whether an address is below the prefix and names one subject.
fn is_inbox(address: &str, prefix: &str) -> bool {
    let is_token = |token: &str| {
        !token.is_empty()
            && !token.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '*' | '>'))
    };
    address.strip_prefix(prefix).is_some_and(|rest| rest.split('.').all(is_token))
}

/// Gives entries back to the log, with a pause that grows with the number of times that the first has been tried.
pub(super) async fn return_to_log(entries: &[IngestEntry]) {
    give_back(entries.iter().map(|entry| entry.delivery.as_ref()), retry_pause(entries)).await;
}

/// Pause before entries are delivered again.
pub(super) fn retry_pause(entries: &[IngestEntry]) -> Duration {
    let attempt = entries.first().map_or(1, |entry| entry.delivery.attempt());
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(5);
    (RETRY_PAUSE * (1 << doublings)).min(RETRY_PAUSE_MAX)
}

/// Gives deliveries back to the log.
pub(super) async fn give_back<'a>(deliveries: impl Iterator<Item = &'a dyn RawDelivery>, pause: Duration) {
    for delivery in deliveries {
        if let Err(reason) = delivery.nak(pause).await {
            warn!(%reason, "event: not given back; it comes again by itself");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_address_below_the_prefix_of_inboxes_is_an_inbox() {
        for address in ["_INBOX.a", "_INBOX.a.1"] {
            assert!(is_inbox(address, "_INBOX."), "{address}");
        }
        let others = [
            "$KV.ulex-cursors.EVENTS.ingest-default",
            "_INBOX",
            "_INBOX.",
            "_INBOXES.a",
            "_INBOX.>",
            "_INBOX.a.*",
            "_INBOX.a b",
            "_INBOX.a\r\nPUB x",
            "ulex.v1.default.event.user.x",
        ];
        for address in others {
            assert!(!is_inbox(address, "_INBOX."), "{address}");
        }
    }
}
