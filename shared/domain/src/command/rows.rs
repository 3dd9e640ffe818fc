//! Lists of rows inside commands: counted, cut, joined and measured.

use std::collections::HashSet;
use std::hash::Hash;

use serde_json::Value;

use crate::split::Split;
use crate::{Command, Feedback};

/// Bytes of JSON that a row needs besides its texts: field names, numbers, times.
const ROW_OVERHEAD_BYTES: usize = 1024;
/// Most bytes of JSON that one byte of text takes (`\u0001`).
const ESCAPED_BYTES: usize = 6;

impl Command {
    /// Number of rows in the list, and 1 for a command that is no list.
    #[must_use]
    pub fn row_count(&self) -> usize {
        match self {
            Self::PutUsers { users } => users.len(),
            Self::PutItems { items } => items.len(),
            Self::PutFeedback { rows, .. } => rows.len(),
            Self::PatchUser { .. }
            | Self::DeleteUser { .. }
            | Self::PatchItem { .. }
            | Self::SetCategory { .. }
            | Self::DeleteItem { .. }
            | Self::DeleteFeedback { .. } => 1,
        }
    }

    /// Adds the rows of `next` if both are lists of the same kind and mode; else returns `next`.
    #[must_use]
    pub fn merge(&mut self, next: Self) -> Option<Self> {
        match (self, next) {
            (Self::PutUsers { users }, Self::PutUsers { users: more }) => users.extend(more),
            (Self::PutItems { items }, Self::PutItems { items: more }) => items.extend(more),
            (
                Self::PutFeedback { rows, mode, insert_users, insert_items },
                Self::PutFeedback { rows: more, mode: m, insert_users: u, insert_items: i },
            ) if (*mode, *insert_users, *insert_items) == (m, u, i) => rows.extend(more),
            (_, next) => return Some(next),
        }
        None
    }

    /// Drops rows whose key an earlier row has. They have no effect in one command, and must have none in parts of it.
    #[must_use]
    pub fn without_repetitions(self) -> Self {
        match self {
            Self::PutUsers { users } => {
                Self::PutUsers { users: first_of_each(users, |user| user.user_id.clone()) }
            }
            Self::PutItems { items } => {
                Self::PutItems { items: first_of_each(items, |item| item.item_id.clone()) }
            }
            Self::PutFeedback { rows, mode, insert_users, insert_items } => {
                let rows = first_of_each(rows, Feedback::key);
                Self::PutFeedback { rows, mode, insert_users, insert_items }
            }
            one @ (Self::PatchUser { .. }
            | Self::DeleteUser { .. }
            | Self::PatchItem { .. }
            | Self::SetCategory { .. }
            | Self::DeleteItem { .. }
            | Self::DeleteFeedback { .. }) => one,
        }
    }

    /// Upper bound on the bytes of the command as JSON, computed without writing it.
    #[must_use]
    pub fn encoded_size_bound(&self) -> usize {
        let row =
            |texts: usize, labels: &Value| ESCAPED_BYTES * texts + labels_size(labels) + ROW_OVERHEAD_BYTES;
        let rows: usize = match self {
            Self::PutUsers { users } => {
                let size =
                    |user: &crate::User| row(user.user_id.as_str().len() + user.comment.len(), &user.labels);
                users.iter().map(size).sum()
            }
            Self::PutItems { items } => {
                let size = |item: &crate::Item| {
                    let categories = categories_size(item.categories.as_deref());
                    row(item.item_id.as_str().len() + item.comment.len(), &item.labels) + categories
                };
                items.iter().map(size).sum()
            }
            Self::PutFeedback { rows, .. } => {
                let size = |one: &Feedback| {
                    let ids =
                        one.feedback_type.len() + one.user_id.as_str().len() + one.item_id.as_str().len();
                    row(ids + one.comment.len(), &one.labels)
                };
                rows.iter().map(size).sum()
            }
            Self::PatchUser { user_id, patch } => {
                let comment = patch.comment.as_ref().map_or(0, String::len);
                row(user_id.as_str().len() + comment, patch.labels.as_ref().unwrap_or(&Value::Null))
            }
            Self::PatchItem { item_id, patch } => {
                let comment = patch.comment.as_ref().map_or(0, String::len);
                let categories = categories_size(patch.categories.as_deref());
                row(item_id.as_str().len() + comment, patch.labels.as_ref().unwrap_or(&Value::Null))
                    + categories
            }
            Self::SetCategory { item_id, category, .. } => {
                row(item_id.as_str().len() + category.len(), &Value::Null)
            }
            Self::DeleteUser { user_id } => row(user_id.as_str().len(), &Value::Null),
            Self::DeleteItem { item_id } => row(item_id.as_str().len(), &Value::Null),
            Self::DeleteFeedback { user_id, item_id, feedback_type } => {
                let kind = feedback_type.as_ref().map_or(0, |kind| kind.len());
                row(user_id.as_str().len() + item_id.as_str().len() + kind, &Value::Null)
            }
        };
        rows + ROW_OVERHEAD_BYTES
    }
}

impl Split for Command {
    fn split(self) -> Result<(Self, Self), Self> {
        match self {
            Self::PutUsers { users } => {
                let part = |users| Self::PutUsers { users };
                users.split().map(|(a, b)| (part(a), part(b))).map_err(part)
            }
            Self::PutItems { items } => {
                let part = |items| Self::PutItems { items };
                items.split().map(|(a, b)| (part(a), part(b))).map_err(part)
            }
            Self::PutFeedback { rows, mode, insert_users, insert_items } => {
                let part = |rows| Self::PutFeedback { rows, mode, insert_users, insert_items };
                rows.split().map(|(a, b)| (part(a), part(b))).map_err(part)
            }
            one @ (Self::PatchUser { .. }
            | Self::DeleteUser { .. }
            | Self::PatchItem { .. }
            | Self::SetCategory { .. }
            | Self::DeleteItem { .. }
            | Self::DeleteFeedback { .. }) => Err(one),
        }
    }
}

fn labels_size(labels: &Value) -> usize {
    if labels.is_null() { 0 } else { labels.to_string().len() }
}

fn categories_size(categories: Option<&[String]>) -> usize {
    // A quoted text and a comma each.
    categories.unwrap_or_default().iter().map(|category| ESCAPED_BYTES * category.len() + 3).sum()
}

fn first_of_each<T, K: Hash + Eq>(rows: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = HashSet::with_capacity(rows.len());
    rows.into_iter().filter(|row| seen.insert(key(row))).collect()
}
