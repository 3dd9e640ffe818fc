//! What every backend refuses before it touches anything.

use ulex_domain::Event;

use super::Submission;
use crate::StorageError;

/// Refuses submissions that no backend could keep: a value that is not a finite number.
pub(super) fn validate(backend: &'static str, submissions: &[Submission]) -> Result<(), StorageError> {
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
