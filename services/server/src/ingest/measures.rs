//! What an ingester counts for `/metrics`. Resolved once, so that counting is an addition.

use metrics::{Counter, Histogram, counter, histogram};
use ulex_domain::Command;

/// As the label `kind` says it.
const KINDS: [&str; 9] = [
    "put_users",
    "patch_user",
    "delete_user",
    "put_items",
    "patch_item",
    "set_category",
    "delete_item",
    "put_feedback",
    "delete_feedback",
];

const fn kind_of(event: &Command) -> usize {
    match event {
        Command::PutUsers { .. } => 0,
        Command::PatchUser { .. } => 1,
        Command::DeleteUser { .. } => 2,
        Command::PutItems { .. } => 3,
        Command::PatchItem { .. } => 4,
        Command::SetCategory { .. } => 5,
        Command::DeleteItem { .. } => 6,
        Command::PutFeedback { .. } => 7,
        Command::DeleteFeedback { .. } => 8,
    }
}

/// See the module documentation.
pub(super) struct Measures {
    applied: [Counter; KINDS.len()],
    pub(super) rows: Counter,
    pub(super) duplicates: Counter,
    pub(super) dead: Counter,
    pub(super) refused: Counter,
    pub(super) failures: Counter,
    /// Messages of one transaction.
    pub(super) batch: Histogram,
    /// How long a transaction took, with everything until its messages were settled.
    pub(super) batch_seconds: Histogram,
}

impl Measures {
    pub(super) fn new() -> Self {
        Self {
            applied: KINDS.map(|kind| counter!("ulex_events_applied_total", "kind" => kind)),
            rows: counter!("ulex_ingest_rows_total"),
            duplicates: counter!("ulex_events_duplicate_total"),
            dead: counter!("ulex_events_dead_total"),
            refused: counter!("ulex_events_refused_total"),
            failures: counter!("ulex_ingest_failures_total"),
            batch: histogram!("ulex_ingest_batch_messages"),
            batch_seconds: histogram!("ulex_ingest_batch_seconds"),
        }
    }

    pub(super) fn applied(&self, event: &Command) {
        self.applied[kind_of(event)].increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulex_domain::{ItemId, UserId};

    #[test]
    fn a_kind_is_named_as_its_event_is_written() {
        let (user_id, item_id) = (UserId::new("u"), ItemId::new("i"));
        let events = [
            Command::PutUsers { users: Vec::new() },
            Command::DeleteUser { user_id: user_id.clone() },
            Command::PutItems { items: Vec::new() },
            Command::SetCategory { item_id: item_id.clone(), category: String::new(), present: true },
            Command::DeleteItem { item_id: item_id.clone() },
            Command::DeleteFeedback { user_id, item_id, feedback_type: None },
        ];
        for event in events {
            let written = serde_json::to_value(&event).unwrap();
            let name = written.as_object().unwrap().keys().next().unwrap().clone();
            assert_eq!(KINDS[kind_of(&event)], name);
        }
    }
}
