//! Commands of clients. Each carries the number of its write in a field that stays with it through log and store.

use serde_json::Value;
use ulex_domain::{
    Command, EventId, Feedback, FeedbackMode, Item, ItemId, ItemPatch, Timestamp, User, UserId,
};
use ulex_storage::data::Submission;

use crate::steps::Write;

/// Begins the number of a write in texts.
const TAG: &str = "op-";
/// Publication time of every item, long before the run.
const ITEM_TIME_SECONDS: i64 = 1_577_836_800;

/// Text that carries the number of a write.
#[must_use]
pub fn tag(number: u64) -> String {
    format!("{TAG}{number}")
}

/// Id of the event of a write.
#[must_use]
pub fn event_id(number: u64) -> Option<EventId> {
    EventId::new(&tag(number)).ok()
}

/// Id of an item.
#[must_use]
pub fn item_id(item: u64) -> ItemId {
    ItemId::new(format!("item{item}"))
}

/// Id of a user.
#[must_use]
pub fn user_id(user: u64) -> UserId {
    UserId::new(format!("user{user}"))
}

/// Number of the write that a message carries.
#[must_use]
pub fn number_in(payload: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(payload).ok()?;
    let digits = &text[text.find(TAG)? + TAG.len()..];
    let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// Number of the write that a submission came from.
#[must_use]
pub fn number_of(submission: &Submission) -> Option<u64> {
    let id = submission.event_id.as_ref().and_then(|id| number_in(id.as_str().as_bytes()));
    id.or_else(|| number_in(&serde_json::to_vec(&submission.event).unwrap_or_default()))
}

fn feedback(user: u64, item: u64, number: u64) -> Feedback {
    Feedback {
        feedback_type: "read".into(),
        user_id: user_id(user),
        item_id: item_id(item),
        value: 1.0,
        timestamp: Timestamp::from_unix_seconds(ITEM_TIME_SECONDS),
        updated: Timestamp::from_unix_seconds(ITEM_TIME_SECONDS),
        labels: Value::Null,
        comment: tag(number),
    }
}

fn put_feedback(row: Feedback, mode: FeedbackMode) -> Command {
    Command::PutFeedback { rows: vec![row], mode, insert_users: true, insert_items: true }
}

/// The command of a write.
#[must_use]
pub fn command_of(write: Write, number: u64) -> Command {
    match write {
        Write::PutItem { item, hidden } => {
            let item = Item {
                is_hidden: hidden,
                timestamp: Timestamp::from_unix_seconds(ITEM_TIME_SECONDS),
                comment: tag(number),
                ..Item::bare(item_id(item))
            };
            Command::PutItems { items: vec![item] }
        }
        Write::HideItem { item, hidden } => {
            let patch =
                ItemPatch { is_hidden: Some(hidden), comment: Some(tag(number)), ..ItemPatch::default() };
            Command::PatchItem { item_id: item_id(item), patch }
        }
        Write::SetCategory { item } => {
            Command::SetCategory { item_id: item_id(item), category: tag(number), present: true }
        }
        Write::DeleteItem { item } => Command::DeleteItem { item_id: item_id(item) },
        Write::PutUser { user } => {
            let user = User { user_id: user_id(user), labels: Value::Null, comment: tag(number) };
            Command::PutUsers { users: vec![user] }
        }
        Write::DeleteUser { user } => Command::DeleteUser { user_id: user_id(user) },
        Write::AddFeedback { user, item } => {
            put_feedback(feedback(user, item, number), FeedbackMode::Accumulate)
        }
        Write::ReplaceFeedback { user, item } => {
            put_feedback(feedback(user, item, number), FeedbackMode::Overwrite)
        }
        Write::DeleteFeedback { user, item } => {
            Command::DeleteFeedback { user_id: user_id(user), item_id: item_id(item), feedback_type: None }
        }
    }
}

/// Feedback as a publisher writes it.
#[must_use]
pub fn published_feedback(user: u64, item: u64, number: u64) -> String {
    let (user, item, comment) = (user_id(user), item_id(item), tag(number));
    let (user, item) = (user.as_str(), item.as_str());
    format!(
        r#"{{"FeedbackType":"read","UserId":"{user}","ItemId":"{item}","Value":1,"Timestamp":"2020-01-01T00:00:00Z","Comment":"{comment}"}}"#
    )
}
