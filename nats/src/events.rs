//! What publishers and the REST gateway ask for: the log of everything that was ever asked.
//!
//! | what | subject | from | to | delivery |
//! |---|---|---|---|---|
//! | [`EventEnvelope`] | `event.<user, item or feedback>.<token>`, stream `EVENTS` | REST gateway | ingest | at least once, in order; effect exactly once |
//! | Gorse's JSON, `feedback/1`, `users/1`, `items/1`: see `docs/publishing.md` | the same | publishers | ingest | the same |
//! | [`Receipt`] | an address of the publisher's inbox | ingest | whoever appended with a receipt address | at most once |
//!
//! # Order
//! `EVENTS` is drained strictly in stream order by one ingester at a time; the others stand by and one of them takes over.
//! So events about one user, and events about one item, take effect in stream order, and so does an event about both. Several
//! drains side by side could not promise that without remembering every mention of an item; one that applies thousands
//! of rows in a transaction keeps up with the store.
//!
//! # Exactly once
//! Delivery is at least once. The store remembers, in the transaction that applies events, up to which position of which
//! log it has come ([`crate::transport::StreamState::log`]); what is delivered again, or late by an ingester that was
//! taken for dead, has no effect. An event with an id has none either if the id was seen before, wherever it stands.

use serde::{Deserialize, Serialize};
use ulex_domain::{Command, EventId, FailureCode};

use crate::{Payload, Subject, Token};

/// One event, with its idempotency key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventEnvelope {
    /// Applying two events with the same id is applying one. Without an id, each has its effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventId>,
    /// What to do.
    pub event: Command,
}

impl Payload for EventEnvelope {
    const SCHEMA: &'static str = "event/1";
}

impl Subject for EventEnvelope {
    const PATTERN: &'static str = "event.*.*";

    /// The kind of the first thing it is about, and that thing's token.
    fn tokens(&self) -> Vec<Token> {
        let (topic, id) = self.event.subject();
        vec![Token::escape(topic.as_str()), Token::of_id(id.unwrap_or_default())]
    }
}

/// What came of an event. Sent after the store has committed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Position of the event in the log.
    pub sequence: u64,
    /// Rows that a deletion removed.
    pub rows_deleted: u64,
    /// An event of the same id had been applied before; this one had no effect.
    pub duplicate: bool,
    /// Why it was not applied; it is a dead letter now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ReceiptError>,
    /// Which process applied it.
    #[serde(default)]
    pub node: String,
    /// Position in `CHANGES` behind which other processes know what changed about items; 0 if nothing did.
    #[serde(default)]
    pub known_at: u64,
}

/// Why an event was not applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptError {
    /// For programs.
    pub code: FailureCode,
    /// For people.
    pub message: String,
}

impl Payload for Receipt {
    const SCHEMA: &'static str = "receipt/1";
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulex_domain::{ItemId, UserId};

    #[test]
    fn an_event_is_keyed_by_what_it_is_about() {
        let about = |event| {
            let tokens = EventEnvelope { event_id: None, event }.tokens();
            (tokens[0].as_str().to_owned(), tokens[1].clone())
        };
        let user = Command::DeleteUser { user_id: UserId::new("u") };
        assert_eq!(about(user), ("user".to_owned(), Token::of_id("u")));
        let item = Command::DeleteItem { item_id: ItemId::new("i") };
        assert_eq!(about(item), ("item".to_owned(), Token::of_id("i")));
        let feedback = Command::DeleteFeedback {
            user_id: UserId::new("u"),
            item_id: ItemId::new("i"),
            feedback_type: None,
        };
        assert_eq!(about(feedback), ("feedback".to_owned(), Token::of_id("u")));
    }

    #[test]
    fn an_event_without_an_id_is_read_as_one_that_has_none() {
        let text = r#"{"event": {"delete_user": {"user_id": "u"}}}"#;
        let envelope: EventEnvelope = serde_json::from_str(text).unwrap();
        assert_eq!(envelope.event_id, None);
    }
}
