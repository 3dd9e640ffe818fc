//! The idempotency key of an event.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use thiserror::Error;

/// Longest accepted id, in bytes.
pub const MAX_EVENT_ID_LENGTH: usize = 128;

/// Names one event for ever: an event whose id is already in the ledger has no effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(SmolStr);

/// A string that cannot be an event id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "an event id must be 1 to {MAX_EVENT_ID_LENGTH} bytes without control characters, got {length} bytes"
)]
pub struct EventIdError {
    /// Length of the rejected string.
    length: usize,
}

impl EventId {
    /// Accepts an id that a caller chose.
    ///
    /// # Errors
    ///
    /// [`EventIdError`] if `raw` is empty, longer than [`MAX_EVENT_ID_LENGTH`] bytes or has a control character.
    pub fn new(raw: &str) -> Result<Self, EventIdError> {
        if raw.is_empty() || raw.len() > MAX_EVENT_ID_LENGTH || raw.contains(char::is_control) {
            return Err(EventIdError { length: raw.len() });
        }
        Ok(Self(SmolStr::new(raw)))
    }

    /// Returns the id as the caller wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
