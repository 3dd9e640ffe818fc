//! What is now in the data store.
//!
//! | what | subject | from | to | delivery |
//! |---|---|---|---|---|
//! | [`Changes`] | `change.<user, item or feedback>.<token>`, stream `CHANGES` | ingest, after the commit | dataset (reads the stream), servers (listen) | at least once; may repeat |

use serde::{Deserialize, Serialize};
use ulex_domain::Change;

use crate::{Payload, Subject, Token};

/// What one transaction changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// What changed.
    pub changes: Vec<Change>,
    /// How many rows of the store that were.
    pub rows: u64,
}

impl Payload for Changes {
    const SCHEMA: &'static str = "changes/1";
}

impl Subject for Changes {
    const PATTERN: &'static str = "change.*.*";

    /// The kind of the first change, and the token of the first thing in it.
    fn tokens(&self) -> Vec<Token> {
        let (kind, id) = match self.changes.first() {
            None => ("none", None),
            Some(Change::Users { user_ids }) => ("user", user_ids.first().map(|id| id.as_str())),
            Some(Change::UserDeleted { user_id }) => ("user", Some(user_id.as_str())),
            Some(Change::Items { items }) => ("item", items.first().map(|item| item.item_id.as_str())),
            Some(Change::ItemDeleted { item_id, .. }) => ("item", Some(item_id.as_str())),
            Some(Change::Feedback { pairs }) => ("feedback", pairs.first().map(|(user, _)| user.as_str())),
        };
        vec![Token::escape(kind), Token::of_id(id.unwrap_or_default())]
    }
}
