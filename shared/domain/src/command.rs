//! A validated request to change the data.

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
pub enum Command {
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
