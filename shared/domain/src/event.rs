//! What callers ask for ([`Event`]) and what came of it ([`Change`]).

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::{Feedback, Item, ItemId, ItemPatch, User, UserId, UserPatch};

/// How a feedback row meets a row of the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedbackMode {
    /// POST: [`Feedback::accumulate`].
    Accumulate,
    /// PUT: the new row replaces the old one; `updated` becomes its timestamp.
    Overwrite,
}

/// A validated request to change the data. Applied as a whole or not at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Insert users, or replace their labels and comment. Of duplicates inside one event the first counts.
    PutUsers {
        /// The users.
        users: Vec<User>,
    },
    /// Change fields of a user; nothing happens if it does not exist.
    PatchUser {
        /// Which user.
        user_id: UserId,
        /// What to change.
        patch: UserPatch,
    },
    /// Remove a user and all its feedback.
    DeleteUser {
        /// Which user.
        user_id: UserId,
    },
    /// Insert items, or replace all their fields. Of duplicates inside one event the first counts.
    PutItems {
        /// The items.
        items: Vec<Item>,
    },
    /// Change fields of an item; nothing happens if it does not exist.
    PatchItem {
        /// Which item.
        item_id: ItemId,
        /// What to change.
        patch: ItemPatch,
    },
    /// Add or remove one category of an item; nothing happens if the item does not exist.
    SetCategory {
        /// Which item.
        item_id: ItemId,
        /// Which category.
        category: String,
        /// `true` adds it at the end unless present, `false` removes it.
        present: bool,
    },
    /// Remove an item and all its feedback.
    DeleteItem {
        /// Which item.
        item_id: ItemId,
    },
    /// Insert feedback. Of duplicate keys inside one event the first counts.
    PutFeedback {
        /// The rows; `updated` is ignored.
        rows: Vec<Feedback>,
        /// What happens to rows that exist.
        mode: FeedbackMode,
        /// Create users that do not exist; otherwise their rows are dropped.
        insert_users: bool,
        /// Create items that do not exist; otherwise their rows are dropped.
        insert_items: bool,
    },
    /// Remove the feedback of a pair, of one type or of all.
    DeleteFeedback {
        /// Which user.
        user_id: UserId,
        /// Which item.
        item_id: ItemId,
        /// Which type; `None` is all.
        feedback_type: Option<SmolStr>,
    },
}

/// What an applied event changed: keys, not values, so that a change may be delivered twice. Whoever
/// follows the data reads the present state of what is named here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// These users were inserted, replaced or patched.
    Users {
        /// Their ids.
        user_ids: Vec<UserId>,
    },
    /// This user and all its feedback are gone.
    UserDeleted {
        /// Its id.
        user_id: UserId,
    },
    /// These items were inserted, replaced or patched; their state after the change, for eligibility.
    Items {
        /// The items as they are now.
        items: Vec<ItemState>,
    },
    /// This item and all its feedback are gone.
    ItemDeleted {
        /// Its id.
        item_id: ItemId,
    },
    /// Feedback of these pairs was written or removed.
    Feedback {
        /// The pairs, possibly with repetitions.
        pairs: Vec<(UserId, ItemId)>,
    },
}

/// What decides whether an item may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemState {
    /// Which item.
    pub item_id: ItemId,
    /// Hidden items are never shown.
    pub is_hidden: bool,
    /// Its categories.
    pub categories: Vec<SmolStr>,
    /// When it was published.
    pub timestamp: crate::Timestamp,
}

impl From<&Item> for ItemState {
    fn from(item: &Item) -> Self {
        Self {
            item_id: item.item_id.clone(),
            is_hidden: item.is_hidden,
            categories: item.categories.iter().flatten().map(SmolStr::new).collect(),
            timestamp: item.timestamp,
        }
    }
}
