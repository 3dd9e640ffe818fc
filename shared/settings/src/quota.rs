//! `[quota]`: what is refused with status 429. None is no limit.

use crate::resolve::Checks;
use crate::written;

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quota {
    /// Known users.
    pub max_users_count: Option<u64>,
    /// Known items.
    pub max_items_count: Option<u64>,
    /// Bytes of one user's or item's labels as compact JSON.
    pub max_labels_size: Option<u64>,
    /// Bytes of one comment.
    pub max_comment_size: Option<u64>,
    /// Categories of one item.
    pub max_categories_count: Option<u64>,
    /// Bytes of one category.
    pub max_categories_size: Option<u64>,
}

impl Quota {
    pub(crate) fn resolve(written: &written::Quota, checks: &mut Checks<'_>) -> Self {
        Self {
            max_users_count: checks.limit("quota.max_users_count", &written.max_users_count),
            max_items_count: checks.limit("quota.max_items_count", &written.max_items_count),
            max_labels_size: checks.limit("quota.max_labels_size", &written.max_labels_size),
            max_comment_size: checks.limit("quota.max_comment_size", &written.max_comment_size),
            max_categories_count: checks.limit("quota.max_categories_count", &written.max_categories_count),
            max_categories_size: checks.limit("quota.max_categories_size", &written.max_categories_size),
        }
    }
}
