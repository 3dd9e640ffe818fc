//! What every backend refuses before it touches anything.

use ulex_domain::Command;
#[cfg(feature = "postgres")]
use ulex_domain::{Feedback, Item, User};

use super::Submission;
use crate::StorageError;

/// Above this a sequence is no number that every backend can keep.
const LAST_SEQUENCE: u64 = i64::MAX.unsigned_abs();

/// Refuses submissions that no backend could keep: a value that is not a finite number, a sequence that is too large.
pub(super) fn validate(backend: &'static str, submissions: &[Submission]) -> Result<(), StorageError> {
    let too_large = submissions.iter().filter_map(|submission| submission.position.as_ref());
    if let Some(position) = too_large.into_iter().find(|position| position.sequence > LAST_SEQUENCE) {
        let reason =
            format!("position {} of log {} is above {LAST_SEQUENCE}", position.sequence, position.log);
        return Err(StorageError::Rejected { backend, action: "apply events", source: reason.into() });
    }
    let unfit = submissions.iter().find_map(|submission| match &submission.event {
        Command::PutFeedback { rows, .. } => rows.iter().find(|row| !row.value.is_finite()),
        Command::PutUsers { .. }
        | Command::PatchUser { .. }
        | Command::DeleteUser { .. }
        | Command::PutItems { .. }
        | Command::PatchItem { .. }
        | Command::SetCategory { .. }
        | Command::DeleteItem { .. }
        | Command::DeleteFeedback { .. } => None,
    });
    let Some(row) = unfit else { return Ok(()) };
    let reason = format!(
        "the value of feedback ({}, {}, {}) is {}, not a finite number",
        row.feedback_type, row.user_id, row.item_id, row.value
    );
    Err(StorageError::Rejected { backend, action: "apply events", source: reason.into() })
}

/// Refuses submissions with a NUL in a text, for backends whose texts end there. JSON writes it differently.
#[cfg(feature = "postgres")]
pub(super) fn refuse_nul(backend: &'static str, submissions: &[Submission]) -> Result<(), StorageError> {
    let Some(what) = submissions.iter().find_map(nul_in) else { return Ok(()) };
    let reason = format!("{what} holds a NUL character, which this store cannot keep");
    Err(StorageError::Rejected { backend, action: "apply events", source: reason.into() })
}

/// What of a submission holds a NUL.
#[cfg(feature = "postgres")]
fn nul_in(submission: &Submission) -> Option<String> {
    if submission.position.as_ref().is_some_and(|position| has_nul(&position.log)) {
        return Some("the name of a log".to_owned());
    }
    let id = |what: &str, id: &str| has_nul(id).then(|| format!("the {what} id {id:?}"));
    let comment = |what: &str, id: &str, comment: &str| {
        has_nul(comment).then(|| format!("the comment of {what} {id:?}"))
    };
    let user = |user: &User| {
        let name = user.user_id.as_str();
        id("user", name).or_else(|| comment("user", name, &user.comment))
    };
    let item = |item: &Item| {
        let name = item.item_id.as_str();
        id("item", name).or_else(|| comment("item", name, &item.comment))
    };
    let row = |row: &Feedback| {
        let feedback_type = has_nul(&row.feedback_type).then(|| format!("the type {:?}", row.feedback_type));
        let ids = feedback_type.or_else(|| id("user", row.user_id.as_str()));
        let ids = ids.or_else(|| id("item", row.item_id.as_str()));
        ids.or_else(|| comment("feedback of", row.user_id.as_str(), &row.comment))
    };
    match &submission.event {
        Command::PutUsers { users } => users.iter().find_map(user),
        Command::PutItems { items } => items.iter().find_map(item),
        Command::PutFeedback { rows, .. } => rows.iter().find_map(row),
        Command::PatchUser { user_id, patch } => id("user", user_id.as_str())
            .or_else(|| comment("user", user_id.as_str(), patch.comment.as_deref().unwrap_or_default())),
        Command::PatchItem { item_id, patch } => id("item", item_id.as_str())
            .or_else(|| comment("item", item_id.as_str(), patch.comment.as_deref().unwrap_or_default())),
        Command::DeleteUser { user_id } => id("user", user_id.as_str()),
        Command::SetCategory { item_id, .. } | Command::DeleteItem { item_id } => {
            id("item", item_id.as_str())
        }
        Command::DeleteFeedback { user_id, item_id, feedback_type } => id("user", user_id.as_str())
            .or_else(|| id("item", item_id.as_str()))
            .or_else(|| id("type", feedback_type.as_deref().unwrap_or_default())),
    }
}

#[cfg(feature = "postgres")]
fn has_nul(text: &str) -> bool {
    text.contains('\0')
}
