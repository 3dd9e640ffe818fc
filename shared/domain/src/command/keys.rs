//! Rows that a command names.

use crate::{Command, FeedbackKey, ItemId, UserId};

/// Kind of thing that a command is about: the token of its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandTopic {
    /// Users.
    User,
    /// Items.
    Item,
    /// Feedback.
    Feedback,
}

impl CommandTopic {
    /// Every topic.
    pub const ALL: [Self; 3] = [Self::User, Self::Item, Self::Feedback];

    /// The token as subjects have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Item => "item",
            Self::Feedback => "feedback",
        }
    }
}

/// Row that a command writes or removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandKey<'a> {
    /// A user that is written.
    User(&'a UserId),
    /// A user that is removed with its feedback.
    UserRemoval(&'a UserId),
    /// An item that is written.
    Item(&'a ItemId),
    /// An item that is removed with its feedback.
    ItemRemoval(&'a ItemId),
    /// A pair whose feedback is written; its user and item may be created.
    Pair(&'a UserId, &'a ItemId),
    /// A pair whose feedback is removed.
    PairRemoval(&'a UserId, &'a ItemId),
}

/// Key of a row that other rows of one command must not have: of duplicates inside one command the first counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RowKey {
    /// Of a user.
    User(UserId),
    /// Of an item.
    Item(ItemId),
    /// Of a feedback row.
    Feedback(FeedbackKey),
}

impl Command {
    /// The topic of the command and the id of the first thing it is about; no id for an empty list.
    #[must_use]
    pub fn subject(&self) -> (CommandTopic, Option<&str>) {
        match self {
            Self::PutUsers { users } => (CommandTopic::User, users.first().map(|user| user.user_id.as_str())),
            Self::PatchUser { user_id, .. } | Self::DeleteUser { user_id } => {
                (CommandTopic::User, Some(user_id.as_str()))
            }
            Self::PutItems { items } => (CommandTopic::Item, items.first().map(|item| item.item_id.as_str())),
            Self::PatchItem { item_id, .. }
            | Self::SetCategory { item_id, .. }
            | Self::DeleteItem { item_id } => (CommandTopic::Item, Some(item_id.as_str())),
            Self::PutFeedback { rows, .. } => {
                (CommandTopic::Feedback, rows.first().map(|row| row.user_id.as_str()))
            }
            Self::DeleteFeedback { user_id, .. } => (CommandTopic::Feedback, Some(user_id.as_str())),
        }
    }

    /// The rows that the command names, in its order.
    #[must_use]
    pub fn keys(&self) -> Vec<CommandKey<'_>> {
        match self {
            Self::PutUsers { users } => users.iter().map(|user| CommandKey::User(&user.user_id)).collect(),
            Self::PatchUser { user_id, .. } => vec![CommandKey::User(user_id)],
            Self::DeleteUser { user_id } => vec![CommandKey::UserRemoval(user_id)],
            Self::PutItems { items } => items.iter().map(|item| CommandKey::Item(&item.item_id)).collect(),
            Self::PatchItem { item_id, .. } | Self::SetCategory { item_id, .. } => {
                vec![CommandKey::Item(item_id)]
            }
            Self::DeleteItem { item_id } => vec![CommandKey::ItemRemoval(item_id)],
            Self::PutFeedback { rows, .. } => {
                rows.iter().map(|row| CommandKey::Pair(&row.user_id, &row.item_id)).collect()
            }
            Self::DeleteFeedback { user_id, item_id, .. } => {
                vec![CommandKey::PairRemoval(user_id, item_id)]
            }
        }
    }

    /// The key of the first row of a list; `None` for an empty list and for a command that is no list.
    #[must_use]
    pub fn first_row_key(&self) -> Option<RowKey> {
        match self {
            Self::PutUsers { users } => users.first().map(|user| RowKey::User(user.user_id.clone())),
            Self::PutItems { items } => items.first().map(|item| RowKey::Item(item.item_id.clone())),
            Self::PutFeedback { rows, .. } => rows.first().map(|row| RowKey::Feedback(row.key())),
            Self::PatchUser { .. }
            | Self::DeleteUser { .. }
            | Self::PatchItem { .. }
            | Self::SetCategory { .. }
            | Self::DeleteItem { .. }
            | Self::DeleteFeedback { .. } => None,
        }
    }
}
