//! Somebody who is recommended to.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use smol_str::SmolStr;

/// The caller's identifier of a user. Opaque: any non-empty UTF-8 string; compared by bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String))]
#[serde(transparent)]
pub struct UserId(SmolStr);

impl UserId {
    /// Wraps `raw`. Ids of up to 23 bytes are stored inline; longer ones are shared by clones.
    #[must_use]
    pub fn new(raw: impl AsRef<str>) -> Self {
        Self(SmolStr::new(raw))
    }

    /// Returns the identifier as the caller wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Somebody who is recommended to, with the features models may learn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "PascalCase")]
pub struct User {
    /// Primary key.
    pub user_id: UserId,
    /// Free-form features, see [`crate::labels`] for what is allowed.
    #[serde(default)]
    pub labels: Value,
    /// Free text for people.
    #[serde(default)]
    pub comment: String,
}

/// Fields to change; `None` leaves a field as it is. Labels are replaced as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct UserPatch {
    /// New labels.
    pub labels: Option<Value>,
    /// New comment.
    pub comment: Option<String>,
}

impl UserPatch {
    /// Changes the given fields of `user`.
    pub fn apply(&self, user: &mut User) {
        if let Some(labels) = &self.labels {
            user.labels = labels.clone();
        }
        if let Some(comment) = &self.comment {
            user.comment.clone_from(comment);
        }
    }
}
