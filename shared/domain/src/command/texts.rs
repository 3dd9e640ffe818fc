//! Texts inside commands, for checks that every store makes, and the line that people read.

use std::fmt;

use crate::limits::{MAX_COMMENT_BYTES, MAX_ID_BYTES};
use crate::{Command, Feedback, FeedbackMode, Item, User};

/// Field that a text stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextField {
    /// Id of a user.
    UserId,
    /// Id of an item.
    ItemId,
    /// Type of feedback.
    FeedbackType,
    /// Comment of a user, an item or a feedback row.
    Comment,
    /// Category of an item.
    Category,
}

impl TextField {
    /// Longest text of the field, in bytes.
    #[must_use]
    pub const fn max_length(self) -> usize {
        match self {
            Self::UserId | Self::ItemId | Self::FeedbackType | Self::Category => MAX_ID_BYTES,
            Self::Comment => MAX_COMMENT_BYTES,
        }
    }

    /// The field in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserId => "user id",
            Self::ItemId => "item id",
            Self::FeedbackType => "feedback type",
            Self::Comment => "comment",
            Self::Category => "category",
        }
    }
}

/// Text of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandText<'a> {
    /// Its field.
    pub field: TextField,
    /// Id of the user or item that the row is about.
    pub owner: &'a str,
    /// The text.
    pub text: &'a str,
}

impl fmt::Display for CommandText<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field.as_str();
        match self.field {
            TextField::UserId | TextField::ItemId | TextField::FeedbackType => {
                write!(formatter, "the {field} {:?}", shortened(self.text))
            }
            TextField::Comment | TextField::Category => {
                write!(formatter, "the {field} of {:?}", shortened(self.owner))
            }
        }
    }
}

fn shortened(text: &str) -> String {
    const MOST_CHARACTERS: usize = 100;
    text.chars().take(MOST_CHARACTERS).collect()
}

impl Command {
    /// The first text for which `is_wanted`, in the order of the rows. Labels are not looked at.
    pub fn find_text<'a>(
        &'a self,
        mut is_wanted: impl FnMut(&CommandText<'a>) -> bool,
    ) -> Option<CommandText<'a>> {
        let mut find = |field, owner, text| Some(CommandText { field, owner, text }).filter(&mut is_wanted);
        match self {
            Self::PutUsers { users } => users.iter().find_map(|user| in_user(user, &mut find)),
            Self::PutItems { items } => items.iter().find_map(|item| in_item(item, &mut find)),
            Self::PutFeedback { rows, .. } => rows.iter().find_map(|row| in_feedback(row, &mut find)),
            Self::PatchUser { user_id, patch } => {
                let id = user_id.as_str();
                let comment = patch.comment.as_deref().unwrap_or_default();
                find(TextField::UserId, id, id).or_else(|| find(TextField::Comment, id, comment))
            }
            Self::PatchItem { item_id, patch } => {
                let id = item_id.as_str();
                let comment = patch.comment.as_deref().unwrap_or_default();
                let categories = patch.categories.as_deref().unwrap_or_default();
                find(TextField::ItemId, id, id)
                    .or_else(|| find(TextField::Comment, id, comment))
                    .or_else(|| categories.iter().find_map(|text| find(TextField::Category, id, text)))
            }
            Self::DeleteUser { user_id } => find(TextField::UserId, user_id.as_str(), user_id.as_str()),
            Self::DeleteItem { item_id } => find(TextField::ItemId, item_id.as_str(), item_id.as_str()),
            Self::SetCategory { item_id, category, .. } => {
                let id = item_id.as_str();
                find(TextField::ItemId, id, id).or_else(|| find(TextField::Category, id, category))
            }
            Self::DeleteFeedback { user_id, item_id, feedback_type } => {
                let (user, item) = (user_id.as_str(), item_id.as_str());
                let kind = feedback_type.as_deref().unwrap_or_default();
                find(TextField::UserId, user, user)
                    .or_else(|| find(TextField::ItemId, item, item))
                    .or_else(|| find(TextField::FeedbackType, user, kind))
            }
        }
    }
}

