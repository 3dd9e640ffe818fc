//! A validated request to change the data.

pub mod keys;
pub mod rows;
pub mod texts;

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

/// Kind of a command, for counters and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
#[expect(missing_docs, reason = "each is the variant of `Command` of the same name")]
pub enum CommandKind {
    PutUsers,
    PatchUser,
    DeleteUser,
    PutItems,
    PatchItem,
    SetCategory,
    DeleteItem,
    PutFeedback,
    DeleteFeedback,
}

impl CommandKind {
    /// Every kind, each at its own index.
    pub const ALL: [Self; 9] = [
        Self::PutUsers,
        Self::PatchUser,
        Self::DeleteUser,
        Self::PutItems,
        Self::PatchItem,
        Self::SetCategory,
        Self::DeleteItem,
        Self::PutFeedback,
        Self::DeleteFeedback,
    ];

    /// The kind as JSON names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PutUsers => "put_users",
            Self::PatchUser => "patch_user",
            Self::DeleteUser => "delete_user",
            Self::PutItems => "put_items",
            Self::PatchItem => "patch_item",
            Self::SetCategory => "set_category",
            Self::DeleteItem => "delete_item",
            Self::PutFeedback => "put_feedback",
            Self::DeleteFeedback => "delete_feedback",
        }
    }
}

impl Command {
    /// The kind of the command.
    #[must_use]
    pub const fn kind(&self) -> CommandKind {
        match self {
            Self::PutUsers { .. } => CommandKind::PutUsers,
            Self::PatchUser { .. } => CommandKind::PatchUser,
            Self::DeleteUser { .. } => CommandKind::DeleteUser,
            Self::PutItems { .. } => CommandKind::PutItems,
            Self::PatchItem { .. } => CommandKind::PatchItem,
            Self::SetCategory { .. } => CommandKind::SetCategory,
            Self::DeleteItem { .. } => CommandKind::DeleteItem,
            Self::PutFeedback { .. } => CommandKind::PutFeedback,
            Self::DeleteFeedback { .. } => CommandKind::DeleteFeedback,
        }
    }
}

#[cfg(test)]
mod tests;
