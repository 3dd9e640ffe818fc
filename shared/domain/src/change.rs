//! What an applied command changed.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::split::Split;
use crate::{Item, ItemId, Timestamp, UserId, Version};

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
        /// The version of the deletion; what is newer than it exists again.
        #[serde(default)]
        version: Version,
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
    /// The version of the command that made it so.
    #[serde(default)]
    pub version: Version,
}

impl ItemState {
    /// The state of an item that a command of this version wrote.
    #[must_use]
    pub fn of(item: &Item, version: Version) -> Self {
        Self { version, ..Self::from(item) }
    }
}

impl From<&Item> for ItemState {
    /// Of the version zero.
    fn from(item: &Item) -> Self {
        Self {
            item_id: item.item_id.clone(),
            is_hidden: item.is_hidden,
            categories: item.categories.iter().flatten().map(SmolStr::new).collect(),
            timestamp: item.timestamp,
            version: Version::ZERO,
        }
    }
}

impl Change {
    /// Number of rows that changed.
    #[must_use]
    pub fn row_count(&self) -> usize {
        match self {
            Self::Users { user_ids } => user_ids.len(),
            Self::Items { items } => items.len(),
            Self::Feedback { pairs } => pairs.len(),
            Self::UserDeleted { .. } | Self::ItemDeleted { .. } => 1,
        }
    }

    /// Whether followers of items have to know.
    #[must_use]
    pub const fn is_about_items(&self) -> bool {
        matches!(self, Self::Items { .. } | Self::ItemDeleted { .. })
    }

    /// Adds the rows of `next` if both name users or both name pairs; else returns `next`. States of items stay apart:
    /// of one item the last one counts.
    #[must_use]
    pub fn merge(&mut self, next: Self) -> Option<Self> {
        match (self, next) {
            (Self::Feedback { pairs }, Self::Feedback { pairs: more }) => pairs.extend(more),
            (Self::Users { user_ids }, Self::Users { user_ids: more }) => user_ids.extend(more),
            (_, next) => return Some(next),
        }
        None
    }

    /// The same changes in the same order, where neighbours that can be merged are one: a follower takes one step for
    /// thousands of single rows.
    #[must_use]
    pub fn merge_all(changes: Vec<Self>) -> Vec<Self> {
        let mut merged: Vec<Self> = Vec::new();
        for change in changes {
            let rest = match merged.last_mut() {
                Some(last) => last.merge(change),
                None => Some(change),
            };
            merged.extend(rest);
        }
        merged
    }
}

impl Split for Change {
    fn split(self) -> Result<(Self, Self), Self> {
        match self {
            Self::Users { user_ids } => {
                let part = |user_ids| Self::Users { user_ids };
                user_ids.split().map(|(a, b)| (part(a), part(b))).map_err(part)
            }
            Self::Items { items } => {
                let part = |items| Self::Items { items };
                items.split().map(|(a, b)| (part(a), part(b))).map_err(part)
            }
            Self::Feedback { pairs } => {
                let part = |pairs| Self::Feedback { pairs };
                pairs.split().map(|(a, b)| (part(a), part(b))).map_err(part)
            }
            one @ (Self::UserDeleted { .. } | Self::ItemDeleted { .. }) => Err(one),
        }
    }
}

/// Changes of one message, which are cut between changes and, where one is left, inside of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeList(pub Vec<Change>);

impl Split for ChangeList {
    fn split(self) -> Result<(Self, Self), Self> {
        match self.0.split() {
            Ok((first, second)) => Ok((Self(first), Self(second))),
            Err(mut alone) => match alone.pop().map(Split::split) {
                Some(Ok((first, second))) => Ok((Self(vec![first]), Self(vec![second]))),
                Some(Err(piece)) => Err(Self(vec![piece])),
                None => Err(Self(alone)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::cut;
    use proptest::prelude::*;

    fn pair(number: usize) -> (UserId, ItemId) {
        (UserId::new(format!("u{number}")), ItemId::new("i"))
    }

    fn pairs(numbers: impl IntoIterator<Item = usize>) -> Change {
        Change::Feedback { pairs: numbers.into_iter().map(pair).collect() }
    }

    fn users(names: &[&str]) -> Change {
        Change::Users { user_ids: names.iter().map(UserId::new).collect() }
    }

    #[test]
    fn neighbouring_changes_of_one_kind_become_one() {
        let gone = || Change::UserDeleted { user_id: UserId::new("a") };
        let changes = vec![pairs([1]), pairs([2]), gone(), pairs([1]), users(&["c"]), users(&["d"])];
        assert_eq!(Change::merge_all(changes), [pairs([1, 2]), gone(), pairs([1]), users(&["c", "d"])]);
    }

    #[test]
    fn an_empty_list_stays_one_piece() {
        assert_eq!(cut(ChangeList(Vec::new()), &|_| false), [ChangeList(Vec::new())]);
    }

    proptest! {
        #[test]
        fn pieces_fit_and_merge_back_into_the_whole(rows in 1_usize..200, most in 1_usize..20) {
            let count = |list: &ChangeList| list.0.iter().map(Change::row_count).sum::<usize>();
            let pieces = cut(ChangeList(vec![pairs(0..rows)]), &|list| count(list) <= most);
            prop_assert!(pieces.iter().all(|list| count(list) <= most));
            let changes = pieces.into_iter().flat_map(|list| list.0).collect();
            prop_assert_eq!(Change::merge_all(changes), vec![pairs(0..rows)]);
        }
    }
}
