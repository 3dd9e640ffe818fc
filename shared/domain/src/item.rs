//! Something that can be recommended.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use smol_str::SmolStr;

use crate::Timestamp;

/// The caller's identifier of an item. Opaque: any non-empty UTF-8 string; compared by bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String))]
#[serde(transparent)]
pub struct ItemId(SmolStr);

impl ItemId {
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

impl fmt::Display for ItemId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Something that can be recommended, with the metadata recommenders filter and rank by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "PascalCase")]
pub struct Item {
    /// Primary key.
    pub item_id: ItemId,
    /// Hidden items are kept for training and never recommended.
    #[serde(default)]
    pub is_hidden: bool,
    /// Categories in the caller's order; `None` ("null") and empty are told apart on the wire.
    #[serde(default)]
    pub categories: Option<Vec<String>>,
    /// When the item was published; "latest" sorts by it.
    #[serde(default)]
    pub timestamp: Timestamp,
    /// Free-form features, see [`crate::labels`] for what is allowed.
    #[serde(default)]
    pub labels: Value,
    /// Free text for people; item search looks here by default.
    #[serde(default)]
    pub comment: String,
}

impl Item {
    /// The item that is created for an id that feedback names and nobody has described yet.
    #[must_use]
    pub fn bare(item_id: ItemId) -> Self {
        Self {
            item_id,
            is_hidden: false,
            categories: None,
            timestamp: Timestamp::ZERO,
            labels: Value::Null,
            comment: String::new(),
        }
    }
}

/// Fields to change; `None` leaves a field as it is. Labels and categories are replaced as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct ItemPatch {
    /// Hide or show.
    pub is_hidden: Option<bool>,
    /// New categories; empty clears them.
    pub categories: Option<Vec<String>>,
    /// New time of publication.
    pub timestamp: Option<Timestamp>,
    /// New labels.
    pub labels: Option<Value>,
    /// New comment.
    pub comment: Option<String>,
}

impl ItemPatch {
    /// Changes the given fields of `item`.
    pub fn apply(&self, item: &mut Item) {
        if let Some(hidden) = self.is_hidden {
            item.is_hidden = hidden;
        }
        if let Some(categories) = &self.categories {
            item.categories = Some(categories.clone());
        }
        if let Some(timestamp) = self.timestamp {
            item.timestamp = timestamp;
        }
        if let Some(labels) = &self.labels {
            item.labels = labels.clone();
        }
        if let Some(comment) = &self.comment {
            item.comment.clone_from(comment);
        }
    }
}
