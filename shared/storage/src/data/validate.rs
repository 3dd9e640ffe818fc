//! What every backend refuses before it touches anything.

#[cfg(feature = "postgres")]
use ulex_domain::TextField;
use ulex_domain::{Command, CommandText};

use super::{LogPosition, OUT_OF_PLACE, Submission};
use crate::StorageError;

/// Refuses events for a store that was put back, or that a successor of their sender has written to.
pub(super) fn check_place<'a>(
    backend: &'static str,
    submissions: &[Submission],
    positions: impl Iterator<Item = &'a LogPosition>,
) -> Result<(), StorageError> {
    match submissions.first() {
        Some(first) if first.is_out_of_place(positions) => {
            Err(StorageError::Unavailable { backend, action: "apply events", source: OUT_OF_PLACE.into() })
        }
        Some(_) | None => Ok(()),
    }
}

/// Above this a sequence is no number that every backend can keep.
const LAST_SEQUENCE: u64 = i64::MAX.unsigned_abs();

/// Refuses submissions that no backend could keep: a value that is not a finite number, a sequence that is too
/// large, a text that is too long.
pub(super) fn validate(backend: &'static str, submissions: &[Submission]) -> Result<(), StorageError> {
    let mut positions = submissions.iter().filter_map(|submission| submission.position.as_ref());
    if let Some(position) = positions.find(|position| position.sequence.max(position.epoch) > LAST_SEQUENCE) {
        let reason = format!(
            "position {} of epoch {} of log {} is above {LAST_SEQUENCE}",
            position.sequence, position.epoch, position.log
        );
        return Err(StorageError::Rejected { backend, action: "apply events", source: reason.into() });
    }
    let is_too_long = |text: &CommandText<'_>| text.text.len() > text.field.max_length();
    let mut texts = submissions.iter().filter_map(|submission| submission.event.find_text(is_too_long));
    if let Some(text) = texts.next() {
        let reason =
            format!("{text} has {} bytes; up to {} can be kept", text.text.len(), text.field.max_length());
        return Err(StorageError::Rejected { backend, action: "apply events", source: reason.into() });
    }
    let unfit = submissions.iter().find_map(|submission| {
        let Command::PutFeedback { rows, .. } = &submission.event else { return None };
        rows.iter().find(|row| !row.value.is_finite())
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
    submission
        .event
        .find_text(|text| text.field != TextField::Category && has_nul(text.text))
        .map(|text| text.to_string())
}

#[cfg(feature = "postgres")]
fn has_nul(text: &str) -> bool {
    text.contains('\0')
}
