//! What an applied command changed.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::{Item, ItemId, Timestamp, UserId};

/// Change of the data by an applied command: keys, not values, so that it may be delivered twice. Followers read the
/// present state of the keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// These users were inserted, replaced or patched.
    Users {
        /// Their ids.
        user_ids: Vec<UserId>,
    },
    /// This user and all its feedback are gone.
    UserDeleted {
        /// Its id.
        user_id: UserId,
    },
    /// These items were inserted, replaced or patched; their state after the change, for eligibility.
    Items {
        /// The items as they are now.
        items: Vec<ItemState>,
    },
    /// This item and all its feedback are gone.
    ItemDeleted {
        /// Its id.
        item_id: ItemId,
    },
    /// Feedback of these pairs was written or removed.
    Feedback {
        /// The pairs, possibly with repetitions.
        pairs: Vec<(UserId, ItemId)>,
    },
}

/// What decides whether an item may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemState {
    /// Which item.
    pub item_id: ItemId,
    /// Hidden items are never shown.
    pub is_hidden: bool,
    /// Its categories.
    pub categories: Vec<SmolStr>,
    /// When it was published.
    pub timestamp: Timestamp,
}

impl From<&Item> for ItemState {
    fn from(item: &Item) -> Self {
        Self {
            item_id: item.item_id.clone(),
            is_hidden: item.is_hidden,
            categories: item.categories.iter().flatten().map(SmolStr::new).collect(),
            timestamp: item.timestamp,
        }
    }
}
