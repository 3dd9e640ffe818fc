//! One user did something to one item.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use smol_str::SmolStr;

use crate::{ItemId, Timestamp, UserId};

/// What identifies a feedback row. Ordered by type, then user, then item, each by bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FeedbackKey {
    /// What was done, such as `read` or `star`.
    pub feedback_type: SmolStr,
    /// Who did it.
    pub user_id: UserId,
    /// To what.
    pub item_id: ItemId,
}

/// One row: everything one user ever did, of one type, to one item, accumulated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "PascalCase")]
pub struct Feedback {
    /// What was done, such as `read` or `star`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub feedback_type: SmolStr,
    /// Who did it.
    pub user_id: UserId,
    /// To what.
    pub item_id: ItemId,
    /// Strength: a rating, a count, seconds watched. Finite.
    #[serde(default)]
    pub value: f64,
    /// First time. In the future: stored, but invisible until then.
    #[serde(default)]
    pub timestamp: Timestamp,
    /// Last time.
    #[serde(default)]
    pub updated: Timestamp,
    /// Free-form context.
    #[serde(default)]
    pub labels: Value,
    /// Free text for people.
    #[serde(default)]
    pub comment: String,
}

impl Feedback {
    /// The row's key.
    #[must_use]
    pub fn key(&self) -> FeedbackKey {
        FeedbackKey {
            feedback_type: self.feedback_type.clone(),
            user_id: self.user_id.clone(),
            item_id: self.item_id.clone(),
        }
    }

    /// Adds `newer` to a stored row, as POST does: values add up, the earliest time is kept, `updated`
    /// moves to the latest, labels and comment are replaced even by nothing.
    pub fn accumulate(&mut self, newer: Self) {
        self.value += newer.value;
        self.timestamp = self.timestamp.min(newer.timestamp);
        self.updated = self.updated.max(newer.timestamp);
        self.labels = newer.labels;
        self.comment = newer.comment;
    }
}