/// Tries one text.
type Find<'f, 'a> = &'f mut dyn FnMut(TextField, &'a str, &'a str) -> Option<CommandText<'a>>;

fn in_user<'a>(user: &'a User, find: Find<'_, 'a>) -> Option<CommandText<'a>> {
    let id = user.user_id.as_str();
    find(TextField::UserId, id, id).or_else(|| find(TextField::Comment, id, &user.comment))
}

fn in_item<'a>(item: &'a Item, find: Find<'_, 'a>) -> Option<CommandText<'a>> {
    let id = item.item_id.as_str();
    let found = find(TextField::ItemId, id, id).or_else(|| find(TextField::Comment, id, &item.comment));
    let categories = item.categories.as_deref().unwrap_or_default();
    found.or_else(|| categories.iter().find_map(|text| find(TextField::Category, id, text)))
}

fn in_feedback<'a>(row: &'a Feedback, find: Find<'_, 'a>) -> Option<CommandText<'a>> {
    let (user, item) = (row.user_id.as_str(), row.item_id.as_str());
    find(TextField::FeedbackType, user, &row.feedback_type)
        .or_else(|| find(TextField::UserId, user, user))
        .or_else(|| find(TextField::ItemId, item, item))
        .or_else(|| find(TextField::Comment, user, &row.comment))
}

/// One line for people.
impl fmt::Display for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PutUsers { users } => {
                several(formatter, "user", users.iter().map(|user| user.user_id.as_str()))
            }
            Self::PutItems { items } => {
                several(formatter, "item", items.iter().map(|item| item.item_id.as_str()))
            }
            Self::PatchUser { user_id, .. } => write!(formatter, "change user {:?}", user_id.as_str()),
            Self::DeleteUser { user_id } => write!(formatter, "delete user {:?}", user_id.as_str()),
            Self::PatchItem { item_id, .. } => write!(formatter, "change item {:?}", item_id.as_str()),
            Self::SetCategory { item_id, category, present } => {
                let verb = if *present { "add" } else { "remove" };
                write!(formatter, "{verb} category {category:?} of item {:?}", item_id.as_str())
            }
            Self::DeleteItem { item_id } => write!(formatter, "delete item {:?}", item_id.as_str()),
            Self::DeleteFeedback { user_id, item_id, feedback_type } => {
                let kind = feedback_type.as_deref().unwrap_or("all feedback");
                write!(formatter, "delete {kind} of {:?} and {:?}", user_id.as_str(), item_id.as_str())
            }
            Self::PutFeedback { rows, mode, .. } => feedback_line(formatter, rows, *mode),
        }
    }
}

fn feedback_line(formatter: &mut fmt::Formatter<'_>, rows: &[Feedback], mode: FeedbackMode) -> fmt::Result {
    let verb = match mode {
        FeedbackMode::Accumulate => "",
        FeedbackMode::Overwrite => "replace ",
    };
    match rows {
        [row] => {
            let (user, item) = (row.user_id.as_str(), row.item_id.as_str());
            write!(formatter, "{verb}{} {user:?} -> {item:?} {}", row.feedback_type, row.value)
        }
        rows => write!(formatter, "{verb}{} rows of feedback", rows.len()),
    }
}

fn several<'a>(
    formatter: &mut fmt::Formatter<'_>,
    name: &str,
    mut ids: impl ExactSizeIterator<Item = &'a str>,
) -> fmt::Result {
    let more = ids.len().saturating_sub(1);
    match ids.next() {
        None => write!(formatter, "no {name}s"),
        Some(id) if more == 0 => write!(formatter, "{name} {id:?}"),
        Some(id) => write!(formatter, "{name} {id:?} and {more} more"),
    }
}
