//! Pages: one row more than asked is read, and the cursor is that of the row too many.

use ulex_domain::FeedbackKey;
use ulex_domain::cursor::{CursorError, decode_feedback, decode_id};

use crate::error::ApiError;
use crate::http::query::Query;

fn refused(reason: &CursorError) -> ApiError {
    ApiError::BadRequest(format!("cursor: expected one that an earlier page returned: {reason}"))
}

/// The id at which the page begins.
pub(super) fn id(query: Query<'_>) -> Result<Option<String>, ApiError> {
    let Some(cursor) = query.non_empty("cursor")? else { return Ok(None) };
    decode_id(&cursor).map(Some).map_err(|reason| refused(&reason))
}

/// The feedback row at which the page begins.
pub(super) fn key(query: Query<'_>) -> Result<Option<FeedbackKey>, ApiError> {
    let Some(cursor) = query.non_empty("cursor")? else { return Ok(None) };
    decode_feedback(&cursor).map_err(|reason| refused(&reason))
}

/// Cuts a page to `n` rows and returns the cursor of the next one; empty if this is the last.
pub(super) fn cut<T>(rows: &mut Vec<T>, n: usize, of: impl Fn(&T) -> String) -> String {
    let cursor = rows.get(n).map(of).unwrap_or_default();
    rows.truncate(n);
    cursor
}
