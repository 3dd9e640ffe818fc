//! What every backend refuses before it touches anything.

use ulex_domain::Event;

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
        Event::PutFeedback { rows, .. } => rows.iter().find(|row| !row.value.is_finite()),
        Event::PutUsers { .. }
        | Event::PatchUser { .. }
        | Event::DeleteUser { .. }
        | Event::PutItems { .. }
        | Event::PatchItem { .. }
        | Event::SetCategory { .. }
        | Event::DeleteItem { .. }
        | Event::DeleteFeedback { .. } => None,
    });
    let Some(row) = unfit else { return Ok(()) };
    let reason = format!(
        "the value of feedback ({}, {}, {}) is {}, not a finite number",
        row.feedback_type, row.user_id, row.item_id, row.value
    );
    Err(StorageError::Rejected { backend, action: "apply events", source: reason.into() })
}
