//! One isolated recommender.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use thiserror::Error;

/// Names a tenant: 1 to 32 of `a-z`, `0-9` and `_`, so that it can stand in a table name, a key and a subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(SmolStr);

/// A string that cannot be a tenant id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a tenant id must be 1 to 32 of a-z, 0-9 and _, got {0:?}")]
pub struct TenantIdError(String);

impl TenantId {
    /// Accepts a tenant's name.
    ///
    /// # Errors
    ///
    /// [`TenantIdError`] if `raw` is outside the alphabet or the length.
    pub fn new(raw: &str) -> Result<Self, TenantIdError> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if raw.is_empty() || raw.len() > 32 || !raw.bytes().all(fits) {
            return Err(TenantIdError(raw.to_owned()));
        }
        Ok(Self(SmolStr::new(raw)))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Default for TenantId {
    fn default() -> Self {
        Self(SmolStr::new_static("default"))
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
